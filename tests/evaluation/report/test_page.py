"""The report of an evaluation whose names are hostile: complete, escaped, self-contained, whole or absent."""

import os
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.example_evaluation import HOSTILE, RATES, make_evaluation

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.formatting import p_value, points, significant, spread
from dynaxx.evaluation.inside.look import Inside
from dynaxx.evaluation.inside.pictures import png
from dynaxx.evaluation.report import arm_figures as plots, loop_figures as loop_plots
from dynaxx.evaluation.report.one_pager import write_one_pager
from dynaxx.evaluation.report.page import write_report
from dynaxx.evaluation.report.terminal import terminal_table
from dynaxx.evaluation.report.validation_tables import Choices
from dynaxx.evaluation.results import Decision
from dynaxx.evaluation.validation.label_curve import LabelPoint
from dynaxx.evaluation.validation.size_curve import SizePoint
from dynaxx.evaluation.validation.tuning import Tuned

SELECTION = {
    "candidates": [
        {"tap": "layer2", "probe_gain": 0.0312, "redundancy": 0.41, "mutual_information": 1.2, "blocks": 2},
        {"tap": "<img src=x onerror=alert(1)>", "probe_gain": -0.01, "redundancy": None, "extra": "yes"},
    ],
    "chosen": ["layer2"],
    "reason": "One from each third of the depth; layer2 adds most.",
}
PARAMS = {"data": {"name": "photos", "note": "``` </pre><script>alert(2)</script>"}, "resonance": {"T": 5}}


TUNED = [Tuned.of("explicit", "lr", [1e-3, 5e-3, 1e-2], [0.7, 0.8, 0.79])]
VARIED = [SizePoint("rank", 4, ["layer2"], 1_234, 0.7), SizePoint("taps", 2, [HOSTILE[0]], 5_678, 0.8)]
BY_LABELS = [LabelPoint(arm, n, 0.5) for n in (1_000, 100) for arm in ("baseline", HOSTILE[0])]
CHOICES = Choices(TUNED, VARIED, BY_LABELS)
PICTURES = {name: png(torch.zeros(2, 2, 3, dtype=torch.uint8)) for name in ("feature_maps", "attributions", "image_7")}


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
        *("Adopt resonance, and run its loop", "explicit against baseline"),
        *("Accuracy against cost", "Does the loop settle?", "Differences between arms", "Recall per class"),
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
            assert spread(arm.accuracy_per_seed) in text
            assert f"{arm.latency.ratio:.2f} (" in text
        for number in ("12,345", "8,874", "41.5", "0.0415", "4,321", "6.50", "0.031", "−0.010"):
            assert number in text
        for comparison in evaluation.comparisons:
            assert points(comparison.difference.low) in text
            assert ", ".join(p_value(test.p) for test in comparison.mcnemar) in text
        assert SELECTION["reason"] in text


def test_markdown_is_inert_and_its_tables_are_whole(written: Path) -> None:
    markdown = (written / "report.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Adopt resonance")
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
        ("adopt_implicit", "implicit", "one-pass form"),
        ("adopt_cheaper", "direct", "Use direct rather than resonance"),
        ("do_not_adopt", None, "Do not adopt"),
    ],
)
def test_the_headline_says_the_verdict(tmp_path: Path, verdict: Any, arm: str | None, words: str) -> None:
    write_report(replace(make_evaluation(1), decision=Decision(verdict, arm, ["So."])), None, {}, tmp_path)
    assert words in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert words in (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()[0]


def test_bad_input_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"selection lacks \['chosen', 'reason'\]"):
        write_report(make_evaluation(1), {"candidates": []}, {}, tmp_path)
    with pytest.raises(EvaluationError, match="YAML"):
        write_report(make_evaluation(1), None, {"x": object()}, tmp_path)
    assert os.listdir(tmp_path) == []


def test_figures_show_every_arm_at_its_cost_and_every_tap() -> None:
    evaluation = make_evaluation()
    figure = plots.accuracy_against_cost(evaluation)
    assert [trace.name for trace in figure.data] == list(RATES)
    assert len({trace.marker.color for trace in figure.data}) == len(RATES)
    for trace, arm in zip(figure.data, evaluation.arms, strict=True):
        assert trace.x == (arm.latency.ratio,)
        assert trace.y[0] == pytest.approx(100 * sum(arm.accuracy_per_seed) / 3)
        assert trace.error_y.array[0] == pytest.approx(1.0)
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
        assert spread(arm.accuracy_per_seed) in line
        assert f"×{arm.latency.ratio:.2f}" in line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1,234"), (41.55, "41.5"), (0.01234, "0.0123"), (2.0, "2.00"), (1e-7, "1.00e-07")],
)
def test_significant(value: float, text: str) -> None:
    assert significant(value) == text
