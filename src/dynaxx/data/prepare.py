"""Decode the training images once, split them, and store them on disk for all later stages of the pipeline."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynaxx.data.errors import DataError, one_line
from dynaxx.data.groups import check_groups, coarsen
from dynaxx.data.images import LabelledImages
from dynaxx.data.manifest import Manifest
from dynaxx.data.normalise import pixel_statistics
from dynaxx.data.repeats import contradictions
from dynaxx.data.source import Source
from dynaxx.data.splits import split_each_class

TASK_IMAGES = 2
"""Smallest number of images of a class that the task gets: one to train and one to validate on."""

_TENSORS, _MANIFEST = "train.safetensors", "manifest.json"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared data set. Its images are memory-mapped, so pixels are read from disk only when they are used."""

    manifest: Manifest
    images: Tensor
    """Pixels of all training images, uint8 (N, C, H, W)."""
    labels: Tensor
    """Labels of the fine classes, which are the classes of the task, int64 (N,)."""
    pretrain_index: Tensor
    """Image numbers of the pretraining part, int64, sorted."""
    task_index: Tensor
    """Image numbers of the task part, int64, sorted: all images outside the pretraining part."""

    def task(self) -> LabelledImages:
        """The images of the task, labelled with the classes of the data set."""
        return LabelledImages(self.images, self.labels, self.manifest.classes).subset(self.task_index)

    def fingerprint(self) -> str:
        """SHA-256 of all training images and of the image numbers of the task part."""
        return hashlib.sha256(self.manifest.sha256.encode() + self.task_index.numpy().tobytes()).hexdigest()

    def pretrain(self) -> LabelledImages:
        """The images for pretraining, with coarse labels if there are groups.

        >>> prepared.pretrain().classes
        ('animal', 'vehicle')

        Raises:
            DataError: an empty pretraining part (pretrain_fraction=0, for a user's pretrained backbone).
        """
        if len(self.pretrain_index) == 0:
            raise DataError("there are no images to pretrain on: prepared with data.pretrain_fraction=0")
        fine = LabelledImages(self.images, self.labels, self.manifest.classes).subset(self.pretrain_index)
        return fine if self.manifest.groups is None else coarsen(fine, self.manifest.groups)


def prepare(
    source: Source,
    out: Path,
    *,
    pretrain_fraction: float,
    groups: Mapping[str, Sequence[str]] | None,
    split_seed: int,
) -> Manifest:
    """Write `out`/train.safetensors and `out`/manifest.json from a source's training images.

    >>> prepare(Digits(), Path("outputs/prepare"), pretrain_fraction=0.5, groups=None, split_seed=0).image_shape
    (1, 8, 8)

    Args:
        source: data set of which only the training images are decoded; of test files at most the bytes are compared.
        out: folder that does not exist, is empty, or holds an earlier preparation, which is replaced. It is written
            completely or not at all.
        pretrain_fraction: share of each class for pretraining, in [0, 1); the rest is the task part, which gets two
            images of each class at least. Use 0 with a pretrained backbone.
        groups: coarse group -> fine classes, each class in exactly one group; None: pretraining on the fine classes.
        split_seed: seed of the split into the two parts.

    Raises:
        DataError: the data or an option is unusable, or the disk is full.
    """
    out = Path(out)
    if out.exists() and not (out / _MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} holds something else than prepared data; remove it or name another folder")
    grouped = None if groups is None else check_groups(groups, source.classes())
    if not 0 <= pretrain_fraction < 1:
        raise DataError(f"data.pretrain_fraction must lie in [0, 1), got {pretrain_fraction}")
    train = source.train()
    _check_counts(train, pretrain_fraction)
    pretrain_index, task_index = split_each_class(train.labels, pretrain_fraction, split_seed, leave=TASK_IMAGES)
    mean, std = pixel_statistics(train.images[pretrain_index] if len(pretrain_index) else train.images)
    counts = train.labels.bincount(minlength=len(train.classes)).tolist()
    channels, height, width = train.images.shape[1:]
    manifest = Manifest(
        classes=train.classes,
        groups=grouped,
        image_shape=(channels, height, width),
        counts=dict(zip(train.classes, counts, strict=True)),
        mean=mean,
        std=std,
        skipped=dict(getattr(source, "skipped", {})),
        copies=getattr(source, "copies", dict)(),
        contradictions=tuple((train.name(first), train.name(second)) for first, second in contradictions(train)),
        sha256=_digest(train),
        pretrain_fraction=pretrain_fraction,
        split_seed=split_seed,
    )
    tensors = {
        "images": train.images.contiguous(),
        "labels": train.labels,
        "pretrain_index": pretrain_index,
        "task_index": task_index,
    }
    _replace(out, tensors, manifest)
    return manifest


def _check_counts(train: LabelledImages, pretrain_fraction: float) -> None:
    counts = train.labels.bincount(minlength=len(train.classes))
    rarest, name = int(counts.min()), train.classes[int(counts.argmin())]
    if rarest < TASK_IMAGES:
        raise DataError(f"class {name!r} has {rarest} training image; give two or more, to train and to validate on")
    if pretrain_fraction and rarest == TASK_IMAGES:
        raise DataError(
            f"class {name!r} has {rarest} training images: the task needs them, and the backbone that is trained "
            "here one more; give more, or data.pretrain_fraction=0 with a trained model, as model=timm"
        )


def load_prepared(out: Path) -> Prepared:
    """Open the data set that `prepare` wrote.

    >>> load_prepared(Path("outputs/prepare")).task().images.shape
    torch.Size([719, 1, 8, 8])

    Raises:
        DataError: a file is missing, truncated, or at odds with the manifest. The checksum is not verified,
            because that would read all images.
    """
    out = Path(out)
    manifest = Manifest.read(out / _MANIFEST)
    try:
        prepared = Prepared(manifest=manifest, **load_file(out / _TENSORS))
        _check(prepared)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise DataError(
            f"prepared data is missing or damaged: {out / _TENSORS}: {one_line(error)}; run the prepare stage again"
        ) from error
    return prepared


def _check(prepared: Prepared) -> None:
    manifest = prepared.manifest
    everything = LabelledImages(prepared.images, prepared.labels, manifest.classes)
    manifest.check(everything)
    counts = everything.labels.bincount(minlength=len(manifest.classes)).tolist()
    if counts != list(manifest.counts.values()):
        raise DataError("the labels are not those that the manifest counts")
    both = torch.cat([prepared.pretrain_index, prepared.task_index]).sort().values
    if not torch.equal(both, torch.arange(len(everything))):
        raise DataError("the two parts do not make up the images")


def _digest(data: LabelledImages) -> str:
    digest = hashlib.sha256(repr((tuple(data.images.shape), data.classes)).encode())
    for tensor in (data.images, data.labels):
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _replace(out: Path, tensors: dict[str, Tensor], manifest: Manifest) -> None:
    # a fixed name beside `out`, so that the next run removes the remains of a killed one
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(tensors, partial / _TENSORS)
        manifest.write(partial / _MANIFEST)
        if out.exists():
            shutil.rmtree(out)
        os.replace(partial, out)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot write prepared data to {out}: {one_line(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
