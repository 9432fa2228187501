"""Cached activations: the frozen backbone is run once over each image, and training reads what its taps held.

A cache is a folder of .npy files, mapped into memory, beside facts.json with their checksums. How it comes about is in
feature_build.py.
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
from dynaxx.training.cache.build import FACTS, Facts, build, digest

LIMIT_GB = 64.0
"""Of a folder of caches, where nothing else is said."""

_verified: set[tuple[str, int]] = set()
"""Caches whose checksums this process has seen to be right: a sweep opens the same one a hundred times."""


@dataclass(frozen=True)
class FeatureCache:
    """Anchors of N images in V views (deterministic augmentations), memory-mapped.

    Attributes:
        pooled: P x_l⁰ of each tap, (V, N, P, C_l).
        seen: x_l⁰ of each tap that something behind the last one reads, (V, N, …); None where `pooled` holds it, in
            the grid's resolution.
        grid: (h, w) or (tokens,).
        seconds: that building it took, summed over the processes that did.
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
        """Positions back in the shape of the tap whose resolution is the grid's."""
        return pooled_BPC.transpose(1, 2).unflatten(2, self.grid) if len(self.grid) == 2 else pooled_BPC


def cache_key(model: ResonantModel, **parts: object) -> str:
    """A name for a cache made from everything its content depends on: what the model reads, and the `parts`."""
    parts |= {"taps": model.paths, "grid": model.config.grid}
    parts |= {"token_pool": model.config.token_pool, "causal": model.built().causal, "seen": model.built().seen}
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
    """The cache `folder/key`, built first where it does not exist, by all processes that ask for it together.

    It is written aside and renamed, so never half of one. Where its checksums are wrong it is built anew.

    Args:
        folder: of all caches.
        key: from `cache_key`.
        model: whose backbone reads.
        images: uint8 (N, C, H, W).
        limit_gb: 10⁹ bytes that all caches of `folder` may take together.

    Raises:
        OSError: the cache does not fit into the limit or onto the disk.
    """
    path = folder / key
    if path.exists() and not _intact(path):
        with FileLock(folder / f".{key}.lock"):
            if path.exists() and not _intact(path):
                print(f"{path}: is damaged; it is built anew", file=sys.stderr, flush=True)
                shutil.rmtree(path)
    if not path.exists():
        build(path, model, images, normalisation, views, limit_gb)
        _verified.add(_name(path))
    return _read(path)


def _read(path: Path) -> FeatureCache:
    facts = Facts.read(path)
    tensors = {name: torch.from_numpy(np.load(path / f"{name}.npy", mmap_mode="c")) for name in facts.tensors}
    pooled = [tensors[f"pooled_{tap}"] for tap in range(sum(name.startswith("pooled_") for name in tensors))]
    seen = [(tap, tensors.get(f"seen_{tap}")) for tap in facts.seen]
    return FeatureCache(pooled, seen, tuple(facts.grid), sum(block.seconds for block in facts.blocks))


def _intact(path: Path) -> bool:
    """Whether every block is what was written; each process looks once."""
    try:
        name = _name(path)
        if name not in _verified:
            facts = Facts.read(path)
            arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in facts.tensors}
            if any(digest(arrays, block.start, block.stop) != block.sha256 for block in facts.blocks):
                return False
            _verified.add(name)
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return True


def _name(path: Path) -> tuple[str, int]:
    return str(path.resolve()), (path / FACTS).stat().st_mtime_ns
