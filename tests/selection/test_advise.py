"""Advice: yes where an earlier layer knows what the last one lost, no where it lost nothing."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from support.selection_nets import Forgetful, images
from torch import nn

from dynaxx import ResonanceError
from dynaxx.cli import main
from dynaxx.data import LabelledImages, Normalisation, TracedLines
from dynaxx.selection import Travel, advise, gather, travel
from dynaxx.selection.advise import judge
from dynaxx.selection.evidence import Evidence
from dynaxx.selection.expected_gain import PAIRS, MeasuredPair, expect, leave_task_out, read_pairs
from dynaxx.selection.travel import steps_within
from dynaxx.tasks import Anomaly, Metric

NORMALISATION = Normalisation((0.5,), (0.2,))
ACCURACY, RMSE = Metric("accuracy"), Metric("rmse", higher_is_better=False, root=True)


class Remembering(Forgetful):
    """Nothing is pooled away: what the early layer sees reaches the last one."""

    def __init__(self):
        super().__init__()
        self.parts[2], self.parts[3] = nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 1)


def evidence(share_left=0.3, probe_gain=0.05, value=0.6, single=0.0, metric=ACCURACY, travel=None):
    return Evidence(
        500, "10 classes", metric, ["a", "b", "c"], [8, 8, 8], value, probe_gain, single, 0.01, share_left, 0.4, travel
    )


def test_what_the_last_layer_lost_is_seen_before_anything_is_trained():
    found = gather(Forgetful().eval(), images(300), NORMALISATION)
    assert found.images == 300
    assert found.last_value < 0.65
    assert found.probe_gain > 0.3
    assert found.share_left > 0.9
    assert advise(Forgetful().eval(), images(300), NORMALISATION).verdict == "yes"


def test_a_backbone_that_lost_nothing_is_told_no():
    advice = advise(Remembering().eval(), images(300), NORMALISATION)
    assert advice.evidence.last_value > 0.99
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


def test_numbers_and_masks_are_advised_on_too():
    whole = images(300)
    numbers = replace(whole, labels=10.0 * whole.labels[:, None].float(), classes=("size",))
    found = gather(Forgetful().eval(), numbers, NORMALISATION)
    assert (found.labels, found.metric.name) == ("numbers", "rmse")
    assert 0.5 < found.probe_gain <= 1  # the share of the error that goes, whatever the unit
    other = gather(Forgetful().eval(), replace(numbers, labels=1000 * numbers.labels), NORMALISATION)
    assert other.probe_gain == pytest.approx(found.probe_gain, rel=1e-3)
    assert other.single_gain == pytest.approx(found.single_gain, rel=1e-3)
    assert other.standard_error == pytest.approx(found.standard_error, rel=1e-3)
    assert found.share_left > 0.9
    masks = replace(
        whole, labels=whole.labels[:, None, None].expand(-1, 8, 8).to(torch.uint8), classes=("background", "thing")
    )
    advice = advise(Forgetful().eval(), masks, NORMALISATION, grid=(4, 4))
    assert (advice.evidence.labels, advice.verdict, advice.iterate) == ("masks", "yes", False)


def test_what_has_no_labels_is_one_line():
    with pytest.raises(ResonanceError, match="task.kind=anomaly: advice needs labels, and there are none"):
        gather(Forgetful().eval(), replace(images(120), labels=torch.zeros(120, dtype=torch.int64)), NORMALISATION,
               kind=Anomaly())  # fmt: skip


def test_few_groups_are_fewer_folds_and_one_is_none():
    halves = replace(images(120), groups=tuple(str(number // 2 % 2) for number in range(120)))
    assert gather(Forgetful().eval(), halves, NORMALISATION).images == 120
    with pytest.raises(ResonanceError, match="images: all are of one group"):
        gather(Forgetful().eval(), replace(images(120), groups=("a",) * 120), NORMALISATION)
    of_one_class = tuple(str(number % 2) for number in range(120))
    with pytest.raises(ResonanceError, match="images: without some groups one class is left"):
        gather(Forgetful().eval(), replace(images(120), groups=of_one_class), NORMALISATION)


def test_groups_stay_whole():
    # ten photographs of each of many places: a place is recognised, and says nothing about other places
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(40, 1, 8, 8, generator=generator).repeat_interleave(10, 0)
    labels = (torch.arange(40) % 2).repeat_interleave(10)
    pixels = (200 * places + 20 * torch.rand(400, 1, 8, 8, generator=generator)).to(torch.uint8)
    alone = LabelledImages(pixels, labels, ("a", "b"))
    grouped = replace(alone, groups=tuple(str(number // 10) for number in range(400)))
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.Conv2d(16, 24, 3), nn.Flatten(), nn.Linear(24 * 16, 48), nn.Linear(48, 3)
    )
    torch.manual_seed(0)
    values = [gather(net.eval(), data, NORMALISATION, layers=["0", "1"]).last_value for data in (alone, grouped)]
    assert values[0] > 0.9
    assert values[1] < 0.7


@given(st.floats(-0.02, 0.1))
def test_more_that_is_found_never_lowers_the_expectation(gain):
    pairs = read_pairs()
    here = expect(evidence(probe_gain=gain), "baseline", pairs)
    assert here.low < here.estimate < here.high
    assert expect(evidence(probe_gain=gain + 0.01), "baseline", pairs).estimate >= here.estimate


def test_the_expectation_is_least_squares():
    pairs = [MeasuredPair(str(n), 0.5, n / 100, {"baseline": 2 + 50 * n / 100}) for n in range(8)]
    found = expect(evidence(probe_gain=0.03), "baseline", pairs)
    assert found.estimate == pytest.approx(2 + 50 * 0.03)
    assert found.high - found.low < 1e-6


def test_a_task_is_left_out_with_all_its_networks():
    pairs = [MeasuredPair(f"task {n // 2}, network {n}", 0.5, n / 100, {"baseline": float(n)}) for n in range(8)]
    pairs.append(MeasuredPair("strange, network", 0.5, 0.02, {"baseline": 90.0}))
    others = [pair for pair in pairs if pair.task != "task 1"]
    assert len(others) == 7
    assert leave_task_out(pairs)[2] == expect(pairs[2], "baseline", others)


@pytest.mark.parametrize(
    ("single", "reading"), [(0.045, "layer_probe: the best single layer"), (0.01, "concat_probe and direct")]
)
def test_one_layer_is_enough_where_it_gains_as_much_as_all(single, reading):
    pairs = [MeasuredPair(str(n), 0.5, n / 100, {"baseline": n + 0.1 * (-1) ** n, "direct": 0.0 + n % 2,
             "concat_probe": 0.0}) for n in range(8)]  # fmt: skip
    advice = judge(evidence(probe_gain=0.05, single=single), pairs, 0.1, 0.2, 0.02)
    assert advice.reading.startswith(reading)
    error = judge(evidence(probe_gain=0.05, value=2.0, metric=RMSE), pairs, 0.1, 0.2, 0.02)
    assert "+5.0 % of the error" in error.reason
    assert (error.verdict, error.as_good, error.unknown) == ("yes", [], {})
    assert judge(evidence(probe_gain=0.0), pairs, 0.1, 0.2, 0.02).reading.startswith("probe:")


def test_where_information_has_to_travel_the_loop_is_advised_whatever_a_linear_reading_finds():
    far = judge(evidence(probe_gain=-0.1, travel=Travel(20.0, 33.0)), read_pairs(), 0.1, 0.2, 0.02)
    assert (far.verdict, far.iterate, far.as_good, far.unknown) == ("yes", True, [], {})
    assert "T of at least 33" in far.travel
    near = judge(evidence(probe_gain=-0.1, travel=Travel(2.0, 3.0)), read_pairs(), 0.1, 0.2, 0.02)
    assert (near.verdict, near.iterate) == ("no", False)
    assert near.travel.startswith("hardly")


def test_steps_are_counted_inside_of_the_object():
    inside = torch.zeros(2, 9, 9, dtype=torch.bool)
    inside[0, 1, 1:8] = inside[0, 1:8, 7] = True  # around a corner
    inside[1, 4, 4] = True
    start = torch.zeros_like(inside)
    start[0, 1, 1] = start[1, 4, 4] = True
    assert steps_within(inside, start).tolist() == [11, 0]  # the corner is cut


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_steps_are_those_of_a_search(seed):
    inside = torch.rand(1, 7, 7, generator=torch.Generator().manual_seed(seed)) < 0.6
    inside[0, 3, 3] = True
    distance, frontier = {(3, 3): 0}, [(3, 3)]
    while frontier:
        here = frontier.pop(0)
        for row in range(max(0, here[0] - 1), min(7, here[0] + 2)):
            for column in range(max(0, here[1] - 1), min(7, here[1] + 2)):
                if inside[0, row, column] and (row, column) not in distance:
                    distance[row, column] = distance[here] + 1
                    frontier.append((row, column))
    start = torch.zeros_like(inside)
    start[0, 3, 3] = True
    assert steps_within(inside, start).tolist() == [max(distance.values())]


def test_clicks_on_lines_travel_and_masks_without_a_click_do_not():
    short, long = (travel(TracedLines(length=length, images=20).train(), (32, 32)) for length in (4, 32))
    assert short.median < long.median
    assert long.far
    lines = TracedLines(length=32, images=20).train()
    assert travel(replace(lines, sources={})) is None
    assert travel(images(20)) is None


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
    for written, found in zip(content["left_out"], leave_task_out(pairs), strict=True):
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
