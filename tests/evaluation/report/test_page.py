"""The report of an evaluation whose names are hostile: complete, escaped, self-contained, whole or absent."""

import os
import re
from dataclasses import asdict, replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from support.example_evaluation import HOSTILE, RATES, RMSE, make_evaluation, with_costs

from dynaxx.evaluation.cost import Timing
from dynaxx.evaluation.decision import CHEAPEST, MORE
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.formatting import p_value, points, significant, spread
from dynaxx.evaluation.inside.gates import ALL, GateOpening
from dynaxx.evaluation.inside.look import Inside
from dynaxx.evaluation.inside.pictures import png
from dynaxx.evaluation.report import arm_figures as plots, loop_figures as loop_plots, validation_tables
from dynaxx.evaluation.report.arm_tables import timing_note
from dynaxx.evaluation.report.one_pager import write_one_pager
from dynaxx.evaluation.report.page import write_report
from dynaxx.evaluation.report.terminal import terminal_table
from dynaxx.evaluation.report.validation_tables import Choices
from dynaxx.evaluation.results import Answer, Decision
from dynaxx.evaluation.shown import Shown
from dynaxx.evaluation.validation.label_curve import LabelPoint
from dynaxx.evaluation.validation.size_curve import SizePoint
from dynaxx.evaluation.validation.tuning import Tuned
from dynaxx.tasks import Metric

SELECTION = {
    "candidates": [
        {"tap": "layer2", "probe_gain": 0.0312, "redundancy": 0.41, "mutual_information": 1.2, "blocks": 2},
        {"tap": "<img src=x onerror=alert(1)>", "probe_gain": -0.01, "redundancy": None, "extra": "yes"},
    ],
    "chosen": ["layer2"],
    "reason": "One from each third of the depth; layer2 adds most.",
}
PARAMS = {"data": {"name": "photos", "note": "``` </pre><script>alert(2)</script>"}, "resonance": {"T": 5}}


TUNED = [Tuned.of("explicit", "lr", [1e-3, 5e-3, 1e-2], [0.7, 0.8, 0.79], Metric("accuracy"))]
VARIED = [SizePoint("rank", 4, ["layer2"], 1_234, 0.7), SizePoint("taps", 2, [HOSTILE[0]], 5_678, 0.8)]
BY_LABELS = [LabelPoint(arm, n, 0.5) for n in (1_000, 100) for arm in ("baseline", HOSTILE[0])]
CHOICES = Choices(TUNED, VARIED, BY_LABELS)
PICTURES = {
    name: png(torch.zeros(2, 2, 3, dtype=torch.uint8))
    for name in ("feature_maps", "attributions", "image_7", "answers")
}


class Page(HTMLParser):
    """What a browser would see: tags, attributes, and text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.inside, self.scripts = "", "", [""]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    write_report(make_evaluation(), SELECTION, PARAMS, out, CHOICES, PICTURES)
    return out


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page((written / "report.html").read_text(encoding="utf-8"))


def test_names_cannot_inject_markup(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in {"b", "i"}]
    assert len([tag for tag, _ in page.tags if tag == "img"]) == len(PICTURES)
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    for script in page.scripts[2:]:  # the first is plotly.js itself; names in the others are escaped
        assert not re.search(r"(<|\\u003c)(img|script)\b", script, re.IGNORECASE)
    for name in HOSTILE:
        assert name in page.text
    assert SELECTION["candidates"][1]["tap"] in page.text  # type: ignore[index]
    assert "</pre><script>alert(2)</script>" in page.text


def test_the_page_needs_no_network(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in {"link", "iframe", "object", "embed"}]
    assert not [attrs for _, attrs in page.tags if "href" in attrs]
    sources = [attrs["src"] or "" for _, attrs in page.tags if "src" in attrs]
    assert len(sources) == len(PICTURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert len([script for script in page.scripts if len(script) > 1_000_000]) == 1  # plotly.js, once
    assert "Plotly.newPlot" in page.scripts[-1]


def test_order_decision_first_then_plots_tables_and_configuration(page: Page) -> None:
    headings = [
        *("Use explicit: ", MORE, "explicit, the best reading on validation", CHEAPEST, "Beside it"),
        *(
            "Accuracy against cost",
            "Predicted against measured",
            "What do they answer?",
            "Does the loop settle?",
            "Differences between arms",
            "Recall per class",
        ),
        *("Taps", "Configuration", "Hardware and seeds"),
    ]
    places = [page.text.index(heading) for heading in headings]
    assert places == sorted(places)


def test_both_pages_hold_the_numbers(written: Path, page: Page) -> None:
    markdown = (written / "report.md").read_text(encoding="utf-8")
    evaluation = make_evaluation()
    for text in (page.text, markdown.replace("\\", "").replace("&lt;", "<")):
        for arm in evaluation.arms:
            assert arm.name in text
            assert spread(arm.value_per_seed) in text
            assert f"{arm.latency.ratio:.2f} (" in text
        for number in ("12,345", "8,874", "41.5", "0.0415", "4,321", "6.50", "0.031", "−0.010"):
            assert number in text
        asked = {"explicit", "implicit"}
        for comparison in (c for c in evaluation.comparisons if c.b == "baseline" or {c.a, c.b} & asked):
            assert points(comparison.difference.low) in text
            assert ", ".join(p_value(test.p) for test in comparison.mcnemar) in text
        assert SELECTION["reason"] in text


def test_markdown_is_inert_and_its_tables_are_whole(written: Path) -> None:
    markdown = (written / "report.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Use explicit")
    body, configuration = markdown.split("## Configuration")
    assert not re.search(r"<[a-z/]", body)
    assert "\n# h" not in body
    assert "[d](" not in body.replace("\\[d\\](", "")
    assert configuration.lstrip().startswith("````yaml")  # longer than the fence inside
    for block in re.findall(r"(?:^\|.*\n)+", body, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_without_selection_residuals_or_several_seeds(tmp_path: Path) -> None:
    write_report(replace(make_evaluation(seeds=1), inside=Inside()), None, {}, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Does the loop settle?" not in html
    assert "gates let through" not in html
    assert "not selected" in html
    assert "±" not in Page(html).text
    assert "Settling" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_all_pages_tell_what_should_be_known_about_the_data(tmp_path: Path) -> None:
    plain = make_evaluation()
    told = replace(plain, task=replace(plain.task, remarks=["twice: 2 (a, b)", f"left out: {HOSTILE[0]}"]))
    for evaluation, times in ((plain, 0), (told, 1)):
        write_report(evaluation, None, {}, tmp_path)
        write_one_pager(evaluation, tmp_path)
        texts = [unescape((tmp_path / "report.md").read_text(encoding="utf-8").replace("\\", ""))]
        texts += [Page((tmp_path / f"{name}.html").read_text(encoding="utf-8")).text for name in ("report", "decision")]
        for text in texts:
            assert text.count("twice: 2 (a, b).") == times
            assert text.count(f"left out: {HOSTILE[0]}.") == times


@pytest.mark.parametrize(
    ("verdict", "arm", "words"),
    [
        ("adopt", "direct", "Use direct: +"),
        ("keep_probe", "baseline", "Keep the probe on the last layer (baseline)"),
    ],
)
def test_the_headline_says_the_verdict(tmp_path: Path, verdict: Any, arm: str, words: str) -> None:
    decision = Decision(verdict, arm, "explicit", [Answer(MORE, "So.", ["Because."])])
    write_report(replace(make_evaluation(1), decision=decision), None, {}, tmp_path)
    assert words in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert words in unescaped((tmp_path / "report.md").read_text(encoding="utf-8").splitlines()[0])


def unescaped(markdown: str) -> str:
    return unescape(markdown.replace("\\", ""))


def test_an_error_is_shown_in_its_unit_and_down_is_better(tmp_path: Path) -> None:
    evaluation = make_evaluation(2, RMSE)
    write_report(evaluation, None, {}, tmp_path, pictures={})
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    markdown = unescaped((tmp_path / "report.md").read_text(encoding="utf-8"))
    for text in (page, markdown):
        assert "less RMSE than the last layer alone" in text
        assert "RMSE, mm" in text
        assert "gain, mm" in text
        assert "lowers the RMSE by" in text
        assert "accuracy 0" not in text
    assert "Down and to the left is better" in page
    assert "Down" not in Page(write_default(tmp_path)).text
    table = validation_tables.tuning_table([Tuned.of("explicit", "lr", [0.1, 0.2], [1.25, 0.5], RMSE)], RMSE)
    assert (table.headers[2], table.rows[0][2:4]) == ("tried: RMSE, mm", ["0.1: 1.25, 0.2: 0.500", "0.2"])
    axis = plots.quality_against_cost(evaluation)
    assert axis.layout.yaxis.title.text == "test RMSE, mm"
    assert axis.data[0].y[0] == pytest.approx(evaluation.arms[0].mean)


def write_default(out: Path) -> str:
    write_report(make_evaluation(1), None, {}, out)
    return (out / "report.html").read_text(encoding="utf-8")


def test_costs_and_their_thresholds_are_told_beside_the_metric(tmp_path: Path) -> None:
    evaluation = with_costs(make_evaluation(2))
    write_report(evaluation, None, {}, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "cost per 1,000 requests" in page
    assert "without thresholds" in page
    assert "−0.50, −0.50" in page
    assert "less cost than the last layer alone" in page
    assert "flip signs of differences" in page
    assert "Thresholds" not in Page(write_default(tmp_path)).text


def test_what_timing_did_not_reach_is_told(page: Page) -> None:
    assert "Latency: 25 rounds." in page.text
    assert "Throughput: 14 rounds, ended by the limit of time; not known to 2.0 %: explicit (up to 6.1 %)." in page.text
    assert "with 1 sample a pass; samples / s with 64 samples" in page.text
    few = replace(make_evaluation(1), timings={"latency": Timing(1, 1, 9.0, 0.02, {"explicit": 0.0})})
    assert timing_note(few) == (
        "Latency: 1 round, ended by the limit of time; too few to say how precise the ratios are."
    )


def test_groups_of_test_images_are_said(tmp_path: Path) -> None:
    plain = make_evaluation(1)
    write_report(replace(plain, task=replace(plain.task, groups=37)), None, {}, tmp_path)
    for name in ("report.html", "report.md"):
        assert "37 groups, which are resampled as a whole" in (tmp_path / name).read_text(encoding="utf-8")
    assert "groups of samples resampled jointly" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_what_a_kind_does_not_have_has_no_heading(tmp_path: Path) -> None:
    plain = make_evaluation(1)
    arms = [replace(arm, recall_per_class={}, measures_per_seed={}) for arm in plain.arms]
    bare = replace(
        plain,
        arms=arms,
        task=replace(plain.task, kind="regression", classes=[]),
        class_gains=[],
        agreements=[],
        shown=Shown(),
        inside=Inside(gates=[GateOpening("a", "b", {ALL: 0.7})]),
    )
    write_report(bare, None, {}, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for heading in ("Recall per class", "Gain per class", "Do the arms say the same?", "disagree", "macro recall"):
        assert heading not in page
    assert "Predicted against measured" not in page
    markdown = unescaped((tmp_path / "report.md").read_text(encoding="utf-8"))
    assert "| b → a | 0.70 |" in markdown
    assert "photos & <b>more</b>: regression; 9,000 images" in markdown


def test_bad_input_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"selection lacks \['chosen', 'reason'\]"):
        write_report(make_evaluation(1), {"candidates": []}, {}, tmp_path)
    with pytest.raises(EvaluationError, match="YAML"):
        write_report(make_evaluation(1), None, {"x": object()}, tmp_path)
    assert os.listdir(tmp_path) == []


def test_figures_show_every_arm_at_its_cost_and_every_tap() -> None:
    evaluation = make_evaluation()
    figure = plots.quality_against_cost(evaluation)
    assert [trace.name for trace in figure.data] == list(RATES)
    assert len({trace.marker.color for trace in figure.data}) == len(RATES)
    for trace, arm in zip(figure.data, evaluation.arms, strict=True):
        assert trace.x == (arm.latency.ratio,)
        assert trace.y[0] == pytest.approx(100 * arm.mean)
        assert trace.error_y.array[0] == pytest.approx(100 * np.std(arm.value_per_seed, ddof=1))
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["latency", "GFLOPs"]
    assert buttons[1].args[0]["x"] == [[arm.gflops] for arm in evaluation.arms]
    curves = loop_plots.residual_curves(evaluation)
    assert curves.layout.yaxis.type == "log"
    assert curves.data[0].y == (0.5, 0.05, None)  # zero has no place on a log axis
    assert len(curves.data) == 4
    heat = loop_plots.gate_openings(evaluation).data[0]
    assert list(heat.z[0]) == [0.5 + n / 4 for n in range(len(evaluation.task.classes))]
    assert set(heat.z[1]) == {None}


def test_terminal_table_shows_accuracy_beside_cost_and_reads_no_markup() -> None:
    evaluation = make_evaluation()
    strange = replace(evaluation.arms[2], name="[red]x[/red]")
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(terminal_table(replace(evaluation, arms=[*evaluation.arms, strange])))
    text = console.export_text()
    assert "[red]x[/red]" in text
    for arm in evaluation.arms:
        line = next(line for line in text.splitlines() if f" {arm.name} " in line)
        assert spread(arm.value_per_seed) in line
        assert f"×{arm.latency.ratio:.2f}" in line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1,234"), (41.55, "41.5"), (0.01234, "0.0123"), (2.0, "2.00"), (1e-7, "1.00e-07")],
)
def test_significant(value: float, text: str) -> None:
    assert significant(value) == text


def test_scores_of_layers_are_in_the_unit_of_the_metric() -> None:
    row = {"tap": "layer2", "channels": 8, "value": 0.912, "probe_gain": 0.0312, "standard_error": 0.008}
    chosen = {"candidates": [row], "chosen": ["layer2"], "reason": "It adds most."}
    points_table = validation_tables.selection_table(chosen | {"metric": asdict(Metric("iou"))})
    assert points_table.headers == [
        "tap",
        "channels",
        "alone, IoU %",
        "probe gain, points of IoU",
        "standard error, points of IoU",
    ]
    assert points_table.rows[0] == ["layer2", "8", "91.2", "+3.1", "0.8"]
    rmse = Metric("rmse", higher_is_better=False, root=True, unit="mm")
    errors = validation_tables.selection_table(chosen | {"metric": asdict(rmse)})
    assert errors.headers[2:] == ["alone, RMSE, mm", "probe gain, mm of RMSE", "standard error, mm of RMSE"]
    assert errors.rows[0][2:] == ["0.912", "+0.0312", "0.00800"]
    nothing = dict.fromkeys(("value", "probe_gain", "standard_error"))
    without = validation_tables.selection_table(chosen | {"candidates": [row | nothing], "metric": asdict(rmse)})
    assert without.rows[0][2:] == ["–", "–", "–"]
