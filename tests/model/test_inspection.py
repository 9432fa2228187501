"""What the taps hold before and after, also those that the output does not read."""

import pytest
import torch
from support.naive import resonate
from support.nets import PLAIN_TAPS, Plain, images, trained_like

from dynaxx import ResonanceError, tap_states, wrap_with_resonance
from dynaxx.backbone import capture


@pytest.fixture(name="net")
def _net() -> Plain:
    torch.manual_seed(0)
    return Plain().eval()


def test_every_tap_agrees_with_full_channel_states(net) -> None:
    x = images(3)
    model = trained_like(wrap_with_resonance(net, PLAIN_TAPS, T=3, rank=2, example_input=x))
    with torch.no_grad():
        before = model(x)
        with model.disabled(), capture(net, list(model.paths), copy=[True] * len(PLAIN_TAPS)) as seen:
            net(x)
        states = tap_states(model, x)
        anchors = [seen[path] for path in model.paths]
        exchange = model.resonator.exchange
        expected, _ = resonate(model.resonator, model.config, anchors, tuple(anchors[-1].shape[2:]), exchange.targets)
    assert len(exchange.outputs) < len(states) == len(PLAIN_TAPS)  # taps that the output does not read are told of, too
    for state, anchor, agreed in zip(states, anchors, expected, strict=True):
        pool = torch.nn.functional.adaptive_avg_pool2d
        for got, full in ((state.before, anchor), (state.after, agreed)):
            assert torch.allclose(got, pool(full, state.grid).flatten(2).mT, atol=1e-4)
        assert not torch.allclose(state.before, state.after)
    assert torch.equal(model(x), before)


def test_a_reentrant_loop_tells_of_its_taps_in_the_same_way(net) -> None:
    x = images(3)
    options = {"dynamics": "reentrant", "stability": "monitored"}
    model = trained_like(wrap_with_resonance(net, PLAIN_TAPS, T=2, rank=2, example_input=x, **options))
    with torch.no_grad():
        states = tap_states(model, x)
        agreed, _ = model.refine(model.read(x))
    assert [state.tap for state in states] == list(model.paths)
    last = agreed[-1].flatten(2).mT
    assert torch.allclose(states[-1].after, last, atol=1e-5)


def test_a_student_predicts_nothing_of_them(net) -> None:
    model = wrap_with_resonance(net, PLAIN_TAPS, T=2, rank=2, mode="implicit", example_input=images(1))
    with pytest.raises(ResonanceError, match="mode='implicit'.*model.mode = 'explicit'"):
        tap_states(model, images(1))
