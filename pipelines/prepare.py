"""Stage `prepare`: check the data, decode the training images once, and split them."""

from hydra.utils import instantiate

from dynaxx.data import prepare
from pipelines.stage import Stage, run


def body(stage: Stage) -> str:
    data = stage.params.data
    source = instantiate(data.source)
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
