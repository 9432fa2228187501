"""Several named adapters on one backbone."""

import copy

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images, trained_like

from dynaxx import ResonanceError, load_resonance, wrap_with_resonance


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = wrap_with_resonance(Plain(), PLAIN_TAPS, rank=3, T=2, example_input=images())
    made.add_adapter("other", ["early", "late"], rank=2, num_classes=4, example_input=images())
    return trained_like(made)


def test_each_answers_by_itself_with_taps_options_and_head_of_its_own(model):
    x = images()
    first = model(x)
    model.set_adapter("other")
    second = model(x)
    assert (first.shape, second.shape) == ((3, 5), (3, 4))
    assert model.paths == ("early", "late")
    assert model.config.rank == 2
    model.set_adapter("default")
    assert torch.equal(model(x), first)
    with model.disabled():
        assert torch.equal(model(x), model.backbone(x))


def test_only_the_active_one_trains(model):
    x = images()
    model.fit_statistics([x])
    frozen = model.resonator.exchange.phi.kernel.requires_grad_(False)  # a choice of the user's, which switching keeps
    of_first = {id(p) for p in model.trainable_parameters()}
    assert id(frozen) not in of_first
    model.set_adapter("other")
    model.fit_statistics([x])
    trained = model.trainable_parameters()
    assert trained
    assert not {id(p) for p in trained} & of_first
    before = copy.deepcopy(model.adapters["default"].state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.1)
    model.train()(x).square().mean().backward()
    optimizer.step()
    assert all(p.grad is not None for p in trained)
    assert all(torch.equal(t, before[n]) for n, t in model.adapters["default"].state_dict().items())
    model.set_adapter("default")
    assert {id(p) for p in model.trainable_parameters()} == of_first


def test_deleting_leaves_the_others_alone(model):
    x = images()
    first = model(x)
    with pytest.raises(ResonanceError, match=r"is active; set_adapter\('other'\) first"):
        model.delete_adapter("default")
    model.delete_adapter("other")
    assert list(model.adapters) == ["default"]
    assert torch.equal(model(x), first)
    with pytest.raises(ResonanceError, match="it is the only one"):
        model.delete_adapter("default")
    model.add_adapter("other", ["middle", "late"], rank=2, example_input=x)
    model.set_adapter("other")
    model.delete_adapter("default")
    assert torch.equal(model(x), model.backbone(x))  # a new one starts as the backbone


def test_saved_by_itself_and_loaded_beside_another(model, tmp_path):
    x = images()
    model.set_adapter("other")
    expected = model(x)
    model.save_pretrained(tmp_path)
    bare = wrap_with_resonance(copy.deepcopy(model.backbone), PLAIN_TAPS, rank=3, example_input=x)
    plain = bare(x)
    bare.load_adapter(tmp_path, "guest")
    assert torch.equal(bare(x), plain)
    bare.set_adapter("guest")
    assert torch.equal(bare(x), expected)
    alone = load_resonance(bare.remove(), tmp_path)
    assert torch.equal(alone(x), expected)
    assert list(alone.adapters) == ["default"]


def test_copies_and_state_dicts_hold_all_of_them(model):
    x = images()
    twin = copy.deepcopy(model)
    trained_like(model)
    assert not torch.equal(twin(x), model(x))
    twin.load_state_dict(model.state_dict())
    for name in ("other", "default"):
        model.set_adapter(name)
        twin.set_adapter(name)
        assert torch.equal(twin(x), model(x))


def test_shapes_may_stay_unknown_until_a_first_pass():
    model = wrap_with_resonance(Plain(), PLAIN_TAPS, rank=3, example_input=images())
    model.add_adapter("late", ["middle", "late"], rank=2)
    model.set_adapter("late")
    with pytest.raises(ResonanceError, match="run one forward pass first"):
        model.trainable_parameters()
    model(images())
    assert model.trainable_parameters()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m.add_adapter("other", [2, 3]), "'other': taken"),
        (lambda m: m.add_adapter("a.b", [2, 3]), "without dots"),
        (lambda m: m.add_adapter("", [2, 3]), "without dots"),
        (lambda m: m.add_adapter("keys", [2, 3]), "'keys': taken"),
        (lambda m: m.add_adapter("third", ["early", "nowhere"]), "no module 'nowhere'"),
        (lambda m: m.add_adapter("third", ["early", "late"], flavour=1), "unknown option flavour"),
        (lambda m: m.set_adapter("third"), "no adapter 'third'; there are default, other"),
        (lambda m: m.delete_adapter("third"), "no adapter 'third'"),
        (lambda m: m.load_adapter("nowhere", "third"), "no resonance.json"),
    ],
)
def test_bad_calls_are_one_clear_line_and_change_nothing(model, call, says):
    before = dict(model.adapters.items()), model.active_adapter
    with pytest.raises(ResonanceError, match=says) as caught:
        call(model)
    assert "\n" not in str(caught.value)
    assert (dict(model.adapters.items()), model.active_adapter) == before
