"""Bad options are one clear line; good ones live where they should."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st
from support.nets import PLAIN_TAPS, Plain, images
from torch import nn

from dynaxx import ResonanceConfig, ResonanceError, config, wrap_with_resonance
from dynaxx.config import GROUPS
from dynaxx.fixed_point import STEPS
from dynaxx.resonance import bottleneck, gates, live_pairs


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"T": 0}, "T=0.*at least 1"),
        ({"T": 2.5}, "T=2.5"),
        ({"T": True}, "T=True"),
        ({"rank": 0}, "rank=0"),
        ({"rank": 31}, "rank=31.*30 channels"),
        ({"damping": 0.0}, r"damping=0.0.*\(0, 1\]"),
        ({"damping": 1.1}, "damping=1.1"),
        ({"damping": float("nan")}, "damping=nan"),
        ({"strength": -1.0}, "strength=-1.0"),
        ({"mode": "both"}, "mode='both'.*explicit, implicit"),
        ({"gate": "maybe"}, "gate='maybe'.*none, learned"),
        ({"activation": "swoosh"}, "activation='swoosh'.*gelu"),
        ({"depthwise": 1}, "depthwise=1"),
        ({"grid": (0, 2)}, "grid=0"),
        ({"grid": 4}, "grid=4.*height, width"),
        ({"sources": ["click"]}, "sources=.*dict from names"),
        ({"sources": {"a click": 1}}, "'a click' is no name"),
        ({"sources": {"click": 0}}, r"sources\['click'\]=0"),
        ({"rnk": 4}, "unknown option rnk=4: did you mean 'rank'"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"num_classes": 3, "classifier": "late"}, "classifier='late'.*linear"),
    ],
)
def test_a_bad_option_names_itself_and_leaves_the_model_as_it_was(options, says):
    plain = Plain()
    with pytest.raises(ResonanceError, match=says) as caught:
        wrap_with_resonance(plain, PLAIN_TAPS, example_input=images(), **options)
    assert "\n" not in str(caught.value)
    assert all(p.requires_grad for p in plain.parameters())
    assert plain.training


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (["early", "erly"], "no module 'erly'.*early"),
        ("all", "layers='all'.*auto"),
        (["early"], "at least two"),
        (["early", "late", "early"], "named twice"),
        ([2.0, "late"], "neither a number nor a module path"),
    ],
)
def test_a_bad_layer_names_what_would_do(layers, says):
    with pytest.raises(ResonanceError, match=says):
        wrap_with_resonance(Plain(), layers, example_input=images(), rank=2)


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([1, 2], "no stages were recognised.*'entry'.*example_input"),
        ("auto", "0 stages were recognised.*example_input"),
    ],
)
def test_without_an_example_an_unknown_structure_is_said_to_be_unknown(layers, says):
    with pytest.raises(ResonanceError, match=says):
        wrap_with_resonance(Plain(), layers, rank=2)


def test_stage_numbers_out_of_range_name_the_stages():
    import torchvision

    with pytest.raises(ResonanceError, match=r"no stage 5.*1 to 4 \(layer1 to layer4\)"):
        wrap_with_resonance(torchvision.models.resnet18(), [3, 5])


def test_a_module_that_runs_twice_cannot_be_a_tap():
    class Twice(Plain):
        def forward(self, x):
            x = self.act(self.early(self.entry(x)))
            x = self.middle(x)
            return self.answer(self.late(x).mean((2, 3)) + self.late(x).mean((2, 3)))

    with pytest.raises(ResonanceError, match="'late' runs more than once"):
        wrap_with_resonance(Twice(), PLAIN_TAPS, example_input=images(), rank=2)


def test_a_module_that_is_not_reached_cannot_be_a_tap():
    plain = Plain()
    plain.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(ResonanceError, match="'spare' was not reached"):
        wrap_with_resonance(plain, ["early", "spare"], example_input=images(), rank=2)


def test_a_head_in_the_middle_of_the_network_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 144, 6), nn.ReLU())
    with pytest.raises(ResonanceError, match="does not give the backbone's output"):
        wrap_with_resonance(net, ["0", "1"], example_input=images(), num_classes=2, rank=2)


def test_maps_of_two_and_of_three_axes_are_not_mixed():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 4, 3), nn.Conv3d(4, 4, 1), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.b(self.a(x)[:, :, None]).mean((2, 3, 4)))

    with pytest.raises(ResonanceError, match="maps of two and of three axes"):
        wrap_with_resonance(Mixed(), ["a", "b"], example_input=images(), rank=2)


def test_not_a_module_and_already_wrapped():
    with pytest.raises(ResonanceError, match="no torch.nn.Module"):
        wrap_with_resonance(lambda x: x)
    model = wrap_with_resonance(Plain(), PLAIN_TAPS, rank=2, example_input=images())
    with pytest.raises(ResonanceError, match="resonant already"):
        wrap_with_resonance(model, PLAIN_TAPS)


def test_config_is_frozen_and_round_trips():
    config = ResonanceConfig(T=3, grid=[2, 2])
    with pytest.raises(AttributeError):
        config.T = 4
    assert ResonanceConfig(**config.to_dict()) == config


@given(taps=st.integers(2, 6), T=st.integers(1, 5), also=st.sets(st.integers(0, 5)))
def test_exactly_the_couplings_that_can_reach_the_output_exist(taps, T, also):
    """Brute force: walk messages backwards from the taps that the output reads, one hop a step."""
    reach: set[tuple[int, int]] = set()
    seen = {taps - 1} | {tap for tap in also if tap < taps}
    heard = set(seen)
    for _ in range(T):
        reach |= {(target, k) for target in heard for k in range(taps) if k != target}
        heard |= {k for _, k in reach}
    assert set(map(tuple, live_pairs(taps, T, seen))) == reach


def test_every_live_coupling_gets_a_gradient_and_none_is_dead():
    for T in (1, 2, 4):
        model = wrap_with_resonance(Plain(), PLAIN_TAPS, T=T, rank=2, example_input=images())
        for parameter in model.trainable_parameters():
            nn.init.normal_(parameter, std=0.3)
        model(images()).square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in model.trainable_parameters())
    assert torch.is_grad_enabled()


FIELDS = [field.name for field in dataclasses.fields(ResonanceConfig)]


def test_each_option_stands_in_exactly_one_group():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(FIELDS)


def test_the_description_of_each_option_begins_with_its_group():
    (tree,) = ast.parse(inspect.getsource(ResonanceConfig)).body
    assert isinstance(tree, ast.ClassDef)
    described = {
        field.target.id: text.value.value
        for field, text in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }
    assert list(described) == FIELDS
    for group, names in GROUPS.items():
        for name in names:
            assert described[name].startswith(f"{group.capitalize()}. "), name


def test_the_guide_has_each_option_in_a_row_of_its_group():
    guide = (Path(__file__).parents[1] / "docs" / "guide.md").read_text()
    for group, names in GROUPS.items():
        section = guide.split(f"### {group.capitalize()}\n")[1].split("\n#")[0]
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert sorted(cell.strip(" `") for cell in rows) == sorted(names)


def test_the_names_of_the_options_are_those_that_the_code_knows():
    """They stand in config.py, which imports nothing above it, and again where the code is."""
    assert set(config.ACTIVATIONS) == set(bottleneck.ACTIVATIONS) == set(bottleneck.LIPSCHITZ)
    assert set(config.GATES) == {"none", *gates.GATES} == set(gates.G_MAX)
    assert tuple(STEPS) == config.SOLVERS
