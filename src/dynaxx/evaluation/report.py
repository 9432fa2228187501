"""The report: one self-contained HTML page, and its twin in Markdown."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynaxx.evaluation import answer_grids, arm_grids, choice_grids, loop_grids, loop_plots, plots
from dynaxx.evaluation.brief import headline, highlights
from dynaxx.evaluation.choice_grids import Choices
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.files import write_text
from dynaxx.evaluation.inside.look import gallery_name
from dynaxx.evaluation.results import Evaluation
from dynaxx.evaluation.templates import render

NOTHING = Choices()


def write_report(
    evaluation: Evaluation,
    selection: dict[str, Any] | None,
    params: dict[str, Any],
    out: Path,
    choices: Choices = NOTHING,
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Write `out/report.html`, which needs no network and opens by double click, and `out/report.md`.

    `selection` is `{"candidates": [{"tap": …, column: value, …}, …], "chosen": [tap, …], "reason": …}`, or
    None where the taps were given; `params` the configuration, fit for YAML; `choices` what was looked at on
    validation, and `pictures` PNG files by name, as the evaluation made them; the Markdown looks for those in
    `pictures/` beside itself.
    Raises `EvaluationError` for a `selection` without these keys or `params` that YAML cannot hold.
    """
    if selection is not None and (missing := {"candidates", "chosen", "reason"} - selection.keys()):
        raise EvaluationError(f"write_report: selection lacks {sorted(missing)}")
    context = {
        "task": evaluation.task,
        "hardware": evaluation.hardware,
        "headline": headline(evaluation.decision),
        "decision": evaluation.decision,
        "highlights": highlights(evaluation),
        "arms": arm_grids.arms_grid(evaluation),
        "comparisons": arm_grids.comparisons_grid(evaluation),
        "efficiency": arm_grids.efficiency_grid(evaluation),
        "class_gains": answer_grids.class_gains_grid(evaluation),
        "corruptions": answer_grids.corruptions_grid(evaluation),
        "agreements": answer_grids.agreements_grid(evaluation),
        "recall": answer_grids.recall_grid(evaluation),
        "residuals": loop_grids.residuals_grid(evaluation),
        "iterations": loop_grids.iterations_grid(evaluation),
        "ablations": loop_grids.ablations_grid(evaluation),
        "information": loop_grids.information_grid(evaluation),
        "attributions": loop_grids.attributions_grid(evaluation),
        "varied": choice_grids.varied_grid(choices.varied),
        "labels": choice_grids.labels_grid(choices.by_labels),
        "taps_drawn": evaluation.inside.taps,
        "gallery": [(found, gallery_name(found)) for found in evaluation.inside.disagreements],
        "attributed": [found.arm for found in evaluation.inside.attributions],
        "pictures": {name: base64.b64encode(content).decode() for name, content in (pictures or {}).items()},
        "gates": loop_grids.gates_grid(evaluation) if evaluation.inside.gates else None,
        "selection": None if selection is None else choice_grids.selection_grid(selection),
        "tuning": choice_grids.tuning_grid(choices.tuned),
        "configuration": _yaml(params),
    }
    html, markdown = (
        render("report.html.j2", context | _figures(evaluation, choices)),
        render("report.md.j2", context),
    )
    write_text(out / "report.html", html)
    write_text(out / "report.md", markdown)


def write_plots(evaluation: Evaluation, out: Path, choices: Choices = NOTHING) -> None:
    """Write each figure as a page of its own, all beside one copy of Plotly's JavaScript."""
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(evaluation, choices).items():
        figure.write_html(out / f"{name}.html", include_plotlyjs="directory")


def figures(evaluation: Evaluation, choices: Choices) -> dict[str, Any]:
    """The figures that there is something to show in, by name."""
    inside = evaluation.inside
    found = {"accuracy_against_cost": plots.accuracy_against_cost(evaluation)}
    for name, there, draw in (
        ("residual_curves", inside.residuals, loop_plots.residual_curves),
        ("iterations", inside.iterations, loop_plots.iterations),
        ("gate_openings", inside.gates, loop_plots.gate_openings),
        ("ablations", inside.ablations, loop_plots.ablations),
        ("information", inside.information, loop_plots.information),
    ):
        if there:
            found[name] = draw(evaluation)
    if choices.varied:
        found["sizes"] = plots.sizes(choices.varied)
    if choices.by_labels:
        found["labels"] = plots.by_labels(choices.by_labels, plots.arm_colours(evaluation))
    return found


def _figures(evaluation: Evaluation, choices: Choices) -> dict[str, Any]:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    def embed(figure: Any, name: str) -> Markup:
        config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
        # Plotly escapes < and > in the data it writes into its script.
        return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config))

    return {
        "plotlyjs": Markup(get_plotlyjs()),
        "colours": plots.arm_colours(evaluation),
        "figures": {name: embed(figure, name) for name, figure in figures(evaluation, choices).items()},
    }


def _yaml(params: dict[str, Any]) -> str:
    import yaml

    try:
        return yaml.safe_dump(params, sort_keys=False, allow_unicode=True).rstrip()
    except yaml.YAMLError as error:
        raise EvaluationError(f"write_report: params cannot be written as YAML: {error}") from error
