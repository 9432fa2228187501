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

from dynaxx import ResonantModel
from dynaxx.backbone import Tail
from dynaxx.data import Normalisation, normalise, track

BLOCK = 256
"""Number of images per block. One process evaluates a block in all views, as one batch per view."""

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

    >>> Metadata.read(folder / key).grid
    [8, 8]

    Attributes:
        grid: size of the common grid of positions, (h, w) or (tokens,).
        seen: indices of the output taps: the tapped layers that the network after the last tapped layer reads.
        tensors: name → shape (V views, N images, …).
        blocks: blocks of all images, in order.
    """

    grid: list[int]
    seen: list[int]
    tensors: dict[str, list[int]]
    blocks: list[Block]

    @classmethod
    def read(cls, folder: Path) -> "Metadata":
        """Read the metadata of a complete cache."""
        found = json.loads((folder / METADATA).read_text())
        return cls(found["grid"], found["seen"], found["tensors"], [Block(**block) for block in found["blocks"]])


def build(
    path: Path,
    model: ResonantModel,
    images: Tensor,
    normalisation: Normalisation,
    views: Sequence[Callable[[Tensor], Tensor]],
    limit_gb: float,
    tail: Tail | None = None,
) -> None:
    """Build blocks of the cache at `path`, together with other processes, until all are complete; see `open_cache`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, lock = path.with_name(f".{path.name}.building"), path.with_name(f".{path.name}.lock")

    def read(view: Callable[[Tensor], Tensor], some: Tensor) -> tuple[dict[str, Tensor], tuple[int, ...]]:
        return _read(model, tail, normalise(view(some), normalisation))

    with FileLock(lock):  # the first process allocates the files
        if path.exists():
            return
        if not (draft / PLAN).exists():
            _plan(
                path,
                draft,
                *read(views[0], images[:1]),
                len(views),
                len(images),
                model.require_built().exchange.outputs,
                limit_gb,
            )
    blocks = [(start, min(start + BLOCK, len(images))) for start in range(0, len(images), BLOCK)]
    for patient in (False, True):  # first the free blocks, then wait for claimed ones, whose process may die
        for number, (start, stop) in enumerate(blocks):
            _claim(path, draft, number, start, stop, patient, lambda view, some: read(view, some)[0], images, views)
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


@torch.no_grad()
def _read(model: ResonantModel, tail: Tail | None, x: Tensor) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """The cached tensors of a batch by name, and the grid."""
    x = x.to(next(model.backbone.parameters()).device)
    anchors = model.read(x)
    parts = {f"pooled_{tap}": pooled for tap, pooled in enumerate(anchors.pooled)}
    for tap, own in zip(model.require_built().exchange.outputs, anchors.outputs, strict=True):
        held = own is anchors.pooled[tap] or (
            (len(anchors.grid) == 1 or tuple(own.shape[2:]) == anchors.grid) and not model.config.token_pool
        )
        parts |= {} if held else {f"seen_{tap}": own}
    outside = anchors.outside or (() if tail is None else tail.outside(x))
    parts |= {f"outside_{n}": other for n, other in enumerate(outside) if isinstance(other, Tensor)}
    return {name: part.float().cpu() for name, part in parts.items()}, anchors.grid


def _plan(
    path: Path,
    draft: Path,
    example: Mapping[str, Tensor],
    grid: Sequence[int],
    views: int,
    count: int,
    seen: Sequence[int],
    limit_gb: float,
) -> None:
    """Allocate files of their final size, so that a disk without enough space is reported before the work starts."""
    shapes = {name: [views, count, *part.shape[1:]] for name, part in example.items()}
    need = 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    held = sum(file.stat().st_size for file in path.parent.rglob("*.npy") if draft not in file.parents)
    if need + held > limit_gb * 1e9:
        raise OSError(
            f"{path.parent}: the feature cache needs {need / 1e9:.3g} GB beside {held / 1e9:.3g} GB of others, and "
            f"train.cache_limit_gb={limit_gb:g} allows less: delete caches there, raise it, or take fewer views "
            "(train.augmentation) or taps"
        )
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise OSError(f"{path.parent}: the feature cache needs {need >> 20} MiB, {free >> 20} are free; free some")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        for name, shape in shapes.items():
            file = draft / f"{name}.npy"
            np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=tuple(shape)).flush()
            with open(file, "r+b") as opened:  # on a full disk a write to unallocated mapped pages kills the process
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
        (draft / PLAN).write_text(json.dumps({"grid": list(grid), "seen": list(seen), "tensors": shapes}))
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
