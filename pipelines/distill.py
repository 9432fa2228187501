"""Stage `distill`: for each seed, train a student to predict the loop's fixed point in one pass."""

from dynaxx.evaluation.arms import ARMS, EXPLICIT, IMPLICIT, Run, implicit
from dynaxx.evaluation.validation import chosen, read_tuned
from pipelines.common.stage import Stage, run
from pipelines.common.task import TUNED, build_task, each_seed, summary
from pipelines.common.trained import trained_arm


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    task = build_task(stage.params)
    if not ARMS[IMPLICIT].learns(task.kind):
        return f"{task.kind.name} has no labels to learn from, so nothing is distilled"
    options = implicit.DistillOptions(**dict(stage.params.distill) | chosen(read_tuned(TUNED), IMPLICIT))

    def train(run: Run) -> None:
        implicit.train(task, run, teacher=trained_arm(EXPLICIT, run.seed), options=options)

    return summary(each_seed(stage, IMPLICIT, train), task.kind.metric)


if __name__ == "__main__":
    run("distill", body)
