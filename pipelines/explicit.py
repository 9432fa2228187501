"""Stage `explicit`: train the couplings, on cached activations if the augmentation allows it."""

from functools import partial

from dynaxx.evaluation.arms import explicit
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task, each_seed, summary, tuned


def body(stage: Stage) -> str:
    task = tuned(build_task(stage.params), "explicit")
    return summary(each_seed(stage, "explicit", partial(explicit.train, task)))


if __name__ == "__main__":
    run("explicit", body)
