"""Advice: yes where an earlier layer knows what the last one lost, no where it lost nothing."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, strategies as st
from support.selection_nets import Forgetful, images
from torch import nn

from dynaxx import ResonanceError
from dynaxx.cli import main
from dynaxx.data import Normalisation
from dynaxx.selection import advise, gather
from dynaxx.selection.advise import judge
from dynaxx.selection.evidence import Evidence
from dynaxx.selection.expected_gain import PAIRS, MeasuredPair, expect, leave_one_out, read_pairs

NORMALISATION = Normalisation((0.5,), (0.2,))


class Remembering(Forgetful):
    """Nothing is pooled away: what the early layer sees reaches the last one."""

    def __init__(self):
        super().__init__()
        self.parts[2], self.parts[3] = nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 1)


def evidence(share_left=0.3, probe_gain=0.05, accuracy=0.6):
    return Evidence(500, 10, ["a", "b", "c"], [8, 8, 8], accuracy, probe_gain, 0.01, 3.3, 3.3 * share_left, 0.4)


def test_what_the_last_layer_lost_is_seen_before_anything_is_trained():
    found = gather(Forgetful().eval(), images(300), NORMALISATION)
    assert found.images == 300
    assert found.last_accuracy < 0.65
    assert found.probe_gain > 0.3
    assert found.share_left > 0.9
    assert advise(Forgetful().eval(), images(300), NORMALISATION).verdict == "yes"


def test_a_backbone_that_lost_nothing_is_told_no():
    advice = advise(Remembering().eval(), images(300), NORMALISATION)
    assert advice.evidence.last_accuracy > 0.99
    assert advice.verdict == "no"
    assert advice.as_good == []


def test_no_more_images_are_looked_at_than_asked_for_and_the_answer_repeats():
    first, second = (gather(Forgetful().eval(), images(400), NORMALISATION, max_images=200) for _ in range(2))
    assert first.images == 200
    assert first == second


@pytest.mark.parametrize("count", [10, 99])
def test_too_few_images_are_one_line(count):
    with pytest.raises(ResonanceError, match=rf"images: {count} of 2 classes, .* of the rarest; give at least 100"):
        gather(Forgetful().eval(), images(count), NORMALISATION)


def test_labels_that_are_no_classes_are_one_line():
    numbered = replace(images(120), labels=torch.rand(120, 1), classes=("size",))
    with pytest.raises(ResonanceError, match="the labels are numbers, and advice is calibrated on classes alone; run"):
        gather(Forgetful().eval(), numbered, NORMALISATION)


@given(st.floats(0.05, 0.9), st.floats(-0.02, 0.1))
def test_more_information_left_behind_and_more_of_it_found_never_lower_the_expectation(share, gain):
    pairs = read_pairs()
    here = expect(evidence(share, gain), "baseline", pairs)
    assert here.low < here.estimate < here.high
    assert expect(evidence(share + 0.05, gain), "baseline", pairs).estimate >= here.estimate
    assert expect(evidence(share, gain + 0.01), "baseline", pairs).estimate >= here.estimate


def test_the_expectation_is_least_squares():
    pairs = [
        MeasuredPair(str(n), n / 10, (n * 7 % 5) / 100, {"baseline": 2 + 30 * n / 10 + 50 * (n * 7 % 5) / 100})
        for n in range(8)
    ]
    found = expect(evidence(0.25, 0.03), "baseline", pairs)
    assert found.estimate == pytest.approx(2 + 30 * 0.25 + 50 * 0.03)
    assert found.high - found.low < 1e-6


@pytest.mark.parametrize(
    ("gains", "wide", "verdict", "as_good", "unknown"),
    [
        ({"baseline": 8.0, "direct": 0.0, "concat_probe": 3.0}, 1, "yes", ["direct"], []),
        ({"baseline": 8.0, "direct": 1.5, "concat_probe": 3.0}, 1, "yes", [], []),
        # 2 % of an accuracy of 60 % are 1.2 points: an interval that reaches from below zero to above that says nothing
        ({"baseline": 8.0, "direct": 0.0, "concat_probe": 0.5}, 15, "yes", [], ["direct", "concat_probe"]),
        ({"baseline": 0.5, "direct": 0.0, "concat_probe": 0.0}, 1, "no", [], []),
    ],
)
def test_verdict_and_cheaper_ways(gains, wide, verdict, as_good, unknown):
    spread = [0.1, -0.1, 0.05, -0.05, 0.1, -0.1, 0.05, -0.05]
    pairs = [
        MeasuredPair(str(n), n / 10, n % 3 / 10, {arm: gain + wide * noise for arm, gain in gains.items()})
        for n, noise in enumerate(spread)
    ]
    advice = judge(evidence(), pairs, 0.1, 0.2, 0.02)
    assert (advice.verdict, advice.as_good, list(advice.unknown)) == (verdict, as_good, unknown)


def test_with_the_pairs_that_were_measured_direct_is_as_good_and_the_probe_is_not_known_to_be():
    advice = judge(evidence(), read_pairs(), 0.1, 0.2, 0.02)
    assert (advice.as_good, list(advice.unknown)) == (["direct"], ["concat_probe"])


def test_an_interval_that_includes_nothing_is_no_yes():
    pairs = [MeasuredPair(str(n), n / 10, n % 3 / 10, {"baseline": 5.0 + 8 * (-1) ** n, "direct": 0.0 + n / 10,
             "concat_probe": n / 10}) for n in range(8)]  # fmt: skip
    assert judge(evidence(), pairs, 0.1, 0.2, 0.02).verdict == "unclear"


def test_the_checklist_asks_all_five_and_tells_what_was_measured():
    checklist = judge(evidence(share_left=0.05), read_pairs(), 0.3, 0.2, 0.02).checklist
    answers = [answer.split(":")[0] for answer in checklist.values()]
    assert answers == ["no", "no", "yes", "for you to answer", "for you to answer"]


def test_what_it_is_calibrated_on_is_whole_and_its_errors_are_its_own():
    content, pairs = json.loads(PAIRS.read_text()), read_pairs()
    assert len(pairs) >= 10
    assert not {pair.name for pair in pairs} & {pair["name"] for pair in content["held_out"]}
    for written, found in zip(content["left_out"], leave_one_out(pairs), strict=True):
        assert written["estimate"] == pytest.approx(found.estimate)
        assert written["low"] == pytest.approx(found.low)
    inside = [e["low"] <= e["measured"] <= e["high"] for e in content["left_out"]]
    assert sum(inside) / len(inside) >= 0.6  # of 80 % intervals, over a dozen pairs


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["advise", "--params", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml is missing; run `python -m pipelines.compose`" in capsys.readouterr().err
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "pretrain").mkdir()
    assert main(["advise", "--params", str(tmp_path / "broken.yaml"), "--outputs", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "broken.yaml is no YAML; run `python -m pipelines.compose`" in line
    (tmp_path / "params.yaml").write_text("data: {}\n")
    assert main(["advise", "--params", str(tmp_path / "params.yaml"), "--outputs", str(tmp_path / "o")]) == 1
    assert "run `dvc repro pretrain`" in capsys.readouterr().err
