"""The full report of an evaluation: one self-contained HTML page, and the same content in Markdown."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.formatting import label, titled
from dynaxx.evaluation.report import (
    arm_figures,
    arm_tables,
    loop_figures,
    loop_tables,
    prediction_tables,
    validation_tables,
)
from dynaxx.evaluation.report.one_pager import headline, highlights
from dynaxx.evaluation.report.validation_tables import Choices
from dynaxx.evaluation.results import Evaluation
from dynaxx.evaluation.shown import gallery_name
from dynaxx.files import write_text
from dynaxx.templates import render

NO_CHOICES = Choices()
TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    evaluation: Evaluation,
    selection: dict[str, Any] | None,
    params: dict[str, Any],
    out: Path,
    choices: Choices = NO_CHOICES,
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Write the report to `out/report.html`, which needs no network, and to `out/report.md`.

    >>> write_report(Evaluation.from_json(Path("evaluation.json")), None, {"task": {"seeds": [0]}}, Path("report"))

    Args:
        evaluation: results on the test images.
        selection: how the tapped layers (taps) were selected, as
            `{"candidates": [{"tap": …, column: value, …}, …], "chosen": [tap, …], "reason": …}`; None if the user
            named the taps.
        params: configuration of the run, which the report prints as YAML.
        out: folder of the report.
        choices: results of tuning and of other studies on validation data.
        pictures: name → PNG file. The HTML page embeds the pictures; the Markdown file links to `out/pictures/`.

    Raises:
        EvaluationError: `selection` lacks one of its keys, or `params` cannot be written as YAML.
    """
    if selection is not None and (missing := {"candidates", "chosen", "reason"} - selection.keys()):
        raise EvaluationError(f"write_report: selection lacks {sorted(missing)}")
    context = {
        "task": evaluation.task,
        "hardware": evaluation.hardware,
        "headline": headline(evaluation),
        "metric": titled(evaluation.task.metric),
        "quality": label(evaluation.task.metric.name),
        "decision": evaluation.decision,
        "highlights": highlights(evaluation),
        "arms": arm_tables.arms_table(evaluation),
        "comparisons": arm_tables.comparisons_table(evaluation),
        "efficiency": arm_tables.efficiency_table(evaluation),
        "class_gains": prediction_tables.class_gains_table(evaluation),
        "corruptions": prediction_tables.corruptions_table(evaluation),
        "agreements": prediction_tables.agreements_table(evaluation),
        "recall": prediction_tables.recall_table(evaluation),
        "residuals": loop_tables.residuals_table(evaluation),
        "iterations": loop_tables.iterations_table(evaluation),
        "ablations": loop_tables.ablations_table(evaluation),
        "information": loop_tables.information_table(evaluation),
        "attributions": loop_tables.attributions_table(evaluation),
        "varied": validation_tables.size_curve_table(choices.size_curve, evaluation.task.metric),
        "labels": validation_tables.label_curve_table(choices.label_curve, evaluation.task.metric),
        "taps_drawn": evaluation.inside.taps,
        "gallery": [(image, gallery_name(image)) for image in evaluation.shown.disagreements],
        "answers": evaluation.shown.columns,
        "scattered": bool(evaluation.shown.scatter),
        "probe": BASELINE,
        "best": evaluation.decision.best,
        "thresholds": arm_tables.thresholds_table(evaluation),
        "attributed": [attribution.arm for attribution in evaluation.inside.attributions],
        "pictures": {name: base64.b64encode(content).decode() for name, content in (pictures or {}).items()},
        "gates": loop_tables.gates_table(evaluation) if evaluation.inside.gates else None,
        "selection": None if selection is None else validation_tables.selection_table(selection),
        "tuning": validation_tables.tuning_table(choices.tuned, evaluation.task.metric),
        "configuration": _yaml(params),
    }
    html, markdown = (
        render("report.html.j2", context | _figures(evaluation, choices), TEMPLATES),
        render("report.md.j2", context, TEMPLATES),
    )
    write_text(out / "report.html", html)
    write_text(out / "report.md", markdown)


def write_plots(evaluation: Evaluation, out: Path, choices: Choices = NO_CHOICES) -> None:
    """Write each figure to its own HTML page in `out`, next to one shared copy of Plotly's JavaScript."""
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(evaluation, choices).items():
        figure.write_html(out / f"{name}.html", include_plotlyjs="directory")


def figures(evaluation: Evaluation, choices: Choices) -> dict[str, Any]:
    """Name → Plotly figure, for each figure whose data the evaluation or the validation studies contain."""
    inside = evaluation.inside
    by_name = {"quality_against_cost": arm_figures.quality_against_cost(evaluation)}
    if evaluation.shown.scatter:
        by_name["scatter"] = arm_figures.scatter_figure(evaluation)
    for name, there, draw in (
        ("residual_curves", inside.residuals, loop_figures.residual_curves),
        ("iterations", inside.iterations, loop_figures.iterations),
        ("gate_openings", inside.gates, loop_figures.gate_openings),
        ("ablations", inside.ablations, loop_figures.ablations),
        ("information", inside.information, loop_figures.information),
    ):
        if there:
            by_name[name] = draw(evaluation)
    if choices.size_curve:
        by_name["sizes"] = arm_figures.size_curve_figure(choices.size_curve, evaluation.task.metric)
    if choices.label_curve:
        by_name["labels"] = arm_figures.label_curve_figure(
            choices.label_curve, arm_figures.arm_colours(evaluation), evaluation.task.metric
        )
    return by_name


def _figures(evaluation: Evaluation, choices: Choices) -> dict[str, Any]:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    def embed(figure: Any, name: str) -> Markup:
        config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
        # Plotly escapes < and > in the data it writes into its script.
        return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config))

    return {
        "plotlyjs": Markup(get_plotlyjs()),
        "colours": arm_figures.arm_colours(evaluation),
        "figures": {name: embed(figure, name) for name, figure in figures(evaluation, choices).items()},
    }


def _yaml(params: dict[str, Any]) -> str:
    import yaml

    try:
        return yaml.safe_dump(params, sort_keys=False, allow_unicode=True).rstrip()
    except yaml.YAMLError as error:
        raise EvaluationError(f"write_report: params cannot be written as YAML: {error}") from error
