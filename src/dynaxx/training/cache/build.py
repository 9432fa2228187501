"""The construction of a feature cache, block by block, by all processes that need it.

DDP ranks, sweep workers and concurrent stages build one cache together. They coordinate through lock files only. When
a process dies, its lock is released and another process builds its block.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from dynaxx.data import Normalisation, batch_size, normalise, track
from dynaxx.spent import BACKBONE, spent

BLOCK = 256
"""Number of images per block. One process evaluates a block in all views, view by view."""

Read = Callable[[Tensor], tuple[dict[str, Tensor], dict[str, Any]]]
"""Function from normalised images (B, C, H, W) to the tensors of a cache by name, float32 (B, …) on the CPU, and to
facts about them, plain values that are the same for every batch."""

METADATA, PLAN = "facts.json", "plan.json"


@dataclass(frozen=True)
class Block:
    """The images from `start` to `stop`, with the checksum of their activations and the seconds of computation."""

    start: int
    stop: int
    sha256: str
    seconds: float


@dataclass(frozen=True)
class Metadata:
    """The description of a cache, besides its arrays.

    >>> Metadata.read(folder / key).facts["grid"]
    [8, 8]

    Attributes:
        facts: what the cache's `Read` said about its tensors.
        tensors: name → shape (V views, N images, …).
        blocks: blocks of all images, in order.
    """

    facts: dict[str, Any]
    tensors: dict[str, list[int]]
    blocks: list[Block]

    @classmethod
    def read(cls, folder: Path) -> "Metadata":
        """Read the metadata of a complete cache."""
        found = json.loads((folder / METADATA).read_text())
        return cls(found["facts"], found["tensors"], [Block(**block) for block in found["blocks"]])

    @property
    def seconds(self) -> float:
        """Seconds spent on all blocks, summed over all processes."""
        return sum(block.seconds for block in self.blocks)


class TooLarge(OSError):
    """A cache exceeds the limit on all caches of a folder, or the free space of the disk."""


def build(
    path: Path,
    read: Read,
    images: Tensor,
    normalisation: Normalisation,
    views: Sequence[Callable[[Tensor], Tensor]],
    limit_gb: float,
) -> None:
    """Build blocks of the cache at `path`, together with other processes, until all are complete.

    >>> build(folder / key, read_of(model), images, normalisation, views("flip", 32), limit_gb=64)

    Args:
        path: folder of the cache; it is there when all blocks are complete.
        read: function from images to what is cached of them.
        images: pixels, uint8 (N, C, H, W).
        views: functions from a batch of images to its augmented version.
        limit_gb: limit on the size of all caches beside this one, in 10⁹ bytes.

    Raises:
        TooLarge: the cache exceeds the limit or the free space of the disk; nothing but one image was read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, lock = path.with_name(f".{path.name}.building"), path.with_name(f".{path.name}.lock")

    def read_view(view: Callable[[Tensor], Tensor], some: Tensor) -> dict[str, Tensor]:
        with spent(BACKBONE):
            parts = [read(normalise(view(part), normalisation))[0] for part in some.split(batch_size(some))]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    with FileLock(lock):  # the first process allocates the files
        if path.exists():
            return
        if not (draft / PLAN).exists():
            with spent(BACKBONE):
                example, facts = read(normalise(views[0](images[:1]), normalisation))
            _plan(path, draft, example, facts, len(views), len(images), limit_gb)
    blocks = [(start, min(start + BLOCK, len(images))) for start in range(0, len(images), BLOCK)]
    for patient in (False, True):  # first the free blocks, then wait for claimed ones, whose process may die
        for number, (start, stop) in enumerate(blocks):
            _claim(path, draft, number, start, stop, patient, read_view, images, views)
    with FileLock(lock):
        if path.exists():
            return
        plan = json.loads((draft / PLAN).read_text())
        done = [json.loads((draft / f"{number}.json").read_text()) for number in range(len(blocks))]
        (draft / METADATA).write_text(json.dumps(plan | {"blocks": done}) + "\n")
        for scrap in (draft / PLAN, *draft.glob("[0-9]*.json")):
            scrap.unlink()
        os.replace(draft, path)
        for scrap in path.parent.glob(f".{path.name}.*.lock"):
            scrap.unlink()


def digest(arrays: Mapping[str, NDArray[Any]], start: int, stop: int) -> str:
    """SHA-256, in hex, of the values of the images from `start` to `stop` in all arrays and views."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        for view in arrays[name]:
            total.update(np.ascontiguousarray(view[start:stop]).data)
    return total.hexdigest()


def _plan(
    path: Path,
    draft: Path,
    example: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    views: int,
    count: int,
    limit_gb: float,
) -> None:
    """Allocate files of their final size, so that a disk without enough space is reported before the work starts."""
    shapes = {name: [views, count, *part.shape[1:]] for name, part in example.items()}
    need = 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    held = sum(file.stat().st_size for file in path.parent.rglob("*.npy") if draft not in file.parents)
    if need + held > limit_gb * 1e9:
        raise TooLarge(
            f"{path.parent}: the feature cache needs {need / 1e9:.3g} GB beside {held / 1e9:.3g} GB of others, and "
            f"train.cache_limit_gb={limit_gb:g} allows less: delete caches there, raise it, or take fewer views "
            "(train.augmentation) or taps"
        )
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise TooLarge(f"{path.parent}: the feature cache needs {need >> 20} MiB, {free >> 20} are free; free some")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        for name, shape in shapes.items():
            file = draft / f"{name}.npy"
            np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=tuple(shape)).flush()
            with open(file, "r+b") as opened:  # on a full disk a write to unallocated mapped pages kills the process
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
        (draft / PLAN).write_text(json.dumps({"facts": dict(facts), "tensors": shapes}))
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _claim(
    path: Path,
    draft: Path,
    number: int,
    start: int,
    stop: int,
    patient: bool,
    read: Callable[[Callable[[Tensor], Tensor], Tensor], dict[str, Tensor]],
    images: Tensor,
    views: Sequence[Callable[[Tensor], Tensor]],
) -> None:
    """Build one block unless it is complete; with `patient`, wait for a block that another process is building."""
    done = draft / f"{number}.json"
    try:
        with FileLock(path.with_name(f".{path.name}.{number}.lock"), timeout=-1 if patient else 0):
            if done.exists() or path.exists():
                return
            started = time.perf_counter()
            tensors = json.loads((draft / PLAN).read_text())["tensors"]
            arrays = {name: np.load(draft / f"{name}.npy", mmap_mode="r+") for name in tensors}
            for v, view in enumerate(track(views, f"caching features of images {start} to {stop}")):
                for name, part in read(view, images[start:stop]).items():
                    arrays[name][v, start:stop] = part.numpy()
            for array in arrays.values():
                array.flush()
            block = Block(start, stop, digest(arrays, start, stop), time.perf_counter() - started)
            aside = draft / f"{number}.json.new"
            aside.write_text(json.dumps(asdict(block)))
            os.replace(aside, done)
    except Timeout:
        return
    except FileNotFoundError:
        if not path.exists():  # else other processes have completed and renamed the cache meanwhile
            raise
