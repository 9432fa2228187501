"""Decode the training images once, split them, and store them on disk for all later stages of the pipeline."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
_SOURCE = "source."
"""What stands before the names of sources in the file of tensors."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared data set. Its images are memory-mapped, so pixels are read from disk only when they are used."""

    manifest: Manifest
    images: Tensor
    """Pixels of all training images, uint8 (N, C, H, W)."""
    labels: Tensor
    """Labels of the fine classes, which are the classes of the task, int64 (N,); or numbers, or masks."""
    pretrain_index: Tensor
    """Image numbers of the pretraining part, int64, sorted."""
    task_index: Tensor
    """Image numbers of the task part, int64, sorted: all images outside the pretraining part."""
    group_numbers: Tensor | None = None
    """Number of each image's group in the manifest's `image_groups`, int64 (N,); None without groups."""
    sources: dict[str, Tensor] = field(default_factory=dict)
    """Further inputs of each image by name, (N, c, H, W)."""
    regions: Tensor | None = None
    """Where the images' defects are, uint8 (N, H, W); None if they are not given."""

    def everything(self) -> LabelledImages:
        """All training images, with the labels of the task."""
        numbers = () if self.group_numbers is None else self.group_numbers.tolist()
        return LabelledImages(
            self.images,
            self.labels,
            self.manifest.classes,
            groups=tuple(self.manifest.image_groups[number] for number in numbers),
            sources=self.sources,
            regions=self.regions,
        )

    def task(self) -> LabelledImages:
        """The images of the task, labelled with the classes of the data set."""
        return self.everything().subset(self.task_index)

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
        fine = self.everything().subset(self.pretrain_index)
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
            images of each class at least. Use 0 with a pretrained backbone, and where the labels are no classes.
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
    _check_labels(train, pretrain_fraction, grouped is not None)
    pretrain_index, task_index = _split(train, pretrain_fraction, split_seed)
    mean, std = pixel_statistics(train.images[pretrain_index] if len(pretrain_index) else train.images)
    group_names = tuple(sorted(set(train.groups)))
    channels, height, width = train.images.shape[1:]
    manifest = Manifest(
        classes=train.classes,
        groups=grouped,
        image_shape=(channels, height, width),
        counts=_counts(train),
        mean=mean,
        std=std,
        skipped=dict(getattr(source, "skipped", {})),
        copies=getattr(source, "copies", dict)(),
        contradictions=tuple((train.name(first), train.name(second)) for first, second in contradictions(train)),
        sha256=_digest(train),
        pretrain_fraction=pretrain_fraction,
        split_seed=split_seed,
        kind=train.kind,
        image_groups=group_names,
    )
    tensors = {
        "images": train.images.contiguous(),
        "labels": train.labels,
        "pretrain_index": pretrain_index,
        "task_index": task_index,
        **{_SOURCE + name: given.clone() for name, given in train.sources.items()},
    }
    if group_names:
        numbers = {name: number for number, name in enumerate(group_names)}
        tensors["group_numbers"] = torch.tensor([numbers[name] for name in train.groups])
    if train.regions is not None:
        tensors["regions"] = train.regions.clone()
    _replace(out, tensors, manifest)
    return manifest


def _counts(train: LabelledImages) -> dict[str, int]:
    if train.kind != "classes":
        return {}
    return dict(zip(train.classes, train.labels.bincount(minlength=len(train.classes)).tolist(), strict=True))


def _split(train: LabelledImages, pretrain_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    if train.kind != "classes":  # all of them belong to the task
        return torch.empty(0, dtype=torch.int64), torch.arange(len(train))
    return split_each_class(train.labels, pretrain_fraction, seed, leave=TASK_IMAGES)


def _check_labels(train: LabelledImages, pretrain_fraction: float, grouped: bool) -> None:
    counts = _counts(train)
    # good images alone, say, from which what is not good is to be told
    one_class = train.kind == "classes" and len(train.classes) > 1 and counts[train.classes[0]] == len(train)
    if one_class or train.kind != "classes":
        what = f"the training images are all {train.classes[0]}" if one_class else f"the labels are {train.kind}"
        if pretrain_fraction:
            raise DataError(
                f"data.pretrain_fraction={pretrain_fraction}: {what}, on which no backbone can be pretrained; "
                "give 0, and a trained model, as model=efficientnet_lite0"
            )
        if grouped:
            raise DataError(f"data.groups: {what}; give null")
        if len(train) < TASK_IMAGES:
            raise DataError(f"there is {len(train)} training image; give two or more, to train and to validate on")
        return
    name = min(counts, key=lambda name: counts[name])
    rarest = counts[name]
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
        tensors = load_file(out / _TENSORS)
        sources = {name.removeprefix(_SOURCE): tensors.pop(name) for name in list(tensors) if name.startswith(_SOURCE)}
        prepared = Prepared(manifest=manifest, sources=sources, **tensors)
        _check(prepared)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise DataError(
            f"prepared data is missing or damaged: {out / _TENSORS}: {one_line(error)}; run the prepare stage again"
        ) from error
    return prepared


def _check(prepared: Prepared) -> None:
    manifest = prepared.manifest
    everything = prepared.everything()
    manifest.check(everything)
    if _counts(everything) != manifest.counts:
        raise DataError("the labels are not those that the manifest counts")
    both = torch.cat([prepared.pretrain_index, prepared.task_index]).sort().values
    if not torch.equal(both, torch.arange(len(everything))):
        raise DataError("the two parts do not make up the images")


def _digest(data: LabelledImages) -> str:
    digest = hashlib.sha256(repr((tuple(data.images.shape), data.classes)).encode())
    for tensor in (data.images, data.labels):
        digest.update(tensor.contiguous().numpy().data)
    for name, tensor in sorted(data.sources.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().data)
    if data.groups:
        digest.update(repr(data.groups).encode())
    if data.regions is not None:
        digest.update(data.regions.contiguous().numpy().data)
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
