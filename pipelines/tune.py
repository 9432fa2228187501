"""Stage `tune`: every arm's learning rate and epochs, chosen on validation, on a seed that is not evaluated."""

from dataclasses import replace

from dynaxx.evaluation.arms import explicit
from dynaxx.evaluation.arms.probes import train_baseline
from dynaxx.evaluation.arms.rivals import CONVERGED, RIVALS
from dynaxx.evaluation.tuning import SETTINGS, tune, write_tuned
from pipelines.stage import Stage, run
from pipelines.task import TUNED, build_task


def body(stage: Stage) -> str:
    options = stage.params.tune
    if options.seed in stage.params.task.seeds:
        raise ValueError(f"tune.seed={options.seed}: is one of task.seeds; tune on a seed that is not evaluated")
    arms = ["explicit", *(arm for arm in stage.params.train_arms.arms if arm not in CONVERGED)]
    tried = {setting: list(options[setting] or ()) for setting in SETTINGS}
    if not any(tried.values()):
        write_tuned(stage.out / TUNED.name, [], options.seed)
        budget = stage.params.train
        return f"nothing is tuned; every arm takes train.lr={budget.lr:g} and train.epochs={budget.epochs}"
    work = stage.checkpoints
    task = replace(build_task(stage.params), probes=work / "baseline")
    probe = task.probes / f"seed-{options.seed}"
    if not (probe / "arm.json").exists():
        train_baseline(task, options.seed, probe, work, lambda: False)
    trained = RIVALS | {"explicit": explicit.train}
    found = [t for arm in arms for t in tune(arm, trained[arm], task, tried, options.seed, work)]
    write_tuned(stage.out / TUNED.name, found, options.seed)
    return "; ".join(
        f"{t.arm} {t.setting} {t.chosen:g}{', at the edge of what was tried' * t.at_the_edge}" for t in found
    )


if __name__ == "__main__":
    run("tune", body)
