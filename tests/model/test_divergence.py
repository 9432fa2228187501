"""Loops that run away: a defined state at the end of each, and the neighbours of a lost sample do not notice."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from support.nets import PLAIN_TAPS, Plain, images, trained_like, wrapped
from torch import Tensor, nn

from dynaxx import wrap_with_resonance

pytestmark = pytest.mark.filterwarnings("ignore:the loop ran away")  # tests/model/test_runaway.py is about the warning


def model(**options):
    torch.manual_seed(0)
    x = images(batch=6)
    made = trained_like(wrap_with_resonance(Plain().eval(), PLAIN_TAPS, rank=3, example_input=x[:1], **options))
    made.fit_statistics([x])
    return made, x


def scaled(made: nn.Module, factor: float) -> None:
    with torch.no_grad():
        for parameter in made.resonator.exchange.couplings.parameters():
            parameter.mul_(factor)


def gradients(made, x: Tensor) -> list[Tensor]:
    """Of a loss that sums over the samples that did not fall back."""
    made.zero_grad()
    out = made(x)
    out[~made.fallback].square().sum().backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in made.trainable_parameters()]


def check_defined(made, x: Tensor, bare: Tensor) -> None:
    """Whoever fell back has the backbone's answer, whoever did not has a finite one."""
    with torch.no_grad():
        out = made(x)
    assert torch.isfinite(out).all()
    assert torch.equal(out[made.fallback], bare[made.fallback])


OPTIONS = [
    {"T": 20, "activation": "identity"},
    {"T": 20},
    {"T": 20, "solver": "anderson"},
    {"T": 20, "tolerance": 1e-3},
    {"T": 20, "gate": "learned"},
    {"T": 20, "gate": "position"},
    {"T": 8, "dynamics": "reentrant"},
    {"T": 20, "stability": "certified"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_couplings_a_hundred_times_too_large(options):
    made, x = model(**options)
    bare = made.backbone(x)
    scaled(made, 100.0)
    check_defined(made.train(), x, bare)
    check_defined(made.eval(), x, bare)
    assert all(torch.isfinite(grad).all() for grad in gradients(made.train(), x))
    if options.get("activation") == "identity":
        assert made.fallback.all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_lost_sample_changes_nothing_for_its_neighbours(options):
    """One sample is far outside what the loop stands; the others' answers and gradients are those without it."""
    made, x = model(**options)
    spoilt = x.clone()
    spoilt[2] *= 1e12
    kept = [0, 1, 3, 4, 5]
    expected, wanted = made(x[kept]).detach(), gradients(made, x[kept])
    with torch.no_grad():
        out = made(spoilt)
    assert made.fallback.tolist() == [False, False, True, False, False, False]
    assert torch.isfinite(out).all()
    assert torch.equal(out[2], made.backbone(spoilt)[2])
    assert torch.allclose(out[kept], expected, rtol=1e-4, atol=1e-5)
    for found, want in zip(gradients(made, spoilt), wanted, strict=True):
        assert torch.allclose(found, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "options", [{"T": 3}, {"T": 3, "dynamics": "reentrant"}, {"T": 2, "mode": "implicit"}], ids=str
)
def test_samples_that_are_not_finite_in_a_good_batch(options, value):
    made, x = model(**options)
    spoilt = x.clone()
    spoilt[4, 1, 3, 3] = value
    kept = [0, 1, 2, 3, 5]
    wanted = gradients(made, x[kept])
    out = made(spoilt)
    assert made.fallback.tolist() == [False] * 4 + [True, False]
    assert torch.allclose(out[kept], made(x[kept]), rtol=1e-4, atol=1e-5)
    for found, want in zip(gradients(made, spoilt), wanted, strict=True):
        assert torch.allclose(found, want, rtol=1e-3, atol=1e-4)


@settings(max_examples=15)
@given(scale=st.floats(-12, 12), shift=st.floats(-1e6, 1e6), seed=st.integers(0, 1000))
def test_statistics_of_other_data(scale, shift, seed):
    """Anchors standardised with statistics that are none of theirs: far off, but never undefined."""
    made, x = model(T=6)
    torch.manual_seed(seed)
    for tap in range(3):
        made.resonator.exchange.statistics.mean(tap).fill_(shift)
        made.resonator.exchange.statistics.std(tap).fill_(10.0**scale)
    check_defined(made, x, made.backbone(x))
    assert all(torch.isfinite(grad).all() for grad in gradients(made.train(), x))


def test_half_precision_overflows_only_where_it_does():
    made, x = model(T=3, mode="implicit", depthwise=False)
    backbone = made.backbone.half()
    with torch.no_grad():
        bare = backbone(x.half())
        made.resonator.exchange.statistics.std(2).fill_(
            1e6
        )  # what is written at the last tap leaves half precision's range
        out = made(x.half())
    assert torch.isfinite(out).all()
    assert made.fallback.any()
    assert torch.equal(out[made.fallback], bare[made.fallback])


def test_all_lost_is_still_a_step_of_training():
    made, x = model(T=20, activation="identity", num_classes=None)
    scaled(made, 100.0)
    made.train()
    loss = made(x).square().mean()
    assert made.fallback.all()
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in made.trainable_parameters())


@pytest.mark.parametrize("options", [{}, {"solver": "anderson"}, {"dynamics": "reentrant"}, {"gate": "learned"}])
@pytest.mark.parametrize("grad", [True, False])
def test_a_batch_without_samples_has_an_output_without_samples(options, grad):
    made = trained_like(wrapped(Plain().eval(), T=3, **options)).eval()
    with torch.set_grad_enabled(grad):
        assert made(images(batch=2)[:0]).shape == (0, 5)
        assert made(torch.full_like(images(batch=1), float("nan"))).shape == (1, 5)


def test_outputs_of_a_batch_with_a_lost_sample_are_those_of_its_samples():
    made = trained_like(wrapped(Plain().eval(), T=3)).train()
    made.fit_statistics([images(batch=8)])
    x = images(batch=5)
    with made.observed() as outputs:
        made(x)
        made(x.index_fill(0, torch.tensor([1]), float("nan")))
    whole, lost = outputs
    assert lost.fallback.tolist() == [False, True, False, False, False]
    kept = ~lost.fallback
    for one, other in zip(whole.delta, lost.delta, strict=True):
        torch.testing.assert_close(other[kept], one[kept])
        assert not other[1].any()
    for count in (1, 2, 3, 5):
        residual = lost.residual(count)
        assert residual.shape == (3, count)
        torch.testing.assert_close(residual[:, kept[:count]], whole.residual(count)[:, kept[:count]])
        assert not residual[:, ~kept[:count]].any()
