"""Stage `baseline`: the backbone's own head, or a converged probe on its last layer, which resonance has to beat."""

from functools import partial

from dynaxx.evaluation.arms import ARMS, BASELINE
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task, each_seed, summary


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    task = build_task(stage.params, taps=[])
    return summary(each_seed(stage, BASELINE, partial(ARMS[BASELINE].train, task)))


if __name__ == "__main__":
    run("baseline", body)
