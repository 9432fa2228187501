"""Stage `baseline`: the backbone's own head, or a converged probe on its last layer, which resonance has to beat."""

from functools import partial

from dynaxx.evaluation.arms import ARMS, BASELINE
from pipelines.common.adapt import USUAL_VALIDATION, adapted
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task, each_seed, summary


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    task = build_task(stage.params, taps=[])
    line = summary(each_seed(stage, BASELINE, partial(ARMS[BASELINE].train, task)), task.kind.metric)
    usual = USUAL_VALIDATION if stage.params.task.n_val == "auto" else task.n_val
    return line + adapted("task.n_val", usual, task.n_val, f"the task has {len(task.images)} images")


if __name__ == "__main__":
    run("baseline", body)
