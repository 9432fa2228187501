"""Stage `select_layers`: score the candidate layers, and choose taps with a reason."""

from omegaconf import DictConfig

from dynaxx.evaluation.arms import Task
from dynaxx.evaluation.arms.readout import with_readout
from dynaxx.selection import Selection, select_layers
from pipelines.common.adapt import adapted, folds_for, limit_of_folds
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task


def chosen_layers(params: DictConfig, task: Task) -> Selection:
    """The selection configured by `params.select`, scored on the training images of the first seed."""
    options, seed = params.select, params.task.seeds[0]
    images = task.images.subset(task.split(seed)[0])
    return select_layers(
        task.kind,
        task.backbone(),
        images,
        task.normalisation,
        layers=options.layers,
        taps=options.taps,
        folds=folds_for(options.folds, images),
        max_images=options.max_images,
        seed=seed,
        options=with_readout(task, task.resonance),
    )


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    task = build_task(stage.params, taps=[])
    selection = chosen_layers(stage.params, task)
    selection.write(stage.out / "selection.json")
    wanted = stage.params.select.folds
    images = task.images.subset(task.split(stage.params.task.seeds[0])[0])
    told = adapted(
        "select.folds",
        wanted,
        folds_for(wanted, images),
        limit_of_folds(images)[1],
    )
    return f"{', '.join(selection.chosen)}: {selection.reason}{told}"


if __name__ == "__main__":
    run("select_layers", body)
