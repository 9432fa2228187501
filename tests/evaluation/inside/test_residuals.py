"""Residual curves of loops that settle and of loops that do not."""

import math

import pytest
import torch
from torch import nn

from dynaxx import wrap_with_resonance
from dynaxx.evaluation import live
from dynaxx.evaluation.inside.residuals import residual_curves, settled_shares


def made(scale: float):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3), nn.ReLU()).eval()
    x = torch.randn(6, 1, 8, 8)
    model = wrap_with_resonance(backbone, ["0", "1"], T=2, rank=3, activation="identity", example_input=x)
    for U in model.resonator.exchange.couplings.U:
        nn.init.normal_(U, std=scale)
    return model, x


def curves(scale: float):
    model, x = made(scale)
    found = residual_curves(model, live(x), 200)
    assert model.T == 2
    return found


def test_a_loop_that_settles_is_followed_to_the_end():
    for curve in curves(0.05):
        assert curve.iterations == list(range(1, 201))
        assert curve.median[-1] < 1e-5 < curve.median[0]


@pytest.mark.filterwarnings("ignore:the loop ran away")
def test_the_curves_of_a_loop_that_diverges_end_before_its_numbers_overflow():
    for curve in curves(1e3):
        assert 1 <= len(curve.iterations) < 200
        assert len(curve.iterations) == len(curve.median) == len(curve.p90)
        assert all(map(math.isfinite, curve.median + curve.p90))


def test_an_image_has_settled_when_every_tap_of_it_has():
    model, x = made(0.3)
    shares = settled_shares(model, live(x), 40, 1e-3, "picard")
    with torch.no_grad(), model.tracing(), model.override(T=40):
        model(x)
    residual = model.trace.residual
    assert residual.shape[1] == 2  # or all would say as much as one
    for number, share in enumerate(shares):
        settled = [all(residual[number, tap, n] <= 1e-3 for tap in range(2)) for n in range(len(x))]
        assert share == sum(settled) / len(x)
    assert 0.0 == shares[0] < shares[-1] == 1.0
    sooner = settled_shares(model, live(x), 40, 1e-3, "anderson")
    assert sum(sooner) > sum(shares)
    assert model.config.solver == "picard"
    assert model.T != 40
