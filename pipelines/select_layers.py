"""Stage `select_layers`: score the candidate layers, and choose taps with a reason."""

from omegaconf import DictConfig

from dynaxx.evaluation.arms import Task
from dynaxx.selection import Selection, select_layers
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task


def chosen_layers(params: DictConfig, task: Task) -> Selection:
    """The selection configured by `params.select`, scored on the training images of the first seed."""
    options, seed = params.select, params.task.seeds[0]
    train, _ = task.split(seed)
    return select_layers(
        task.backbone(),
        task.images.subset(train),
        task.normalisation,
        layers=options.layers,
        taps=options.taps,
        folds=options.folds,
        max_images=options.max_images,
        seed=seed,
        options=task.resonance,
    )


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    selection = chosen_layers(stage.params, build_task(stage.params, taps=[]))
    selection.write(stage.out / "selection.json")
    return f"{', '.join(selection.chosen)}: {selection.reason}"


if __name__ == "__main__":
    run("select_layers", body)
