"""The matrix of backbones as an instrument: its checks see what is wrong, and its page says what was found."""

import pytest
import torch
from torch import nn

from benchmarks.backbones import checks
from benchmarks.backbones.__main__ import main
from benchmarks.backbones.checks import CHECKS, FAIL, PASS, REFUSED, Case, Finding, Row, examine, unexpected
from benchmarks.backbones.entry import Entry, images
from benchmarks.backbones.page import page
from benchmarks.backbones.registry import ENTRIES, chosen, key
from dynaxx import ResonanceError


class Stages(nn.Module):
    """Three stages and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 8, 3)
        self.layer3, self.fc = nn.Conv2d(8, 10, 3), nn.Linear(10, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.layer3(torch.relu(self.layer2(torch.relu(self.layer1(x)))))).mean((2, 3)))


def entry(**facts: object) -> Entry:
    return Entry("stages", "test", Stages, images(16), **facts)


@pytest.fixture
def case() -> Case:
    made = Case(entry())
    checks.auto(made)
    return made


def test_a_sound_network_passes_every_check():
    row = examine(entry())
    assert {name: finding.verdict for name, finding in row.findings.items()} == dict.fromkeys(CHECKS, PASS), row
    assert unexpected(entry(), row) == {}
    assert row.taps == ["layer1", "layer2", "layer3"]
    assert row.channels == [6, 8, 10]


def test_names_are_unique_and_every_family_is_there():
    assert len({key(e) for e in ENTRIES}) == len(ENTRIES)
    assert {e.family for e in ENTRIES} == {"torchvision", "timm", "transformers", "plain"}
    assert len(chosen(family="plain")) == sum(e.family == "plain" for e in ENTRIES)


def test_networks_and_batches_are_the_same_at_every_call():
    one, two = (entry().network().state_dict().values() for _ in range(2))
    assert all(map(torch.equal, one, two))
    assert torch.equal(entry().batch(3), entry().batch(3))
    assert torch.equal(entry().sample(entry().batch(3), 1), entry().batch(3)[1:2])


def hook(case: Case, path: str, change):
    return case.network.get_submodule(path).register_forward_hook(lambda module, args, output: change(output))


def test_an_output_that_is_not_the_backbones_is_seen(case):
    hook(case, "fc", lambda y: y + 1e-6)
    with pytest.raises(checks.Wrong, match="differs"):
        checks.identical(case)


def test_samples_that_meet_are_seen(case):
    checks.coupled(case)
    hook(case, "layer3", lambda y: y + 0.01 * y.mean(0, keepdim=True))
    with pytest.raises(checks.Wrong, match="alone differ"):
        checks.samples(case)


def test_channels_of_another_axis_are_seen():
    made = Case(entry(layout="BHWC"))
    checks.auto(made)
    with pytest.raises(checks.Wrong, match=r"channels \[6, 8, 10\]"):
        checks.layout(made)


def test_a_reader_that_gets_the_old_activation_is_seen(case, monkeypatch):
    checks.coupled(case)
    tail = case.network.fc.forward
    # what the second stage was given, the head reads, too: a skip that nobody knew of when the network was wrapped
    held = {}
    case.network.layer2.register_forward_pre_hook(lambda module, args: held.update(x=args[0]))
    monkeypatch.setattr(case.network.fc, "forward", lambda f: tail(f) + held["x"].mean())
    with pytest.raises(checks.Wrong, match="unserved readers of layer1"):
        checks.readers(case)


def test_a_parameter_that_does_not_train_and_a_weight_that_does_are_seen(case, monkeypatch):
    monkeypatch.setattr(case.network.layer3, "forward", lambda x: torch.zeros(len(x), 10, 3, 3))
    with pytest.raises(checks.Wrong, match="not trained"):
        checks.training(case)


def test_a_changed_backbone_is_seen(case):
    case.weights += 1
    with pytest.raises(checks.Wrong, match="weights changed"):
        checks.training(case)


def test_errors_are_findings(case):
    def refusing(case):
        raise ResonanceError("layers: no")

    def rambling(case):
        raise ResonanceError("layers: no\nreally")

    assert checks.judged(refusing, case) == Finding(REFUSED, "layers: no")
    assert checks.judged(rambling, case).verdict == FAIL
    assert checks.judged(lambda case: case.nothing, case).why.startswith("AttributeError")


def test_expected_is_a_refusal_with_the_pattern_and_nothing_else():
    row = Row("stages", "test", findings={"auto": Finding(REFUSED, "layers: three are needed"), "cache": Finding(PASS)})
    assert unexpected(entry(refused={"auto": "three"}), row) == {}
    assert set(unexpected(entry(), row)) == {"auto"}
    assert set(unexpected(entry(refused={"auto": "four", "cache": "tail"}), row)) == {"auto", "cache"}


def test_the_page_has_all_rows_and_says_every_refusal_in_full():
    why = "layers: 'a_b' returns (2, 16) | and so on"
    rows = [
        Row("one", "timm", ["s.1"], [8], ["BCHW"], findings=dict.fromkeys(CHECKS, Finding(PASS))),
        Row("two", "plain", findings={"auto": Finding(REFUSED, why)}, warnings=["reads the first token"]),
    ]
    text = page(rows)
    assert "| one | s.1 (8) | BCHW |" in text
    assert r"layers: 'a\_b' returns (2, 16) \| and so on" in text
    assert "warning: reads the first token" in text
    assert page([checks.from_json(checks.as_json(row)) for row in rows]) == text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "resnet99"], "no such backbone"),
        (["--family", "keras"], "there are torchvision, timm, transformers, plain"),
        (["--write", "--only", "resnet18"], "whole matrix"),
        (["--fast"], "options are"),
    ],
)
def test_wrong_options_get_one_line(arguments, says, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_the_command_names_its_backbones_and_runs_one(capsys):
    assert main(["--list", "--family", "plain"]) == 0
    assert "plain/pyramid" in capsys.readouterr().out
    assert main(["--only", "pyramid"]) == 0
    assert "1/1 plain/pyramid" in capsys.readouterr().out
