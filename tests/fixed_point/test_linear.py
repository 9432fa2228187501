"""Folding a linear loop is running it for ever."""

import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from support.nets import PLAIN_TAPS, Plain, images

from dynaxx import ResonanceError, load_resonance, wrap_with_resonance

LINEAR = {"activation": "identity", "depthwise": False, "rank": 2, "T": 3}


def linear(scale: float, seed: int = 0, **options):
    torch.manual_seed(seed)
    model = wrap_with_resonance(
        Plain().double().eval(), PLAIN_TAPS, example_input=images().double(), **LINEAR | options
    )
    model.double()
    for name, parameter in model.named_parameters():
        if "resonator." in name:
            torch.nn.init.normal_(parameter, std=scale)
    model.fit_statistics([images(batch=5).double()])
    return model


@given(seed=st.integers(0, 10**6), scale=st.floats(0.05, 0.3), damping=st.floats(0.2, 1.0))
@settings(max_examples=15)
def test_it_equals_the_loop_run_to_its_end(seed, scale, damping):
    model, x = linear(scale, seed, damping=damping), images().double()
    assume(model.stability().contraction_certified)
    model.fold()
    with torch.no_grad():
        folded = model(x)
        model.mode = "explicit"
        model.T = 4000
        assert torch.allclose(folded, model(x), rtol=1e-7, atol=1e-10)


def test_a_folded_model_saves_and_loads(tmp_path):
    model, x = linear(0.1), images().double()
    model.fold()
    expected = model(x)
    model.save_pretrained(tmp_path)
    again = load_resonance(model.remove(), tmp_path)
    again.double()
    assert again.mode == "folded"
    assert torch.allclose(again(x), expected, rtol=1e-6)
    again.mode = "explicit"
    assert not torch.equal(again(x), expected)


def test_a_fold_never_outlives_the_parameters_it_was_made_for():
    model, x = linear(0.1), images().double()
    model.fold()
    before = model(x)
    model.mode = "explicit"
    with torch.no_grad():
        for U in model.resonator.exchange.couplings.U:
            U.mul_(1.5)
    model.mode = "folded"
    assert not torch.allclose(model(x), before)
    model.train()
    with pytest.raises(ResonanceError, match=r"mode='folded': call fold\(\)"):
        model(x)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"activation": "gelu"}, "activation='gelu': only a loop with activation='identity'"),
        ({"depthwise": True}, "depthwise=True: only a loop with depthwise=False"),
        ({"gate": "learned"}, "gate='learned': only a loop with gate='none'"),
    ],
)
def test_what_is_not_one_matrix_is_refused(options, line):
    with pytest.raises(ResonanceError, match=line):
        linear(0.1, **options).fold()


def test_a_divergent_loop_and_a_mode_without_fold_are_refused():
    with pytest.raises(ResonanceError, match=r"fold\(\): the loop diverges"):
        linear(3.0).fold()
    with pytest.raises(ResonanceError, match="mode='folded': there is nothing to fold yet"):
        wrap_with_resonance(Plain(), PLAIN_TAPS, mode="folded", example_input=images())
