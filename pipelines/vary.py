"""Stage `vary`: explicit with other ranks and taps, and arms with fewer labels, with a seed that is not evaluated."""

import json
from dataclasses import replace
from pathlib import Path

from dynaxx.evaluation import of_metric
from dynaxx.evaluation.arms import ARMS, BASELINE, EXPLICIT, Run, Task, is_trained
from dynaxx.evaluation.validation import (
    CURVE_ARMS,
    SizePoint,
    measure_label_curve,
    measure_size_curve,
    write_label_curve,
    write_size_curve,
)
from dynaxx.selection import spread
from pipelines.common.adapt import adapted, that_many
from pipelines.common.options import listed
from pipelines.common.stage import OUTPUTS, Stage, run
from pipelines.common.task import BY_LABELS, VARIED, build_task, tuned


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    options = stage.params.vary
    work, whole = stage.checkpoints, build_task(stage.params)
    wanted = listed(stage.params, "vary.labels")
    labels = [n for n in wanted if that_many(whole.images, n, whole.n_val, options.seed)]
    told = adapted("vary.labels", wanted, labels, f"{len(whole.split(options.seed)[0])} images are there to train on")
    arms = [arm for arm in CURVE_ARMS if ARMS[arm].learns(whole.kind)]
    curve = measure_label_curve({arm: tuned(whole, arm) for arm in arms}, labels, options.seed, work)
    write_label_curve(stage.out / BY_LABELS.name, curve)
    ranks, taps = listed(stage.params, "vary.rank"), listed(stage.params, "vary.taps")
    fitting = [rank for rank in ranks if rank <= _channels(whole)]
    told += adapted("vary.rank", ranks, fitting, f"the chosen layers have {_channels(whole)} channels")
    ranks = fitting
    sizes = _sizes(stage, whole, work, ranks, taps) if ranks or taps else []
    write_size_curve(stage.out / VARIED.name, sizes)
    metric = whole.kind.metric
    lines = [f"{v.what} {v.value}: {of_metric(v.score, metric)}" for v in sizes]
    lines += [f"{p.labels:,} labels, {p.arm}: {of_metric(p.score, metric)}" for p in curve]
    return ("; ".join(lines) or "neither vary.rank, vary.taps nor vary.labels is set; nothing is varied") + told


def _channels(task: Task) -> int:
    """The number of channels of all taps together: the largest rank."""
    table = json.loads((OUTPUTS / "select_layers" / "selection.json").read_text())["candidates"]
    return sum(row["channels"] for row in table if row["tap"] in task.taps)


def _sizes(stage: Stage, whole: Task, work: Path, ranks: list[int], counts: list[int]) -> list[SizePoint]:
    options = stage.params.vary
    task = tuned(replace(whole, probes=work / "baseline"), EXPLICIT)
    probe = task.probes / f"seed-{options.seed}"
    if not is_trained(probe):
        ARMS[BASELINE].train(task, Run(options.seed, probe, work))
    backbone = task.backbone()
    taps = {len(paths): paths for paths in (spread(backbone, task.example(), n) for n in counts)}
    return measure_size_curve(task, ranks, taps, options.seed, work)


if __name__ == "__main__":
    run("vary", body)
