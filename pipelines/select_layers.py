"""Stage `select_layers`: score the layers that could be coupled, choose, and say why."""

from dynaxx.selection import select_layers
from pipelines.stage import Stage, run
from pipelines.task import build_task


def body(stage: Stage) -> str:
    task = build_task(stage.params, taps=[])
    train, _ = task.split(stage.params.task.seeds[0])
    options = stage.params.select
    selection = select_layers(
        task.backbone(),
        task.images.subset(train),
        task.mean,
        task.std,
        layers=options.layers,
        taps=options.taps,
        folds=options.folds,
        max_images=options.max_images,
        seed=stage.params.task.seeds[0],
        options=task.resonance,
    )
    selection.write(stage.out / "selection.json")
    return f"{', '.join(selection.chosen)}: {selection.reason}"


if __name__ == "__main__":
    run("select_layers", body)
