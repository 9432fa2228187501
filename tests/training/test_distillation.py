"""A student learns from the loop, after it (distillation) or beside it (hybrid)."""

import dataclasses

import pytest
import torch
from support.small_fits import TRAINER, data, model

from dynaxx import wrap_with_resonance
from dynaxx.tasks import Classification
from dynaxx.training.distill_module import DistillModule
from dynaxx.training.fit import fit
from dynaxx.training.resonance_module import ResonanceModule
from dynaxx.training.small_resnet import SmallResNet


def test_distillation_brings_the_student_to_the_loop_and_trains_nothing_else(tmp_path):
    teacher = model()
    for parameter in teacher.resonator.exchange.couplings.parameters():
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
    made = DistillModule(teacher, Classification(), lr=0.02, kl_weight=1.0)
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
    module = ResonanceModule(made, Classification(), lr=0.02)
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
    one_step = (
        (
            made.resonator(made.read(x), dataclasses.replace(made.config, mode="explicit", T=1)).delta[0]
            - deltas["explicit"]
        )
        .square()
        .sum()
    )
    assert gap < 0.05
    assert gap < 0.5 * one_step / deltas["explicit"].square().sum()  # it knows more than one step of the loop


def test_a_lesson_moves_the_student_alone_and_counts_later_states():
    made = model()
    for parameter in made.resonator.exchange.couplings.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    made.add_student()
    torch.nn.init.normal_(made.resonator.student.out.weight, std=0.1)
    x = next(iter(data().val_dataloader()))[0]
    assert made.eval().resonator(made.read(x), made.config).distillation_loss is None
    lesson = made.train().resonator(made.read(x), made.config).distillation_loss
    lesson(1.0).backward()
    moved = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved
    assert all("student" in name for name in moved)
    start, half, whole = (float(lesson(weight).detach()) for weight in (0.0, 0.5, 1.0))
    assert half - start == pytest.approx(whole - half, rel=1e-3)
    assert whole > start
