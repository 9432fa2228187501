"""Message space is exact: the resonator and the formula on full activations give the same."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from support.naive import resonate
from support.nets import refined, taps_of

from dynaxx import ResonanceConfig
from dynaxx.backbone import moments
from dynaxx.model import Adapter
from dynaxx.resonance import Resonator, reference


def randomised(resonator: Resonator, scale: float = 0.3) -> Resonator:
    """Every parameter and statistic drawn at random: nothing is left at a value that hides a mistake."""
    for parameter in [p for p in resonator.parameters() if p.requires_grad]:
        torch.nn.init.normal_(parameter, std=scale)
    statistics = resonator.exchange.statistics
    for tap in range(len(resonator.exchange.channels)):
        statistics.mean(tap).normal_()
        statistics.std(tap).uniform_(0.5, 2.0)
    return resonator


@st.composite
def cases(draw):
    taps = draw(st.integers(2, 4))
    channels = [draw(st.integers(1, 7)) for _ in range(taps)]
    couplings = draw(st.sampled_from(["learned", "learned", "identity", "random"]))
    config = ResonanceConfig(
        couplings=couplings,
        T=draw(st.integers(1, 7)),
        rank=draw(st.integers(1, min(4, sum(channels)))),
        damping=draw(st.floats(0.05, 1.0)),
        activation=draw(st.sampled_from(["gelu", "silu", "relu", "tanh", "identity"])),
        depthwise=couplings == "learned" and draw(st.booleans()),
        gate=draw(st.sampled_from(["none", "learned", "position"])) if couplings == "learned" else "none",
        strength=draw(st.floats(0.01, 1.5)),
        feedback=draw(st.floats(0.1, 1.5)),
    )
    tokens = draw(st.booleans())
    if tokens:
        config = dataclasses.replace(config, token_pool=draw(st.booleans()), causal=draw(st.booleans()))
    grid = (draw(st.integers(1, 5)),) if tokens else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    factors = [(1, 1)] * taps if tokens else [(draw(st.integers(1, 3)), draw(st.integers(1, 3))) for _ in channels]
    seen = draw(st.lists(st.booleans(), min_size=taps, max_size=taps))
    return channels, config, tokens, grid, factors, seen, draw(st.integers(0, 2**31))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@given(case=cases())
@settings(max_examples=40)
def test_agrees_with_full_channel_states(dtype, tolerance, case):
    channels, config, tokens, grid, factors, seen, seed = case
    torch.manual_seed(seed)
    prefix = 1 if tokens and not config.token_pool and not config.causal else 0
    taps = taps_of(channels, tokens, causal=bool(config.causal), prefix=prefix)
    taps = [dataclasses.replace(tap, output=flag) for tap, flag in zip(taps, seen, strict=True)]
    config = config_with_grid(config, grid, tokens)
    adapter = Adapter(torch.nn.Identity(), [tap.path for tap in taps], config)
    adapter.build_from(taps)
    resonator = randomised(adapter.require_built().to(dtype))
    shapes = [tuple(g * f for g, f in zip(grid, factor, strict=False)) for factor in factors]
    x0 = [torch.randn(3, c, *shape, dtype=dtype) for c, shape in zip(channels, shapes, strict=True)]

    with torch.no_grad():
        taken = [x.transpose(1, 2) for x in x0] if tokens else x0
        agreed, output = adapter.refine(adapter.anchors(taken), config, trace=True)
    expected, residuals = resonate(resonator, config, x0, grid, resonator.exchange.outputs)
    assert len(agreed) == len(expected) == len({*[n for n, flag in enumerate(seen) if flag], len(channels) - 1})
    for found, wanted in zip(agreed, expected, strict=True):
        scale = wanted.abs().max().clamp_min(1.0)
        found = found.transpose(1, 2) if tokens else found
        assert torch.allclose(found / scale, wanted / scale, rtol=0, atol=tolerance)
    if dtype == torch.float64:  # a residual is a quotient of norms that may both be rounding in float32
        assert torch.allclose(output.trace.residual, residuals, rtol=1e-6, atol=1e-8)


def config_with_grid(config: ResonanceConfig, grid: tuple[int, ...], tokens: bool) -> ResonanceConfig:
    if tokens:
        return config
    return ResonanceConfig(**config.to_dict() | {"grid": grid})


def test_one_iteration_needs_no_feedback_and_every_further_one_does():
    config = ResonanceConfig(T=3, rank=2)
    resonator = randomised(Resonator(taps_of([3, 4, 5]), config).double())
    x = [torch.randn(2, 6, c, dtype=torch.float64) for c in (3, 4, 5)]

    def delta(T: int) -> torch.Tensor:
        return refined(resonator, x, (2, 3), dataclasses.replace(config, T=T)).delta[0]

    one, two = delta(1), delta(2)
    resonator.exchange.alpha = 1e-12
    assert torch.allclose(delta(1), one)
    assert not torch.allclose(delta(2), two)


def test_the_units_of_the_activations_do_not_matter():
    """Scaling and shifting every channel leaves the messages, κ and residuals alone; what is written scales along."""
    config = ResonanceConfig(T=3, rank=2)
    resonator = randomised(Resonator(taps_of([3, 4, 5]), config).double())
    statistics = resonator.exchange.statistics
    x = [torch.randn(20, 6, c, dtype=torch.float64) for c in (3, 4, 5)]
    scale = [torch.logspace(-5, 3, c, dtype=torch.float64) for c in (3, 4, 5)]
    statistics.set(moments([x]))
    plain, kappa = refined(resonator, x, (2, 3), config).delta[0], resonator.exchange.stability(config.damping).kappa
    other = [a * u + 7.0 * u for a, u in zip(x, scale, strict=True)]
    statistics.set(moments([other]))
    assert torch.allclose(refined(resonator, other, (2, 3), config).delta[0], plain * scale[2], rtol=1e-8)
    assert resonator.exchange.stability(config.damping).kappa == kappa


def test_the_reference_is_read_in_a_minute():
    assert len(Path(reference.__file__).read_text().splitlines()) <= 60
