"""Stage `vary`: explicit with other ranks and other numbers of taps, on validation, on a seed that is not evaluated."""

from dataclasses import replace

from dynaxx.evaluation.arms.probes import train_baseline
from dynaxx.evaluation.varying import vary, write_varied
from dynaxx.selection.spread import spread
from pipelines.stage import Stage, run
from pipelines.task import VARIED, build_task, tuned


def body(stage: Stage) -> str:
    options = stage.params.vary
    if options.seed in stage.params.task.seeds:
        raise ValueError(f"vary.seed={options.seed}: is one of task.seeds; take a seed that is not evaluated")
    if not options.rank and not options.taps:
        write_varied(stage.out / VARIED.name, [])
        return "neither vary.rank nor vary.taps is set; nothing is varied"
    work = stage.checkpoints
    task = tuned(replace(build_task(stage.params), probes=work / "baseline"), "explicit")
    probe = task.probes / f"seed-{options.seed}"
    if not (probe / "arm.json").exists():
        train_baseline(task, options.seed, probe, work, lambda: False)
    backbone = task.backbone()
    taps = {len(paths): paths for paths in (spread(backbone, task.example(), n) for n in options.taps or [])}
    found = vary(task, list(options.rank or []), taps, options.seed, work)
    write_varied(stage.out / VARIED.name, found)
    return "; ".join(f"{v.what} {v.value}: {100 * v.accuracy:.1f} %" for v in found)


if __name__ == "__main__":
    run("vary", body)
