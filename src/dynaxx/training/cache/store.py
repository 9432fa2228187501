"""The anchor store: one pass of the frozen backbone over each view of each image, read by all models, arms and seeds.

It holds, for every candidate layer, what a model that taps it reads: the anchor on one grid and its deviation; and the
input of the backbone's classifier. A feature cache holds the same for the taps of one model.

Shape legend: V views, N images, P positions of the grid, C channels of a layer, F features.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.backbone import Tail, message_grid
from dynaxx.config import LINEAR
from dynaxx.data import Normalisation, batch_size, normalise
from dynaxx.grid import Grid, Tap
from dynaxx.model import features, pooled_key
from dynaxx.spent import BACKBONE, spent
from dynaxx.training.cache.build import Read, TooLarge
from dynaxx.training.cache.features import LIMIT_GB, FeatureCache, open_arrays
from dynaxx.training.cache.reader import OPTIONS, weights_of


@dataclass(frozen=True, eq=False)
class AnchorStore:
    """What one pass of the backbone gave for all candidate layers, of N images in V views.

    >>> store = open_store(folder, key, AnchorReader(network, paths, images[:1]), pixels, normalisation, views)
    >>> store.cache(model).anchors(view, index) if store.serves(model) else ...

    Attributes:
        taps: the candidate layers in depth order.
        shapes: canonical shape of one sample's activation of each, (C, h, w) or (tokens, C).
        grid: size of the common grid of positions, (h, w) or (tokens,).
        pooled: anchor of each layer on the grid, (V, N, P, C).
        finer: grid of another layer that may be a model's last tap → anchors on it of the layers up to that one.
        deviation: standard deviation of each over the layer's own positions, (V, N, C).
        head: input of the backbone's classifier, (V, N, …); None if no classifier runs once in a pass.
        classifier: module path of this classifier.
        answers: whether its output is the backbone's.
        weights: values of the backbone's tensors, by which models of other backbones are refused.
        token_pool: whether `pooled` holds the mean of tokens in the place of tokens.
        seconds: seconds spent on the passes, summed over all processes.
    """

    taps: tuple[Tap, ...]
    shapes: tuple[tuple[int, ...], ...]
    grid: tuple[int, ...]
    pooled: list[Tensor]
    deviation: list[Tensor]
    head: Tensor | None
    classifier: str | None
    answers: bool
    weights: str
    token_pool: bool = False
    finer: Mapping[Grid, list[Tensor]] = field(default_factory=dict)
    seconds: float = 0.0
    _means: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], seconds: float) -> "AnchorStore":
        """The store of the tensors (V, N, …) that an `AnchorReader` gave, and its facts."""
        return cls(
            taps=tuple(Tap(**tap) for tap in facts["taps"]),
            shapes=tuple(tuple(shape) for shape in facts["shapes"]),
            grid=tuple(facts["grid"]),
            pooled=[tensors[f"pooled_{n}"] for n in range(len(facts["taps"]))],
            deviation=[tensors[f"deviation_{n}"] for n in range(len(facts["taps"]))],
            head=tensors.get("head"),
            classifier=facts["classifier"],
            answers=facts["answers"],
            weights=facts["weights"],
            token_pool=facts["token_pool"],
            finer={
                tuple(grid): [tensors[f"finer_{k}_{n}"] for n in range(count)]
                for k, (grid, count) in enumerate(facts["finer"])
            },
            seconds=seconds,
        )

    @property
    def paths(self) -> list[str]:
        """Module paths of the layers in depth order."""
        return [tap.path for tap in self.taps]

    @property
    def views(self) -> int:
        return len(self._first)

    def __len__(self) -> int:
        """Number of images."""
        return self._first.shape[1]

    @property
    def _first(self) -> Tensor:
        return self.pooled[0] if self.head is None else self.head

    # ---- models ---------------------------------------------------------------------------------------------------

    def serves(self, model: ResonantModel, tail: Tail | None = None) -> bool:
        """Whether `cache(model)` holds what the model reads of the backbone, as a cache of its own would.

        Refused are models on another backbone or one that training has changed, whatever their names; with other taps
        or another grid; whose loop runs the backbone again; and those behind whose taps the network reads more than
        the store has of them.

        Args:
            model: a model whose taps are known.
            tail: the part behind the taps, if it is to run on what the store holds.
        """
        config, outputs = model.config, model.require_built().exchange.outputs
        numbers = self._numbers(model)
        if numbers is None or config.dynamics != "anchored" or config.token_pool != self.token_pool:
            return False
        if tail is not None and tail.others:
            return False
        held = self._on_grid(model, numbers)
        if held is None:
            return False
        if not config.reads_taps and not all(self._holds_own(numbers[tap], held[0]) for tap in outputs):
            return False
        return weights_of(model.backbone) == self.weights

    def serves_classifier(self, backbone: nn.Module, path: str) -> bool:
        """Whether the classifier at `path`, or a head in its place, gives the network's output from what `head` holds.

        Another backbone is refused, and one that training has changed.
        """
        held = self.head is not None and self.answers and self.classifier == path
        return held and weights_of(backbone) == self.weights

    def cache(self, model: ResonantModel) -> FeatureCache:
        """The anchors of the model's taps, as a cache of its own would hold them.

        A linear reading of means may get them on the store's grid, where they have the means of its own grid.

        Raises:
            ValueError: a model that the store does not serve.
        """
        numbers = self._numbers(model)
        if numbers is None or not self.serves(model):
            raise ValueError(f"model: the store of {', '.join(self.paths)} does not serve its taps, {model.paths}")
        held = self._on_grid(model, numbers)
        assert held is not None
        reads_taps, outputs = model.config.reads_taps, model.require_built().exchange.outputs
        maps = () if reads_taps else (tap for tap in outputs if self.taps[numbers[tap]].dims)
        moved = numbers if reads_taps and model.config.readout == "moments" else ()
        return FeatureCache(
            pooled=[held[1][n] for n in numbers],
            seen=[(tap, None) for tap in outputs],
            maps=frozenset(maps),
            grid=held[0],
            outside=[self.deviation[n] for n in moved],
            seconds=self.seconds,
        )

    def _numbers(self, model: ResonantModel) -> list[int] | None:
        """The numbers of the model's taps among the store's; None if one is missing or is read in another way."""
        known = {_as_read(tap, self): n for n, tap in enumerate(self.taps)}
        taps = [replace(tap, path=_layer(model.backbone, tap.path, self.paths)) for tap in model.adapter.taps]
        found = [known.get(_as_read(tap, self)) for tap in taps]
        numbers = [n for n in found if n is not None]
        return numbers if len(numbers) == len(found) else None

    def _on_grid(self, model: ResonantModel, numbers: Sequence[int]) -> tuple[Grid, list[Tensor]] | None:
        """A grid that does for the model, its own or one that its head sees nothing of, and the anchors on it."""
        shapes = [torch.empty(1, *self.shapes[n], device="meta") for n in numbers]
        grid = tuple(message_grid(shapes, model.adapter.taps, model.config.grid, model.config.token_pool))
        if grid == self.grid:
            return grid, self.pooled
        if max(numbers) < len(self.finer.get(grid, [])):
            return grid, self.finer[grid]
        if model.mode not in LINEAR or model.config.readout not in ("mean", "moments"):
            return None
        maps = [self.shapes[n][1:] for n in numbers if self.taps[n].dims]
        # windows of one size: the mean of their means is the mean of all
        even = all(
            size % side == 0 for g in (grid, self.grid) for sizes in maps for size, side in zip(sizes, g, strict=True)
        )
        return (self.grid, self.pooled) if even else None

    def _holds_own(self, number: int, grid: Grid) -> bool:
        """Whether the anchor on this grid has all positions of layer `number`."""
        tap, shape = self.taps[number], self.shapes[number]
        if tap.dims:
            return shape[1:] == grid
        if self.token_pool or tap.pooled:
            return shape[0] == 1
        return tap.point or len(grid) == 1 or tap.prefix == 0

    # ---- features -------------------------------------------------------------------------------------------------

    def features(self, paths: Sequence[str], readout: str, view: Tensor, index: Tensor) -> Tensor:
        """What a linear head with this readout reads of the layers `paths`: (B, F), or (B, P, F) of `map`.

        >>> store.features(["layer2", "layer3"], "moments", torch.zeros(64, dtype=torch.long), torch.arange(64)).shape
        torch.Size([64, 768])

        Args:
            paths: module paths of layers in the store.
            readout: mean, moments or map; `classifier` gives the classifier's input, whatever the paths.
            view, index: sample i is image `index[i]` in view `view[i]`.

        Raises:
            ValueError: a layer that is not in the store, or no classifier.
        """
        if readout == "classifier":
            if self.head is None:
                raise ValueError("readout='classifier': no classifier runs once in a pass of this backbone")
            return self.head[view, index]
        if missing := [path for path in paths if path not in self.paths]:
            raise ValueError(f"paths={list(paths)}: no {missing[0]!r} in the store of {', '.join(self.paths)}")
        numbers = [self.paths.index(path) for path in paths]
        if readout == "map":
            return features("map", [self.pooled[n][view, index] for n in numbers], ())
        means = [self._mean(n)[view, index][:, None] for n in numbers]  # of one position, their own mean
        return features(readout, means, [self.deviation[n][view, index] for n in numbers])

    def _mean(self, number: int) -> Tensor:
        """Mean over positions of the anchor of one layer, (V, N, C), computed once."""
        if number not in self._means:
            views = [torch.cat([part.mean(1) for part in view_NPC.split(1024)]) for view_NPC in self.pooled[number]]
            self._means[number] = torch.stack(views)
        return self._means[number]


def _as_read(tap: Tap, store: AnchorStore) -> tuple[object, ...]:
    return pooled_key(tap, store.grid, store.token_pool), tap.channels


def _layer(backbone: nn.Module, path: str, known: Sequence[str]) -> str:
    """The layer among `known` whose activation the module at `path` has: itself, or the one that it is repeated of."""
    parent = path.rpartition(".")[0]
    if path in known or parent not in known:
        return path
    parts = list(backbone.get_submodule(parent).children())
    repeated = isinstance(backbone.get_submodule(parent), nn.Sequential)
    return parent if repeated and all(isinstance(part, nn.Identity) for part in parts[1:]) else path


def store_key(paths: Sequence[str], options: Mapping[str, Any], **parts: object) -> str:
    """A name for a store, from all that determines its content: its layers, how they are read, and `parts`.

    >>> store_key(["layer2", "layer3"], {"grid": None}, of="checksum of backbone and images", views="flip")[:6]
    'store-'

    Args:
        paths: module paths of the layers.
        options: options of `wrap_with_resonance`; those that decide what is read count.
        parts: whatever else decides, by name.
    """
    chosen = {name: options[name] for name in OPTIONS if options.get(name)}
    content = json.dumps({"paths": list(paths), "options": chosen, **parts}, sort_keys=True, default=str)
    return "store-" + hashlib.sha256(content.encode()).hexdigest()[:16]


def open_store(
    folder: Path,
    key: str,
    read: Read,
    images: Tensor,
    normalisation: Normalisation,
    views: Sequence[Callable[[Tensor], Tensor]],
    limit_gb: float = LIMIT_GB,
) -> AnchorStore:
    """Open the store `folder/key`, memory-mapped. All processes that call this build a missing store together.

    >>> reader = AnchorReader(network, ["layer2", "layer3"], images[:1])
    >>> store = open_store(folder, store_key(paths, {}), reader, pixels, normalisation, views("none", 32))

    Args:
        folder: folder of all caches and stores.
        key: name of the store, from `store_key`.
        read: an `AnchorReader`, or a function like it, which reads a missing store.
        images: pixels, uint8 (N, C, H, W).
        normalisation: normalisation with which the backbone was trained.
        views: functions from a batch of images to its augmented version.
        limit_gb: limit on the size of all that is in `folder`, in 10⁹ bytes.

    Raises:
        TooLarge: the store exceeds the limit or the free space of the disk; nothing but one image was read.
    """
    metadata, tensors = open_arrays(folder / key, read, images, normalisation, views, limit_gb)
    return AnchorStore.of(metadata.facts, tensors, metadata.seconds)


def store_in_memory(read: Read, images: Tensor, normalisation: Normalisation, limit_bytes: float) -> AnchorStore:
    """A store of images in one view that is kept in memory alone, for images that are read once.

    >>> store_in_memory(AnchorReader(network, ["layer3"], x[:1]), pixels, normalisation, limit_bytes=1e9).views
    1

    Raises:
        TooLarge: it would take more than `limit_bytes`; nothing but one image was read.
    """
    started = time.perf_counter()
    example, facts = read(normalise(images[:1], normalisation))
    need = len(images) * sum(4 * part[0].numel() for part in example.values())
    if need > limit_bytes:
        raise TooLarge(f"the anchors of {len(images)} images take {need / 1e9:.3g} GB, {limit_bytes / 1e9:.3g} may be")
    with spent(BACKBONE):
        parts = [read(normalise(part, normalisation))[0] for part in images.split(batch_size(images))]
    tensors = {name: torch.cat([part[name] for part in parts])[None] for name in example}
    return AnchorStore.of(facts, tensors, time.perf_counter() - started)
