"""The backbone's own answer, untouched, beside the refined one."""

import copy

import pytest
import torch
from support.nets import images, trained_like, wrapped

from dynaxx import wrap_with_resonance


@pytest.mark.parametrize("num_classes", [None, 7])
def test_posthoc_keeps_the_backbones_own_answer_untouched_beside_the_refined_one(plain, num_classes):
    x = images()
    bare = copy.deepcopy(plain)(x)
    model = trained_like(wrapped(plain, num_classes=num_classes))
    refined = model(x)
    assert num_classes is not None or not torch.equal(refined, bare)  # the couplings do something
    both = model.posthoc(x)
    assert torch.equal(both.own, bare)
    assert torch.equal(both.refined, refined)


class Doubling(torch.nn.Module):
    """Overwrites what it is given; twice is not once."""

    def forward(self, x):
        return x.mul_(2)


def test_both_passes_see_the_same_though_the_backbone_overwrites_its_input(plain):
    overwriting = torch.nn.Sequential(Doubling(), plain).eval()
    model = trained_like(wrap_with_resonance(overwriting, ["1.early", "1.late"], rank=3, example_input=images()))
    x = images()
    both = model.posthoc(x.clone())
    assert torch.equal(both.refined, model(x.clone()))
    with model.disabled():
        assert torch.equal(both.own, model(x.clone()))


def test_posthoc_of_a_bad_sample_says_that_resonance_fell_back(plain):
    x = images()
    x[1] = float("nan")
    model = trained_like(wrapped(plain))
    own, refined = model.posthoc(x)
    assert model.fallback.tolist() == [False, True, False]
    assert torch.equal(own[1].nan_to_num(7), refined[1].nan_to_num(7))
    with model.disabled():
        model.posthoc(x)
        assert torch.equal(model(x)[0], own[0])  # still disabled
