"""Stage `prepare`: check the data, decode the training images once, and split them."""

import sys

from dynaxx.data import TASK_IMAGES, Manifest, count_reasons, few, load_prepared, prepare, training_remarks
from pipelines.common.adapt import adapted
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
    warnings = training_remarks(manifest)
    links: tuple[str, ...] = getattr(source, "links", tuple)()
    if links:
        warnings.append(
            f"folders that are links: {len(links):,} ({few(links, shown=2)}); DVC does not look behind links, "
            "run `dvc repro -f` when something changed there"
        )
    for warning in warnings:
        print(f"warning in stage {stage.name}: {warning}", file=sys.stderr, flush=True)
    prepared = load_prepared(stage.out)
    images = len(prepared.images)
    skipped = f", {count_reasons(manifest.skipped)} skipped" if manifest.skipped else ""
    told = adapted(
        "images to pretrain on",
        round(data.pretrain_fraction * images),
        len(prepared.pretrain_index),
        f"each class keeps {TASK_IMAGES} for the task",
    )
    groups = f" in {len(manifest.image_groups)} groups" if manifest.image_groups else ""
    return f"{images} training images{groups} {_labels(manifest)}, {manifest.image_shape}{skipped}{told}"


def _labels(manifest: Manifest) -> str:
    """What the labels are, in words."""
    if manifest.kind == "numbers":
        return f"with {', '.join(manifest.classes)}"
    if manifest.kind == "masks":
        return f"with masks of {', '.join(manifest.classes)}"
    present = [name for name, count in manifest.counts.items() if count]
    return f"of {len(manifest.classes)} classes" if len(present) > 1 else f"of one class, {present[0]}"


if __name__ == "__main__":
    run("prepare", body)
