"""The end of a sweep: the front with latencies, a page, the runs in MLflow, and the chosen point as an experiment."""

import json
import math
from dataclasses import replace
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dynaxx.evaluation import label, of_metric, titled
from dynaxx.evaluation.arms import EXPLICIT
from dynaxx.evaluation.cost import interleaved_seconds, latency
from dynaxx.evaluation.validation.trial import untrained
from dynaxx.files import write_text
from dynaxx.search import Point, best, cells, finished, hide_password, knee, write_page
from dynaxx.tasks import Metric
from dynaxx.tracking import TrialRecord, escaped, names, record_sweep, tracking_uri
from pipelines.common.stage import OUTPUTS
from pipelines.common.subject import subject
from pipelines.compose import CONF
from pipelines.sweep.plan import Plan
from pipelines.sweep.worker import Trials

BEST = CONF / "experiment" / "best.yaml"

ROUNDS = 50
"""Number of rounds in which the front's models are timed in turn."""


def end_sweep(plan: Plan, study: optuna.Study, console: Console) -> None:
    """Compute the front of the finished trials, and write page, runs and experiment.

    >>> end_sweep(read_plan(["n_trials=50"]), study, Console())

    Raises:
        ValueError: no trial lies within the limits.
    """
    front = best(study)
    if not front:
        raise ValueError(f"no trial of study {plan.study} ended within its limits; more trials, or a wider limit, may")
    front = _timed(plan, front)
    metric = plan.metric
    chosen = max(front, key=lambda p: metric.oriented(p.score)) if plan.one_objective else knee(front, metric)
    folder = OUTPUTS / "sweeps" / escaped(plan.study)
    facts = {
        "study": plan.study,
        "trials": f"{finished(study)} finished, workers {plan.options.workers}, seeds {list(plan.options.seeds)}",
        "storage": hide_password(plan.storage),
        "settings": " ".join(plan.overrides),
    }
    write_page(folder / "sweep.html", study, metric, front, chosen, facts)
    found = {"metric": metric.name, "chosen": chosen.number, "front": [point.as_dict() for point in front]}
    text = json.dumps(found, indent=2)
    write_text(folder / "front.json", text + "\n")
    write_text(BEST, best_experiment(plan, chosen))
    console.print(_table(metric, front, chosen))
    uri = tracking_uri(plan.base.tracking.uri)
    record_sweep(
        plan.base.tracking.experiment,
        plan.study,
        _records(study, metric),
        uri=uri,
        metrics={metric.on_validation: chosen.score, names.COST_GFLOPS: chosen.gflops},
        params={key: str(value) for key, value in chosen.params.items()},
        artifacts=[folder / "sweep.html", folder / "front.json", BEST],
        tags={names.TAG_DATA: plan.base.data.name, "dynaxx.chosen": f"trial-{chosen.number}"},
        subject=f"{subject(plan.base)}/{EXPLICIT}",
    )
    console.print(f"page: {(folder / 'sweep.html').resolve()}", soft_wrap=True, highlight=False)
    console.print("best.yaml holds it: `python -m pipelines.compose experiment=best && dvc repro`", highlight=False)


def _timed(plan: Plan, front: list[Point]) -> list[Point]:
    """The front with each point's latency relative to the bare backbone's, for one image, timed in turn."""
    trials, seed = Trials(plan), plan.options.seeds[0]
    models: dict[str, Any] = {"backbone": trials.task.backbone().eval()}
    for point in front:
        models[str(point.number)] = untrained(trials.prepared(plan.trial(point.params)), seed)
    found = latency(interleaved_seconds(models, trials.task.example(), rounds=ROUNDS), "backbone")
    return [replace(point, latency_ratio=found[str(point.number)].ratio) for point in front]


def _table(metric: Metric, front: list[Point], chosen: Point) -> Table:
    told = f"validation {label(metric.name)} against cost: what no other trial beats"
    table = Table(title=Text(told))
    table.add_column("trial")
    for header in (*(key.split(".")[-1] for key in chosen.params), titled(metric), "GFLOPs", "latency", "live params"):
        table.add_column(header, justify="right", no_wrap=True)
    for point in front:
        table.add_row(*map(Text, cells(point, metric)), style="bold" if point.number == chosen.number else "")
    return table


def _records(study: optuna.Study, metric: Metric) -> list[TrialRecord]:
    records = []
    for trial in study.get_trials(deepcopy=False):
        values = dict(zip((metric.on_validation, names.COST_GFLOPS), trial.values or (), strict=False))
        known = values if trial.state.name == "COMPLETE" else {}
        known = {name: value for name, value in known.items() if math.isfinite(value)}  # a diverged one has no score
        records.append(TrialRecord(trial.number, trial.state.name, trial.params, known))
    return records


def best_experiment(plan: Plan, chosen: Point) -> str:
    """The text of an experiment file: the sweep's base with the settings of the chosen point."""
    groups: list[Any] = []
    values: Any = OmegaConf.create({})
    for text in plan.base_overrides:
        override = OverridesParser.create().parse_override(text)
        key = override.key_or_group
        if key == "experiment":
            if override.value() not in (None, "best"):
                groups.insert(0, str(override.value()))
        elif (CONF / key).is_dir():
            groups.append({f"override /{key}": override.value()})
        else:
            OmegaConf.update(values, key, OmegaConf.select(plan.base, key), force_add=True)
    for key, value in chosen.params.items():
        OmegaConf.update(values, key, value, force_add=True)
    told = (
        "# @package _global_\n"
        f"# Trial {chosen.number} of study {escaped(plan.study)}: {plan.metric.name} "
        f"{of_metric(chosen.score, plan.metric, 2)} on validation at {chosen.gflops:.4g} GFLOPs.\n"
        "#   python -m pipelines.compose experiment=best && dvc repro\n"
    )
    return told + OmegaConf.to_yaml(OmegaConf.create({"defaults": [*groups, "_self_"]})) + OmegaConf.to_yaml(values)
