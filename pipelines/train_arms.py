"""Stage `train_arms`: train the rivals on the same splits, seeds, transforms and budget."""

from functools import partial

from dynaxx.evaluation.arms.rivals import RIVALS
from pipelines.stage import Stage, run
from pipelines.task import build_task, each_seed, summary, tuned


def body(stage: Stage) -> str:
    task, arms = build_task(stage.params), list(stage.params.train_arms.arms)
    unknown = sorted(set(arms) - set(RIVALS))
    if unknown:
        raise ValueError(f"train_arms.arms: no arm {unknown[0]!r}; known are {', '.join(RIVALS)}")
    return "; ".join(summary(each_seed(stage, arm, partial(RIVALS[arm], tuned(task, arm)))) for arm in arms)


if __name__ == "__main__":
    run("train_arms", body)
