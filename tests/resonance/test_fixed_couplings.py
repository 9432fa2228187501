"""Couplings that are not learned: what they pass on, and that only their factors train."""

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images

from dynaxx import ResonanceConfig, ResonanceError, load_resonance, wrap_with_resonance
from dynaxx.resonance import live_pairs
from dynaxx.resonance.couplings import Couplings


def test_identity_is_eye_between_taps_of_any_width():
    channels = [3, 7, 5]
    made = Couplings(channels, live_pairs(3, 4, [2]), 2, "identity")
    torch.nn.init.ones_(made.factor)
    for pair in made.pairs:
        V, U, _ = made.of(pair)
        assert torch.equal(U.T @ V.T, torch.eye(channels[pair.target], channels[pair.source]))


def test_random_keeps_the_scale_of_what_it_reads():
    torch.manual_seed(0)
    made = Couplings([64, 64], live_pairs(2, 3, [1]), 64, "random")
    x = torch.randn(2000, 64)
    assert (x @ made.V[0] @ made.U[0]).std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("kind", ["identity", "random"])
def test_only_the_factors_train_and_they_start_at_zero(kind, tmp_path):
    torch.manual_seed(0)
    net, x = Plain().eval(), images()
    bare = net(x)
    model = wrap_with_resonance(net, PLAIN_TAPS, couplings=kind, rank=3, T=3, example_input=x)
    model.fit_statistics([x])
    assert torch.equal(model(x), bare)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert names == ["adapters.default.resonator.exchange.couplings.factor"]
    optimizer = torch.optim.SGD(model.trainable_parameters(), 0.5)
    for _ in range(3):  # the factors into the last tap move first, then those behind them
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    assert (model.resonator.exchange.couplings.factor != 0).all()
    trained = model(x)
    assert not torch.equal(trained, bare)
    model.save_pretrained(tmp_path)
    assert torch.equal(load_resonance(model.remove(), tmp_path)(x), trained)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"couplings": "fixed"}, "couplings='fixed': give one of learned, identity, random"),
        (
            {"couplings": "random", "gate": "learned"},
            "gate='learned': random couplings train nothing but",
        ),
        ({"couplings": "identity", "depthwise": True}, "depthwise=True: identity couplings train nothing but"),
    ],
)
def test_options_that_do_not_go_together(options, line):
    with pytest.raises(ResonanceError, match=line):
        ResonanceConfig(**options)
