"""Stage `distill`: for each seed, train a student to predict the loop's fixed point in one pass."""

from pathlib import Path

from dynaxx.evaluation.arms import implicit
from dynaxx.evaluation.arms.task import LoggerFactory
from dynaxx.evaluation.validation.tuning import chosen, read_tuned
from pipelines.common.stage import OUTPUTS, Stage, run
from pipelines.common.task import TUNED, build_task, each_seed, summary


def body(stage: Stage) -> str:
    task = build_task(stage.params)
    options = implicit.DistillOptions(**dict(stage.params.distill) | chosen(read_tuned(TUNED), "implicit"))

    def train(seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
        teacher = OUTPUTS / "explicit" / "explicit" / f"seed-{seed}"
        implicit.train(task, seed, out, checkpoints, logger, teacher=teacher, options=options)

    return summary(each_seed(stage, "implicit", train))


if __name__ == "__main__":
    run("distill", body)
