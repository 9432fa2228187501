"""Building a feature cache: the images lie in blocks, and every process that needs it takes what is still free.

So the ranks of a distributed run, the workers of a sweep and stages side by side share the work, with nothing between
them but lock files, which go when their process dies: what a killed process had claimed another one takes over.
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
from dynaxx.data import Normalisation, normalise
from dynaxx.data.progress import track

BLOCK = 256
"""Images that a process claims at a time, in all their views, and reads at once."""

FACTS, PLAN = "facts.json", "plan.json"


@dataclass(frozen=True)
class Block:
    """Images `start` to `stop`, with the checksum of what their taps held."""

    start: int
    stop: int
    sha256: str
    seconds: float


@dataclass(frozen=True)
class Facts:
    """What is known of a cache besides its arrays.

    Attributes:
        grid: (h, w) or (tokens,).
        seen: taps that something behind the last one reads.
        tensors: name → (V, N, …).
        blocks: all images, in order.
    """

    grid: list[int]
    seen: list[int]
    tensors: dict[str, list[int]]
    blocks: list[Block]

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """Of a finished cache."""
        found = json.loads((folder / FACTS).read_text())
        return cls(found["grid"], found["seen"], found["tensors"], [Block(**block) for block in found["blocks"]])


def build(
    path: Path,
    model: ResonantModel,
    images: Tensor,
    normalisation: Normalisation,
    views: Sequence[Callable[[Tensor], Tensor]],
    limit_gb: float,
) -> None:
    """Take part in building the cache at `path` until it stands; see `open_cache`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, lock = path.with_name(f".{path.name}.building"), path.with_name(f".{path.name}.lock")

    def read(view: Callable[[Tensor], Tensor], some: Tensor) -> tuple[dict[str, Tensor], tuple[int, ...]]:
        return _read(model, normalise(view(some), normalisation))

    with FileLock(lock):  # the first lays the files out, the others find them
        if path.exists():
            return
        if not (draft / PLAN).exists():
            _plan(path, draft, *read(views[0], images[:1]), len(views), len(images), model.built().seen, limit_gb)
    blocks = [(start, min(start + BLOCK, len(images))) for start in range(0, len(images), BLOCK)]
    for patient in (False, True):  # first what is free; then what others have claimed, should they not finish it
        for number, (start, stop) in enumerate(blocks):
            _claim(path, draft, number, start, stop, patient, lambda view, some: read(view, some)[0], images, views)
    with FileLock(lock):
        if path.exists():
            return
        plan = json.loads((draft / PLAN).read_text())
        done = [json.loads((draft / f"{number}.json").read_text()) for number in range(len(blocks))]
        (draft / FACTS).write_text(json.dumps(plan | {"blocks": done}) + "\n")
        for scrap in (draft / PLAN, *draft.glob("[0-9]*.json")):
            scrap.unlink()
        os.replace(draft, path)
        for scrap in path.parent.glob(f".{path.name}.*.lock"):
            scrap.unlink()


def digest(arrays: Mapping[str, NDArray[Any]], start: int, stop: int) -> str:
    """SHA-256, in hex, of some images' values in all arrays and views."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        for view in arrays[name]:
            total.update(np.ascontiguousarray(view[start:stop]).data)
    return total.hexdigest()


@torch.no_grad()
def _read(model: ResonantModel, x: Tensor) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """What a cache holds of a batch, by name, and the grid."""
    anchors = model.read(x.to(next(model.backbone.parameters()).device))
    parts = {f"pooled_{tap}": pooled for tap, pooled in enumerate(anchors.pooled)}
    for tap, own in zip(model.built().seen, anchors.seen, strict=True):
        held = (len(anchors.grid) == 1 or tuple(own.shape[2:]) == anchors.grid) and not model.config.token_pool
        parts |= {} if held else {f"seen_{tap}": own}
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
    """Lay out files of their final size; a disk that is too small is told of now, and not in the middle."""
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
            with open(file, "r+b") as opened:  # what is only mapped kills its process where the disk is full
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
    """Build one block, unless it is built or, being impatient, claimed."""
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
        if not path.exists():  # else others have finished and renamed it meanwhile
            raise
