"""A fit that is killed and started again ends with the same numbers as one that was left alone."""

import multiprocessing
import os
import signal
import sys
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from support.small_fits import TRAINER, data, model, module, run

from dynaxx import wrap_with_resonance
from dynaxx.tasks import Classification
from dynaxx.training.fit import FitError, TrainingTime, fit
from dynaxx.training.resonance_module import ResonanceModule
from dynaxx.training.small_resnet import SmallResNet


class DieAfter(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=run, args=(tmp_path / "killed", DieAfter(4)))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "killed" / "last.ckpt").exists()
    resumed, whole = run(tmp_path / "killed"), run(tmp_path / "whole")
    for (name, a), (_, b) in zip(
        resumed.model.resonator.state_dict().items(), whole.model.resonator.state_dict().items(), strict=True
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
    module = ResonanceModule(made, Classification(), lr=0.02)
    accuracy, _ = fit(module, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=8, patience=8, seed=0)
    assert accuracy > 0.6
    if options.get("stability") == "certified":
        assert made.stability().contraction_certified
    if "gate" in options:
        with made.tracing():
            made(next(iter(data().val_dataloader()))[0])
        assert made.trace.gates.std() > 0
        assert made.resonator.gate.kept_0.any()  # its critic has learned, too


def test_the_residual_penalty_teaches_the_loop_to_settle(tmp_path):
    def settled(penalty: float) -> float:
        made = ResonanceModule(model(), Classification(), lr=0.05, residual_penalty=penalty, residual_share=1.0)
        fit(made, data(), trainer=TRAINER, checkpoints=tmp_path / str(penalty), epochs=8, patience=8, seed=0)
        made.model.T = 6
        with torch.no_grad(), made.model.tracing():
            made.model(next(iter(data().val_dataloader()))[0])
        return float(made.model.trace.residual[2].mean())

    assert settled(5.0) < 0.7 * settled(0.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"check_val_every_n_epoch": 4}, "check_val_every_n_epoch=4: 2 epochs would end"),
        ({"limit_train_batches": 0}, "limit_train_batches=0"),
        ({"limit_val_batches": 0}, "limit_val_batches=0"),
        ({"fast_dev_run": True}, "fast_dev_run="),
        ({"max_time": "00:00:00:00"}, "ended before its first validation"),
        ({"max_steps": 1}, "max_steps=1: trainings are counted in epochs"),
        ({"min_steps": 50}, "min_steps=50"),
        ({"min_epochs": 3}, "min_epochs=3: is more than the 2 epochs"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0"),
        ({"val_check_interval": 0}, "val_check_interval=0"),
        ({"gradient_clip_algorithm": "best"}, "trainer: .*best"),
        ({"colour": "red"}, "trainer: .*colour"),
        ({"precision": "3"}, "trainer: .*3"),
    ],
    ids=str,
)
def test_a_fit_without_a_validation_has_no_accuracy(tmp_path, options, says):
    with pytest.raises(FitError, match=says) as raised:
        fit(module(), data(), trainer=partial(TRAINER, **options), checkpoints=tmp_path, epochs=2, patience=2, seed=0)
    assert "\n" not in str(raised.value)


def test_the_time_of_epochs_without_a_validation_counts(monkeypatch, tmp_path):
    clock = iter(range(10_000))
    monkeypatch.setattr(sys.modules["dynaxx.training.fit"].time, "perf_counter", lambda: next(clock))
    timer = TrainingTime()
    for epoch in range(3):
        timer.on_train_epoch_start(None, None)
        if epoch == 2:
            timer.on_validation_start(None, None)
            timer.on_validation_end(None, None)
        timer.on_train_epoch_end(None, None)
    assert timer.seconds == 4  # one tick an epoch, and one of the last after its validation


class Interrupts(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        raise KeyboardInterrupt


def test_an_interrupt_is_handed_on(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(module(), data(), trainer=TRAINER, checkpoints=tmp_path, epochs=2, patience=2, seed=0,
                callbacks=[Interrupts()])  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores a second one
