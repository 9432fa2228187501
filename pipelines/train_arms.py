"""Stage `train_arms`: train the rivals with the same splits, seeds, augmentation and budget."""

from functools import partial

from dynaxx.evaluation.arms import ARMS
from pipelines.common.options import rivals
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task, each_seed, summary, tuned


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    arms, task = rivals(stage.params), build_task(stage.params)
    found = {arm: each_seed(stage, arm, partial(ARMS[arm].train, tuned(task, arm))) for arm in arms}
    return "; ".join(summary(records, task.kind.metric) for records in found.values())


if __name__ == "__main__":
    run("train_arms", body)
