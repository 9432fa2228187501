"""Cached activations: the frozen backbone runs once per image and view, and training reads its activations from disk.

A cache is a folder of memory-mapped .npy files and a file facts.json with their checksums. `build` constructs it.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from dynaxx import Anchors, ResonantModel
from dynaxx.backbone import Tail
from dynaxx.data import Normalisation
from dynaxx.training.cache.build import METADATA, Metadata, Read, build, digest

LIMIT_GB = 64.0
"""Default limit on the size of a folder of caches, in 10⁹ bytes."""

_verified: set[tuple[str, int]] = set()
"""Caches whose checksums this process has verified, because a sweep opens the same cache a hundred times."""


@dataclass(frozen=True)
class FeatureCache:
    """Activations of the tapped layers for N images in V views (deterministic augmentations), memory-mapped.

    An anchor is the activation x_l⁰ of a tapped layer l in the plain forward pass, before coupling.

    >>> anchors = cache.anchors(view=torch.zeros(64, dtype=torch.long), index=torch.arange(64))

    Attributes:
        pooled: anchors P x_l⁰ of each tapped layer, averaged onto a grid of P positions, (V, N, P, C_l).
        seen: index and full-resolution anchors x_l⁰ of each tapped layer that the rest of the network reads,
            (V, N, …); None if `pooled` has these anchors at full resolution.
        maps: indices of the tapped layers in `seen` that the rest of the network reads as maps.
        grid: size of the common grid of positions, (h, w) or (tokens,).
        outside: other activations that the network after the last tapped layer reads, (V, N, …); mostly none.
        seconds: seconds spent on building the cache, summed over all processes.
    """

    pooled: list[Tensor]
    seen: list[tuple[int, Tensor | None]]
    maps: frozenset[int]
    grid: tuple[int, ...]
    outside: list[Tensor]
    seconds: float

    @property
    def views(self) -> int:
        return len(self.pooled[0])

    def anchors(self, view: Tensor, index: Tensor) -> Anchors:
        """The cached activations of a batch; sample i is image `index[i]` in view `view[i]`."""
        pooled = [tap[view, index] for tap in self.pooled]
        seen = [self._in_place(tap, pooled[tap]) if own is None else own[view, index] for tap, own in self.seen]
        return Anchors(pooled, seen, self.grid, outside=tuple(x[view, index] for x in self.outside))

    def _in_place(self, tap: int, pooled_BPC: Tensor) -> Tensor:
        """Pooled activations in the shape of their tapped layer, whose resolution equals the grid's."""
        return pooled_BPC.transpose(1, 2).unflatten(2, self.grid) if tap in self.maps else pooled_BPC


def cache_key(model: ResonantModel, **parts: object) -> str:
    """A name for a cache, computed from all that determines its content: the model's tapped layers and `parts`."""
    parts |= {"taps": model.paths, "grid": model.config.grid}
    parts |= {
        "token_pool": model.config.token_pool,
        "causal": model.require_built().causal,
        "seen": model.require_built().exchange.outputs,
        "readout": model.config.readout,
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
    tail: Tail | None = None,
) -> FeatureCache:
    """Open the cache `folder/key`. All processes that call this function build a missing cache together.

    The cache is built under another name and renamed when complete. A cache with wrong checksums is built again.

    >>> cache = open_cache(folder, cache_key(model, views="flip"), model, images, normalisation, views("flip", 32))

    Args:
        folder: folder of all caches.
        key: name of the cache, from `cache_key`.
        model: model whose backbone is evaluated.
        images: pixels, uint8 (N, C, H, W).
        views: functions from a batch of images to its augmented version.
        limit_gb: limit on the size of all caches in `folder`, in 10⁹ bytes.
        tail: the network after the last tapped layer, if it reads other activations, too.

    Raises:
        OSError: the cache exceeds the limit or the free space of the disk.
    """
    metadata, tensors = open_arrays(folder / key, partial(_read, model, tail), images, normalisation, views, limit_gb)
    facts = metadata.facts
    pooled = [tensors[f"pooled_{tap}"] for tap in range(sum(name.startswith("pooled_") for name in tensors))]
    seen = [(tap, tensors.get(f"seen_{tap}")) for tap in facts["seen"]]
    outside = [tensors[f"outside_{n}"] for n in range(sum(name.startswith("outside_") for name in tensors))]
    return FeatureCache(pooled, seen, frozenset(facts["maps"]), tuple(facts["grid"]), outside, metadata.seconds)


def open_arrays(
    path: Path,
    read: Read,
    images: Tensor,
    normalisation: Normalisation,
    views: Sequence[Callable[[Tensor], Tensor]],
    limit_gb: float,
) -> tuple[Metadata, dict[str, Tensor]]:
    """Open the arrays of the cache at `path`, memory-mapped, by name; a missing or damaged cache is built.

    >>> metadata, tensors = open_arrays(folder / key, read, images, normalisation, views("flip", 32), limit_gb=64)

    Args:
        path: folder of the cache.
        read, images, normalisation, views, limit_gb: arguments of `build`.

    Raises:
        OSError: the cache exceeds the limit or the free space of the disk.
    """
    if path.exists() and not _intact(path):
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.exists() and not _intact(path):
                print(f"{path}: is damaged and will be built again", file=sys.stderr, flush=True)
                shutil.rmtree(path)
    if not path.exists():
        build(path, read, images, normalisation, views, limit_gb)
        _verified.add(_name(path))
    metadata = Metadata.read(path)
    return metadata, {name: torch.from_numpy(np.load(path / f"{name}.npy", mmap_mode="c")) for name in metadata.tensors}


@torch.no_grad()
def _read(model: ResonantModel, tail: Tail | None, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The cached tensors of a batch by name, and the facts that `open_cache` needs of them."""
    x = x.to(next(model.backbone.parameters()).device)
    anchors, exchange = model.read(x), model.require_built().exchange
    parts = {f"pooled_{tap}": pooled for tap, pooled in enumerate(anchors.pooled)}
    maps = []
    for tap, own in zip(exchange.outputs, anchors.outputs, strict=True):
        if own is anchors.pooled[tap] or (own.ndim == 3 and len(anchors.grid) == 1 and not model.config.token_pool):
            continue
        if own.ndim > 3 and tuple(own.shape[2:]) == tuple(anchors.grid):
            maps.append(tap)
        else:
            parts[f"seen_{tap}"] = own
    outside = anchors.outside or (() if tail is None else tail.outside(x))
    parts |= {f"outside_{n}": other for n, other in enumerate(outside) if isinstance(other, Tensor)}
    facts = {"grid": list(anchors.grid), "seen": list(exchange.outputs), "maps": maps}
    return {name: part.float().cpu() for name, part in parts.items()}, facts


def _intact(path: Path) -> bool:
    """Whether all checksums of the cache are right; each process verifies a cache once."""
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
