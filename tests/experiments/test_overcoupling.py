"""Amplified couplings: which ones, by how much, and that they are put back."""

import pytest
import torch

from dynaxx import wrap_with_resonance
from dynaxx.training.small_resnet import SmallResNet
from experiments.tasks.overcoupling import amplified, predict


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = SmallResNet(4, 3, (4, 6, 8), 1)
    model = wrap_with_resonance(net, [1, 2, 3], T=3, rank=3, example_input=torch.zeros(1, 3, 16, 16))
    for U in model.require_built().exchange.couplings.U:
        torch.nn.init.normal_(U)
    return model


def test_the_couplings_between_the_later_taps_are_amplified_and_put_back(model):
    couplings = model.require_built().exchange.couplings
    before = [U.detach().clone() for U in couplings.U]
    one_by_one = {pair: couplings.of(pair)[1].detach().clone() for pair in couplings.pairs}
    with amplified(model, 3.0):
        for pair, own in one_by_one.items():
            expected = own if 0 in pair else 3.0 * own
            torch.testing.assert_close(couplings.of(pair)[1].detach(), expected)
        assert sum(0 not in pair for pair in couplings.pairs) == 2
    assert all(torch.equal(U, own) for U, own in zip(couplings.U, before, strict=True))


def test_they_are_put_back_after_an_error(model):
    before = [U.detach().clone() for U in model.require_built().exchange.couplings.U]
    with pytest.raises(RuntimeError, match="stopped"), amplified(model, 3.0):
        raise RuntimeError("stopped")
    assert all(torch.equal(U, own) for U, own in zip(model.require_built().exchange.couplings.U, before, strict=True))


def test_unheard_is_the_model_without_the_couplings_out_of_the_first_tap(model):
    images = torch.randn(64, 3, 16, 16)
    with torch.no_grad():  # an untrained network answers the same to all images; about their mean it does not
        model.backbone.fc.bias.sub_(model(images).mean(0))
    heard, unheard = predict(model, images)
    assert heard.equal(model(images).argmax(1))
    with torch.no_grad():
        couplings = model.require_built().exchange.couplings
        for pair in couplings.pairs:
            couplings.of(pair)[1].mul_(pair.source != 0)
    assert unheard.equal(model(images).argmax(1))
    assert not heard.equal(unheard)
