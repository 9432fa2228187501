"""Stage `tune`: choose every arm's learning rate and epochs on validation, with a seed that is not evaluated."""

from dataclasses import replace
from pathlib import Path

from dynaxx.evaluation.arms import ARMS, BASELINE, EXPLICIT, IMPLICIT, Run, Task, implicit, is_trained
from dynaxx.evaluation.validation import SETTINGS, Tuned, chosen, trial_folder, tune, with_settings, write_tuned
from pipelines.common.options import listed, rivals
from pipelines.common.stage import Stage, run
from pipelines.common.task import TUNED, build_task


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    options = stage.params.tune
    arms = [EXPLICIT, *(arm for arm in rivals(stage.params) if not ARMS[arm].converged)]
    tried = {setting: listed(stage.params, f"tune.{setting}") for setting in SETTINGS}
    if not any(tried.values()):
        write_tuned(stage.out / TUNED.name, [], options.seed)
        budget = stage.params.train
        return f"nothing is tuned; every arm takes train.lr={budget.lr:g} and train.epochs={budget.epochs}"
    work = stage.checkpoints
    task = replace(build_task(stage.params), probes=work / "baseline")
    probe = task.probes / f"seed-{options.seed}"
    if not is_trained(probe):
        ARMS[BASELINE].train(task, Run(options.seed, probe, work))
    results = [t for arm in arms for t in tune(arm, ARMS[arm].train, task, tried, options.seed, work)]
    if not ARMS[IMPLICIT].learns(task.kind):
        write_tuned(stage.out / TUNED.name, results, options.seed)
        return _told(results)
    results += _student(
        stage, task, tried, trial_folder(EXPLICIT, with_settings(task, chosen(results, EXPLICIT)), work)
    )
    write_tuned(stage.out / TUNED.name, results, options.seed)
    return _told(results)


def _told(results: list[Tuned]) -> str:
    return "; ".join(
        f"{t.arm} {t.setting} {t.chosen:g}{', at the edge of what was tried' * t.at_the_edge}" for t in results
    )


def _student(stage: Stage, task: Task, tried: dict[str, list[float]], teacher: Path) -> list[Tuned]:
    """Tune implicit, with the tuned explicit as teacher and the budget of the stage `distill`."""
    options = implicit.DistillOptions(**stage.params.distill)

    def train(task: Task, run: Run) -> None:
        budget = replace(options, lr=task.train.lr, epochs=task.train.epochs)
        implicit.train(task, run, teacher=teacher, options=budget)

    own = with_settings(task, {"lr": options.lr, "epochs": options.epochs})
    return tune(IMPLICIT, train, own, tried, stage.params.tune.seed, stage.checkpoints)


if __name__ == "__main__":
    run("tune", body)
