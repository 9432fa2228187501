"""A head in standardised coordinates answers as the plain linear layer that it stands for."""

import torch
from support.nets import Plain
from torch import nn

from dynaxx import wrap_with_resonance
from dynaxx.backbone import Head


def test_it_is_a_plain_linear_layer_until_it_is_standardised_and_answers_alike_afterwards():
    torch.manual_seed(0)
    head, features = Head(5, 3).double(), torch.randn(40, 5, dtype=torch.float64) * torch.logspace(-5, 3, 5) + 7.0
    plain = nn.functional.linear(features, head.weight, head.bias)
    assert torch.equal(head(features), plain)
    for _ in range(2):  # also from one standardisation to another
        head.standardise(features.mean(0), features.std(0))
        assert torch.allclose(head(features), plain, rtol=1e-9, atol=1e-9)
        features = features[:20]
        plain = plain[:20]


def test_fit_statistics_gives_it_those_of_the_classifiers_input():
    torch.manual_seed(0)
    net = Plain().eval()
    batches = [torch.randn(6, 3, 16, 16) for _ in range(3)]
    model = wrap_with_resonance(net, ["early", "late"], rank=2, num_classes=4, example_input=batches[0])
    before = model(batches[0])
    seen: list[torch.Tensor] = []
    handle = net.answer.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    model.fit_statistics(batches)
    handle.remove()
    features = torch.cat(seen).double()
    assert torch.allclose(model.head.mean.double(), features.mean(0), rtol=1e-5, atol=1e-7)
    std = features.std(0, correction=0)
    assert (std > 0).sum() > 3
    assert torch.allclose(model.head.std.double()[std > 0], std[std > 0], rtol=1e-5)
    assert torch.allclose(model(batches[0]), before, atol=1e-5)
    assert not net.answer._forward_pre_hooks
