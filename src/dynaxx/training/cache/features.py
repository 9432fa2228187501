"""Cached activations: the frozen backbone runs once per image, and training reads its activations from disk.

A cache is a folder of memory-mapped .npy files and a file facts.json with their checksums. `build` constructs it.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from dynaxx import Anchors, ResonantModel
from dynaxx.data import Normalisation
from dynaxx.training.cache.build import METADATA, Metadata, build, digest

LIMIT_GB = 64.0
"""Default limit on the size of a folder of caches, in 10⁹ bytes."""

_verified: set[tuple[str, int]] = set()
"""Caches with checksums verified by this process, because a sweep opens the same cache a hundred times."""


@dataclass(frozen=True)
class FeatureCache:
    """Anchors of N images in V views (deterministic augmentations), memory-mapped.

    >>> anchors = cache.anchors(view=torch.zeros(64, dtype=torch.long), index=torch.arange(64))

    Attributes:
        pooled: pooled anchors P x_l⁰ of each tap, (V, N, P, C_l).
        seen: number and anchors x_l⁰ of each output tap, (V, N, …); None if `pooled` has them at full resolution.
        grid: size of the grid, (h, w) or (tokens,).
        seconds: time of building the cache, summed over all processes.
    """

    pooled: list[Tensor]
    seen: list[tuple[int, Tensor | None]]
    grid: tuple[int, ...]
    seconds: float

    @property
    def views(self) -> int:
        return len(self.pooled[0])

    def anchors(self, view: Tensor, index: Tensor) -> Anchors:
        """The anchors of a batch: image `index[i]` in view `view[i]`."""
        pooled = [tap[view, index] for tap in self.pooled]
        seen = [self._in_place(pooled[tap]) if own is None else own[view, index] for tap, own in self.seen]
        return Anchors(pooled, seen, self.grid)

    def _in_place(self, pooled_BPC: Tensor) -> Tensor:
        """Pooled anchors in the shape of their tap, whose resolution is that of the grid."""
        return pooled_BPC.transpose(1, 2).unflatten(2, self.grid) if len(self.grid) == 2 else pooled_BPC


def cache_key(model: ResonantModel, **parts: object) -> str:
    """A name for a cache, computed from all that its content depends on: the model's taps and the `parts`."""
    parts |= {"taps": model.paths, "grid": model.config.grid}
    parts |= {
        "token_pool": model.config.token_pool,
        "causal": model.require_built().causal,
        "seen": model.require_built().exchange.outputs,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def open_cache(
    folder: Path,
    key: str,
    model: ResonantModel,
    images: Tensor,
    normalisation: Normalisation,
    views: Sequence[Callable[[Tensor], Tensor]],
    limit_gb: float = LIMIT_GB,
) -> FeatureCache:
    """Open the cache `folder/key`. If it does not exist, all processes that call this build it together.

    The cache is built under another name and renamed when complete. A cache with wrong checksums is built again.

    >>> cache = open_cache(folder, cache_key(model, views="flip"), model, images, normalisation, views("flip", 32))

    Args:
        folder: folder of all caches.
        key: name of the cache, from `cache_key`.
        model: model whose backbone is evaluated.
        images: pixels, uint8 (N, C, H, W).
        views: functions from a batch of images to its augmented version.
        limit_gb: limit on the size of all caches in `folder`, in 10⁹ bytes.

    Raises:
        OSError: the cache exceeds the limit or the free space of the disk.
    """
    path = folder / key
    if path.exists() and not _intact(path):
        with FileLock(folder / f".{key}.lock"):
            if path.exists() and not _intact(path):
                print(f"{path}: is damaged and will be built again", file=sys.stderr, flush=True)
                shutil.rmtree(path)
    if not path.exists():
        build(path, model, images, normalisation, views, limit_gb)
        _verified.add(_name(path))
    return _read(path)


def _read(path: Path) -> FeatureCache:
    metadata = Metadata.read(path)
    tensors = {name: torch.from_numpy(np.load(path / f"{name}.npy", mmap_mode="c")) for name in metadata.tensors}
    pooled = [tensors[f"pooled_{tap}"] for tap in range(sum(name.startswith("pooled_") for name in tensors))]
    seen = [(tap, tensors.get(f"seen_{tap}")) for tap in metadata.seen]
    return FeatureCache(pooled, seen, tuple(metadata.grid), sum(block.seconds for block in metadata.blocks))


def _intact(path: Path) -> bool:
    """Whether all checksums are right; each process verifies a cache once."""
    try:
        name = _name(path)
        if name not in _verified:
            metadata = Metadata.read(path)
            arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in metadata.tensors}
            if any(digest(arrays, block.start, block.stop) != block.sha256 for block in metadata.blocks):
                return False
            _verified.add(name)
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return True


def _name(path: Path) -> tuple[str, int]:
    return str(path.resolve()), (path / METADATA).stat().st_mtime_ns
