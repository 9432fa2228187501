"""A backbone comes back as it was when the last of its wrappers is removed, in any order."""

import copy
import gc
import itertools

import pytest
import torch
from support.nets import Plain, images, trained_like, wrapped
from torch import nn

from dynaxx import wrap_with_resonance


def flags(net):
    return [p.requires_grad for p in net.parameters()], [m.training for m in net.modules()]


@pytest.fixture
def mixed():
    """Some of it is frozen and in eval mode already."""
    net = Plain()
    net.entry.requires_grad_(False)
    net.middle.eval()
    return net


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_three_wrappers_removed_in_any_order(mixed, order):
    before = flags(mixed)
    models = [wrapped(mixed, num_classes=3) for _ in range(3)]
    trained = len(models[0].trainable_parameters())
    for position, number in enumerate(order):
        assert not any(any(part) for part in flags(mixed))
        assert all(len(models[left].trainable_parameters()) == trained for left in order[position:])
        assert models[number].remove() is mixed
        assert models[number].remove() is mixed
    assert flags(mixed) == before


def test_a_removed_model_leaves_the_modes_alone(mixed):
    model = wrapped(mixed)
    model.remove()
    before = flags(mixed)
    model.eval()
    model.train()
    assert flags(mixed) == before


def test_a_wrapped_part_of_a_wrapped_network(mixed):
    before = flags(mixed)
    whole = wrapped(mixed)
    stem = nn.Sequential(mixed.entry, mixed.early)
    part = wrap_with_resonance(stem, ["0", "1"], rank=2, example_input=images())
    whole.remove()
    assert not any(p.requires_grad for p in stem.parameters())
    assert flags(mixed)[0][4:] == before[0][4:]
    part.remove()
    assert flags(mixed) == before


def test_a_collected_wrapper_counts_as_removed_and_nothing_changes_by_itself(mixed):
    before = flags(mixed)
    one, two = wrapped(mixed), wrapped(mixed)
    del one
    gc.collect()
    two.remove()
    assert flags(mixed) == before
    three = wrapped(mixed)
    del three
    gc.collect()
    assert not any(any(part) for part in flags(mixed))
    wrapped(mixed).remove()
    assert flags(mixed) == before


def test_what_the_owner_sets_after_a_wrapper_was_collected_is_kept(mixed):
    model = wrapped(mixed)
    del model
    gc.collect()
    mixed.requires_grad_(True)
    wrapped(mixed).remove()
    assert all(p.requires_grad for p in mixed.parameters())


def test_a_wrap_that_fails_beside_another_leaves_both_alone(mixed):
    before = flags(mixed)
    model = wrapped(mixed)
    with pytest.raises(ValueError, match="example_input"):
        wrapped(mixed, example_input=images()[:, :1])
    assert not any(any(part) for part in flags(mixed))
    model.remove()
    assert flags(mixed) == before


def test_unfreezing_in_one_is_undone_with_the_last(mixed):
    before = flags(mixed)
    one, two = wrapped(mixed), wrapped(mixed)
    two.unfreeze_backbone()
    two.remove()
    one.remove()
    assert flags(mixed) == before


def test_a_shallow_copy_shares_the_backbone_and_holds_it(mixed):
    before, x = flags(mixed), images()
    model = trained_like(wrapped(mixed))
    twin = copy.copy(model)
    assert twin.backbone is mixed
    assert torch.equal(twin(x), model(x))
    with twin.disabled():
        assert not torch.equal(twin(x), model(x))
    model.remove()
    assert not any(any(part) for part in flags(mixed))
    assert twin(x).shape == (3, 5)
    twin.remove()
    assert flags(mixed) == before


def test_a_deep_copy_has_a_backbone_of_its_own(mixed):
    before, x = flags(mixed), images()
    model = trained_like(wrapped(mixed))
    twin = copy.deepcopy(model)
    assert flags(model.remove()) == before
    assert not any(any(part) for part in flags(twin.backbone))
    assert torch.isfinite(twin(x)).all()
    assert flags(twin.remove()) == before
    assert flags(copy.deepcopy(twin).remove()) == before
