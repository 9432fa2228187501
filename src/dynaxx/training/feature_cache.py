"""Cached activations: the frozen backbone is run once over each image, and training reads what its taps held."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynaxx.data import normalise
from dynaxx.data.progress import track
from dynaxx.resonance import Anchors, ResonantModel

BATCH = 256


@dataclass(frozen=True)
class FeatureCache:
    """Anchors of N images in V views (deterministic augmentations), memory-mapped.

    Attributes:
        pooled: P x_l⁰ of each tap, (V, N, P, C_l).
        seen: x_l⁰ of each tap that something behind the last one reads, (V, N, …); None where `pooled` holds it, in
            the grid's resolution.
        grid: (h, w) or (tokens,).
        seconds: that building it took.
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
    mean: Sequence[float],
    std: Sequence[float],
    views: Sequence[Callable[[Tensor], Tensor]],
) -> FeatureCache:
    """The cache `folder/key`, built first where it does not exist; written aside and renamed, so never half of one."""
    path = folder / f"{key}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{key}.lock"):  # of several processes one builds it, the others wait
            if not path.exists():
                _build(path, model, images, mean, std, views)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
        taps = sum(name.startswith("pooled_") for name in file.keys())  # noqa: SIM118 - safe_open is no mapping
        pooled = [file.get_tensor(f"pooled_{tap}") for tap in range(taps)]
        kept = file.keys()
        seen = [(tap, file.get_tensor(f"seen_{tap}") if f"seen_{tap}" in kept else None) for tap in facts["seen"]]
    return FeatureCache(pooled, seen, tuple(facts["grid"]), facts["seconds"])


@torch.no_grad()
def _build(
    path: Path,
    model: ResonantModel,
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    views: Sequence[Callable[[Tensor], Tensor]],
) -> None:
    device = next(model.backbone.parameters()).device
    started = time.perf_counter()
    tensors: dict[str, Tensor] = {}
    grid: tuple[int, ...] = ()
    seen = model.built().seen
    for number, view in enumerate(views):
        for start in track(range(0, len(images), BATCH), f"caching features, view {number + 1} of {len(views)}"):
            batch = normalise(view(images[start : start + BATCH]), mean, std).to(device)
            anchors = model.read(batch)
            grid = anchors.grid
            parts = {f"pooled_{tap}": pooled for tap, pooled in enumerate(anchors.pooled)}
            for tap, x in zip(seen, anchors.seen, strict=True):
                own = (len(grid) == 1 or tuple(x.shape[2:]) == grid) and not model.config.token_pool
                parts |= {} if own else {f"seen_{tap}": x}
            for name, part in parts.items():
                if name not in tensors:
                    tensors[name] = torch.empty(len(views), len(images), *part.shape[1:], dtype=part.dtype)
                tensors[name][number, start : start + len(batch)] = part.cpu()
    need = sum(t.numel() * t.element_size() for t in tensors.values())
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise OSError(f"{path.parent}: the feature cache needs {need >> 20} MiB, {free >> 20} are free; free some")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(
            tensors,
            aside,
            {"facts": json.dumps({"grid": list(grid), "seen": seen, "seconds": time.perf_counter() - started})},
        )
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
