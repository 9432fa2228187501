"""A fit that is killed and started again ends with the same numbers as one that was left alone."""

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from dynaxx import wrap_with_resonance
from dynaxx.data import ImageData, LabelledImages
from dynaxx.training.callbacks import KeepBest, ResidualGuard, StrengthWarmup
from dynaxx.training.distill_module import DistillModule
from dynaxx.training.fit import fit
from dynaxx.training.resonance_module import ResonanceModule
from dynaxx.training.small_resnet import SmallResNet

TRAINER = partial(pl.Trainer, accelerator="cpu", devices=1, deterministic=True)


def images(count: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    pixels = torch.randint(90, (count, 1, 8, 8), generator=generator)
    pixels[:, 0, :, :3] += 80 * labels[:, None, None]  # the class can be seen
    return LabelledImages(pixels.to(torch.uint8), labels, ("a", "b", "c"))


def data() -> ImageData:
    return ImageData(images(48), images(24), mean=[0.4], std=[0.2], batch_size=16, augmentation="crop_flip", seed=3)


def model():
    torch.manual_seed(7)
    made = wrap_with_resonance(
        SmallResNet(3, 1, (4, 6, 8), 1),
        [1, 2, 3],
        rank=3,
        T=3,
        num_classes=3,
        example_input=torch.zeros(1, 1, 8, 8),
    )
    made.fit_statistics(data().train_dataloader())
    return made


def module() -> ResonanceModule:
    return ResonanceModule(model(), classes=3, lr=0.02)


class DieAfter(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, *more: Callback) -> ResonanceModule:
    torch.set_num_threads(1)
    made = module()
    fit(
        made,
        data(),
        trainer=TRAINER,
        checkpoints=folder,
        epochs=6,
        patience=6,
        seed=3,
        callbacks=[ResidualGuard(), StrengthWarmup(0.5), *more],
    )
    return made


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=run, args=(tmp_path / "killed", DieAfter(4)))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "killed" / "last.ckpt").exists()
    resumed, whole = run(tmp_path / "killed"), run(tmp_path / "whole")
    for (name, a), (_, b) in zip(
        resumed.model.engine.state_dict().items(), whole.model.engine.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name
    assert torch.equal(resumed.model.head.weight, whole.model.head.weight)


def test_a_checkpoint_holds_no_backbone_and_no_pickle(tmp_path):
    run(tmp_path)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    names = set(checkpoint["state_dict"])
    assert not [n for n in names if "backbone" in n]
    assert [n for n in names if "couplings" in n]


def test_the_same_seed_gives_the_same_numbers(tmp_path):
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_learns_and_leaves_backbone_and_buffers_untouched(tmp_path):
    made = module()
    before = {n: t.clone() for n, t in made.model.backbone.state_dict().items()}
    accuracy, seconds = fit(made, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=8, patience=8, seed=0)
    assert accuracy > 0.6  # chance is a third
    assert seconds > 0
    assert all(torch.equal(t, before[n]) for n, t in made.model.backbone.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        {"gate": "mutual_information"},
        {"stability": "certified"},
        {"gradient": "implicit", "stability": "certified", "tolerance": 1e-4, "T": 20},
        {"couplings": "random"},
        {"solver": "anderson", "checkpoint": True},
    ],
    ids=str,
)
def test_every_kind_of_loop_trains(tmp_path, options):
    torch.manual_seed(7)
    made = wrap_with_resonance(
        SmallResNet(3, 1, (4, 6, 8), 1),
        [1, 2, 3],
        example_input=torch.zeros(1, 1, 8, 8),
        **{"rank": 3, "T": 3, "num_classes": 3} | options,
    )
    made.fit_statistics(data().train_dataloader())
    module = ResonanceModule(made, classes=3, lr=0.02)
    accuracy, _ = fit(module, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=8, patience=8, seed=0)
    assert accuracy > 0.6
    if options.get("stability") == "certified":
        assert made.stability().contraction_certified
    if "gate" in options:
        with made.tracing():
            made(next(iter(data().val_dataloader()))[0])
        assert made.trace.gates.std() > 0
        assert made.engine.gate.kept_0.any()  # its critic has learned, too


def test_the_residual_penalty_teaches_the_loop_to_settle(tmp_path):
    def settled(penalty: float) -> float:
        made = ResonanceModule(model(), classes=3, lr=0.05, residual_penalty=penalty, residual_share=1.0)
        fit(made, data(), trainer=TRAINER, checkpoints=tmp_path / str(penalty), epochs=8, patience=8, seed=0)
        made.model.T = 6
        with torch.no_grad(), made.model.tracing():
            made.model(next(iter(data().val_dataloader()))[0])
        return float(made.model.trace.residual[2].mean())

    assert settled(5.0) < 0.7 * settled(0.0)


def test_distillation_brings_the_student_to_the_loop_and_trains_nothing_else(tmp_path):
    teacher = model()
    for parameter in teacher.engine.couplings.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    teacher.add_student()
    x = torch.cat([batch[0] for batch in data().val_dataloader()])

    def gap() -> float:
        with torch.no_grad(), teacher.observed() as seen:
            for mode in ("explicit", "implicit"):
                teacher.mode = mode
                teacher(x)
        target, found = (agreement.delta[0] for agreement in seen)
        return float((found - target).square().sum() / target.square().sum())

    before, state = gap(), {n: t.clone() for n, t in teacher.state_dict().items()}
    made = DistillModule(teacher, classes=3, lr=0.02, kl_weight=1.0)
    fit(made, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=20, patience=20, seed=0)
    assert gap() < 0.5 * before
    changed = [n for n, t in teacher.state_dict().items() if not torch.equal(t, state[n])]
    assert changed
    assert all("student" in n for n in changed)


def test_hybrid_teaches_its_student_as_it_goes_and_answers_by_it(tmp_path):
    torch.manual_seed(7)
    made = wrap_with_resonance(
        SmallResNet(3, 1, (4, 6, 8), 1),
        [1, 2, 3],
        rank=3,
        T=3,
        mode="hybrid",
        num_classes=3,
        example_input=torch.zeros(1, 1, 8, 8),
    )
    made.fit_statistics(data().train_dataloader())
    module = ResonanceModule(made, classes=3, lr=0.02)
    accuracy, _ = fit(module, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=20, patience=20, seed=0)
    assert accuracy > 0.6
    x = torch.cat([batch[0] for batch in data().val_dataloader()])
    deltas = {}
    with torch.no_grad(), made.observed() as seen:
        for mode in ("explicit", "implicit", "hybrid"):
            made.mode = mode
            made(x)
            deltas[mode] = seen[-1].delta[0]
    assert torch.equal(deltas["hybrid"], deltas["implicit"])
    gap = (deltas["implicit"] - deltas["explicit"]).square().sum() / deltas["explicit"].square().sum()
    one_step = (made.engine(made.read(x), "explicit", 1).delta[0] - deltas["explicit"]).square().sum()
    assert gap < 0.05
    assert gap < 0.5 * one_step / deltas["explicit"].square().sum()  # it knows more than one step of the loop


def test_a_lesson_moves_the_student_alone_and_counts_later_states():
    made = model()
    for parameter in made.engine.couplings.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    made.add_student()
    torch.nn.init.normal_(made.engine.student.out.weight, std=0.1)
    x = next(iter(data().val_dataloader()))[0]
    assert made.eval().engine(made.read(x), "explicit", 3).lesson is None
    lesson = made.train().engine(made.read(x), "explicit", 3).lesson
    lesson(1.0).backward()
    moved = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved
    assert all("student" in name for name in moved)
    start, half, whole = (float(lesson(weight).detach()) for weight in (0.0, 0.5, 1.0))
    assert half - start == pytest.approx(whole - half, rel=1e-3)
    assert whole > start


def test_a_loss_that_is_not_finite_stops_with_one_line(tmp_path):
    made = module()
    made.model.head.weight.data[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="train/loss is nan in step .*lower the learning rate"):
        fit(made, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=2, patience=2, seed=0)


def test_a_gradient_that_is_not_finite_stops_though_the_loss_is(tmp_path):
    made = model()
    made.head.weight.register_hook(lambda grad: grad * float("nan"))
    module = ResonanceModule(made, classes=3, lr=0.02)
    with pytest.raises(
        FloatingPointError, match=r"the gradient of .* is not finite in step 0: lower the learning rate"
    ):
        fit(module, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=2, patience=2, seed=0)


def test_a_loop_that_runs_away_leaves_the_weights_finite(tmp_path):
    """Samples whose loop overflows fall back to the backbone, and have no part in the gradient."""
    torch.manual_seed(7)
    options = {"stability": "monitored", "activation": "relu", "rank": 3, "T": 60, "num_classes": 3}
    net, x = SmallResNet(3, 1, (4, 6, 8), 1), torch.zeros(1, 1, 8, 8)
    made = wrap_with_resonance(net, [1, 2, 3], example_input=x, **options)
    made.fit_statistics(data().train_dataloader())
    for parameter in made.engine.couplings.parameters():
        torch.nn.init.normal_(parameter, std=30.0)
    module = ResonanceModule(made, classes=3, lr=0.02)
    fit(module, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=2, patience=2, seed=0)
    assert made.fallback.any()
    assert all(torch.isfinite(parameter).all() for parameter in made.parameters())


class _Fixed:
    """A trainer as far as the callbacks read one."""

    def __init__(self, **metrics: float) -> None:
        self.sanity_checking = False
        self.callback_metrics = {name.replace("_", "/"): torch.tensor(v) for name, v in metrics.items()}


def test_the_guard_cuts_only_residuals_that_grow_and_are_large():
    guard = ResidualGuard(cut=0.5, above=0.5)
    factors = []
    for residual in (0.9, 0.8, 0.95, 0.4, 0.45, 0.7):
        guard.on_validation_epoch_end(_Fixed(val_residual=residual), None)
        factors.append(guard.factor)
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
    twin = ResidualGuard()
    twin.load_state_dict(guard.state_dict())
    assert twin.factor == 0.25


def test_the_best_epoch_is_the_latest_of_equals():
    made, keeper = module(), KeepBest()
    for accuracy, value in ((0.5, 1.0), (0.7, 2.0), (0.7, 3.0), (0.6, 4.0)):
        made.model.head.bias.data.fill_(value)
        keeper.on_validation_epoch_end(_Fixed(val_accuracy=accuracy), made)
    keeper.restore(made)
    assert made.model.head.bias.tolist() == [3.0] * 3


def test_the_strength_rises_in_a_straight_line_to_the_configured_one(tmp_path):
    seen = []

    class Note(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(float(pl_module.model.engine.strength))

    run(tmp_path, Note())
    assert len(seen) == 18
    assert seen[0] == pytest.approx(0.01)
    assert seen[3] == pytest.approx(0.01 + 0.99 * 3 / 9)
    assert seen[9:] == pytest.approx([1.0] * 9)
