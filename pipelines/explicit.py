"""Stage `explicit`: train the couplings, on cached activations if the augmentation allows it."""

from functools import partial

from dynaxx.evaluation.arms import ARMS, EXPLICIT
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task, each_seed, summary, tuned


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    task = tuned(build_task(stage.params), EXPLICIT)
    return summary(each_seed(stage, EXPLICIT, partial(ARMS[EXPLICIT].train, task)), task.kind.metric)


if __name__ == "__main__":
    run("explicit", body)
