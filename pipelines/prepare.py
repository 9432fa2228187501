"""Stage `prepare`: check the data, decode the training images once, and split them."""

from dynaxx.data import prepare
from pipelines.common.source import open_source
from pipelines.common.stage import Stage, run


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    data = stage.params.data
    source = open_source(data)
    manifest = prepare(
        source,
        stage.out,
        pretrain_fraction=data.pretrain_fraction,
        groups=data.groups,
        split_seed=data.split_seed,
    )
    images = sum(manifest.counts.values())
    skipped = f", {len(manifest.skipped)} unreadable skipped" if manifest.skipped else ""
    return f"{images} training images of {len(manifest.classes)} classes, {manifest.image_shape}{skipped}"


if __name__ == "__main__":
    run("prepare", body)
