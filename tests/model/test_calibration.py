"""Calibration sees what is wrong with a loop and does something about it."""

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images

from dynaxx import ResonanceError, wrap_with_resonance
from dynaxx.resonance import Pair


def model_with(scale: float, **options):
    model = wrap_with_resonance(
        Plain(), PLAIN_TAPS, rank=3, example_input=images(), depthwise=False, activation="tanh", **options
    )
    for U in model.resonator.exchange.couplings.U:
        torch.nn.init.normal_(U, std=scale)
    return model


def batches(labelled=True):
    torch.manual_seed(5)
    x = [images(batch=6) for _ in range(2)]
    return [(b, torch.randint(5, (6,))) for b in x] if labelled else x


def test_a_settled_loop_is_left_alone():
    model = model_with(0.01, T=5)
    report = model.calibrate(batches())
    assert (report.settled, report.action, report.T) == (True, "none", 5)
    assert report.residual.shape == (20, 3)
    assert 0 <= report.score <= 1


def test_samples_that_stop_on_purpose_are_not_taken_for_a_loop_that_never_settles():
    plain, stopping = model_with(0.02, T=2, damping=0.5), model_with(0.02, T=2, damping=0.5, tolerance=0.3)
    stopping.load_state_dict(plain.state_dict())
    assert torch.equal(stopping.calibrate(batches()).residual, plain.calibrate(batches()).residual)
    assert stopping.config.tolerance == 0.3


def test_a_slow_loop_gets_the_iterations_it_needs():
    model = model_with(0.02, T=2, damping=0.5)
    report = model.calibrate(batches())
    assert report.action == "T"
    assert 2 < report.T <= 8
    assert model.T == report.T
    assert (report.residual[report.T - 1] <= 1e-2).all()
    assert not (report.residual[report.T - 2] <= 1e-2).all()


def test_an_oscillating_loop_is_cut_to_a_tenth_of_its_strength():
    model = model_with(30.0, T=5, damping=1.0)
    report = model.calibrate(batches(labelled=False))
    assert report.oscillating
    assert report.action == "strength"
    assert float(model.resonator.exchange.strength) == pytest.approx(0.1)
    assert report.score is None


def test_a_cut_that_costs_accuracy_is_undone_and_said():
    model = model_with(30.0, T=5, damping=1.0)
    x = batches(labelled=False)
    with torch.no_grad():
        agreeing = [(b, model(b).argmax(1)) for b in x]  # labels the uncut model answers perfectly
    report = model.calibrate(agreeing)
    assert report.score == 1.0
    assert report.action == "strength undone"
    assert float(model.resonator.exchange.strength) == pytest.approx(1.0)


def test_over_coupling_names_the_coupling_that_does_the_harm():
    model = model_with(0.0, T=3)
    loader = [(x, model(x).argmax(1)) for x in batches(labelled=False)]  # the bare backbone is right everywhere
    torch.nn.init.normal_(model.resonator.exchange.couplings.of(Pair(2, 0))[1], std=20.0)
    report = model.calibrate(loader, baseline_score=1.0)
    assert report.over_coupled
    assert next(iter(report.ablation)) == ("late", "early")
    assert report.ablation["late", "early"] == 1.0
    assert report.score < 1.0


def test_calibration_leaves_modes_as_they_were_and_refuses_what_it_cannot_read():
    model = model_with(0.01).train()
    model.calibrate(batches())
    assert model.training
    with pytest.raises(ResonanceError, match="only once"):
        model.calibrate(iter(batches()))
    with pytest.raises(ResonanceError, match="no batch"):
        model.calibrate([])
    model.add_student()
    model.mode = "implicit"
    with pytest.raises(ResonanceError, match="explicit"):
        model.calibrate(batches())


def test_a_loader_that_fails_leaves_the_model_as_it_was():
    model = model_with(0.01, T=5)
    with pytest.raises(ResonanceError, match="no sample of it is finite"):
        model.calibrate([torch.full_like(images(batch=2), float("nan"))])
    assert model.T == 5
