"""The report: one self-contained HTML page, and its twin in Markdown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynaxx.evaluation import answer_grids, arm_grids, choice_grids, loop_grids, plots
from dynaxx.evaluation.brief import headline, highlights
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.files import write_text
from dynaxx.evaluation.results import Evaluation
from dynaxx.evaluation.templates import render
from dynaxx.evaluation.tuning import Tuned


def write_report(
    evaluation: Evaluation,
    selection: dict[str, Any] | None,
    params: dict[str, Any],
    out: Path,
    tuning: Sequence[Tuned] = (),
) -> None:
    """Write `out/report.html`, which needs no network and opens by double click, and `out/report.md`.

    `selection` is `{"candidates": [{"tap": …, column: value, …}, …], "chosen": [tap, …], "reason": …}`, or
    None where the taps were given; `params` the configuration, fit for YAML; `tuning` what was tried to tune arms.
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
        "gates": loop_grids.gates_grid(evaluation) if evaluation.gates else None,
        "selection": None if selection is None else choice_grids.selection_grid(selection),
        "tuning": choice_grids.tuning_grid(tuning),
        "configuration": _yaml(params),
    }
    html, markdown = (
        render("report.html.j2", context | _figures(evaluation)),
        render("report.md.j2", context),
    )
    write_text(out / "report.html", html)
    write_text(out / "report.md", markdown)


def write_plots(evaluation: Evaluation, out: Path) -> None:
    """Write each figure as a page of its own, all beside one copy of Plotly's JavaScript."""
    out.mkdir(parents=True, exist_ok=True)
    figures = {"accuracy_against_cost": plots.accuracy_against_cost(evaluation)}
    if evaluation.residuals:
        figures["residual_curves"] = plots.residual_curves(evaluation)
    if evaluation.iterations:
        figures["iterations"] = plots.iterations(evaluation)
    if evaluation.gates:
        figures["gate_openings"] = plots.gate_openings(evaluation)
    for name, figure in figures.items():
        figure.write_html(out / f"{name}.html", include_plotlyjs="directory")


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    def embed(figure: Any, name: str) -> Markup:
        config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
        # Plotly escapes < and > in the data it writes into its script.
        return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config))

    return {
        "plotlyjs": Markup(get_plotlyjs()),
        "colours": plots.arm_colours(evaluation),
        "accuracy_plot": embed(plots.accuracy_against_cost(evaluation), "accuracy-plot"),
        "iterations_plot": embed(plots.iterations(evaluation), "iterations-plot") if evaluation.iterations else None,
        "residual_plot": embed(plots.residual_curves(evaluation), "residual-plot") if evaluation.residuals else None,
        "gates_plot": embed(plots.gate_openings(evaluation), "gates-plot") if evaluation.gates else None,
    }


def _yaml(params: dict[str, Any]) -> str:
    import yaml

    try:
        return yaml.safe_dump(params, sort_keys=False, allow_unicode=True).rstrip()
    except yaml.YAMLError as error:
        raise EvaluationError(f"write_report: params cannot be written as YAML: {error}") from error
