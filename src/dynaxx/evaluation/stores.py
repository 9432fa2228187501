"""Anchor stores of the images that arms are judged on: one pass of the backbone for all arms, seeds and settings."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from torch import Tensor, nn

from dynaxx import ResonanceError
from dynaxx.data import Normalisation, views
from dynaxx.evaluation.arms import ArmRecord
from dynaxx.evaluation.arms.repeated_tap import REPEATED_TAP
from dynaxx.training.cache.build import TooLarge
from dynaxx.training.cache.features import LIMIT_GB
from dynaxx.training.cache.reader import AnchorReader
from dynaxx.training.cache.store import AnchorStore, open_store, store_in_memory, store_key

MEMORY_SHARE = 0.25
"""Largest share of the free memory that anchors kept in memory may take."""


@dataclass(frozen=True)
class Stores:
    """Opens stores of the anchors of images.

    >>> stores = Stores(Path(".dynaxx/features"), {"grid": None})
    >>> store = stores.kept(backbone, ["layer2", "layer3"], test.images, normalisation)

    Attributes:
        folder: folder of all caches and stores; None keeps all in memory.
        options: options of `wrap_with_resonance` with which the arms were trained.
        limit_gb: limit on the size of all that is in the folder, in 10⁹ bytes; 0: there are no stores.
    """

    folder: Path | None
    options: Mapping[str, Any] = field(default_factory=dict)
    limit_gb: float = LIMIT_GB

    def kept(
        self, backbone: nn.Module, layers: Sequence[str], images: Tensor, normalisation: Normalisation
    ) -> AnchorStore | None:
        """The store of images (N, C, H, W) that are read again and again, on disk; None if there can be none."""

        def opened(reader: AnchorReader) -> AnchorStore:
            if self.folder is None:
                return self._in_memory(reader, images, normalisation)
            content = hashlib.sha256(images.contiguous().numpy().data).hexdigest()
            key = store_key(
                reader.paths, self.options, backbone=reader.weights, images=content, normalisation=normalisation
            )
            plain = views("none", min(images.shape[-2:]))
            assert plain is not None
            return open_store(self.folder, key, reader, images, normalisation, plain, self.limit_gb)

        return self._open(backbone, layers, images, opened)

    def passing(
        self, backbone: nn.Module, layers: Sequence[str], images: Tensor, normalisation: Normalisation
    ) -> AnchorStore | None:
        """The store of images that all arms read once, in memory; None if there can be none."""
        return self._open(backbone, layers, images, lambda reader: self._in_memory(reader, images, normalisation))

    def _in_memory(self, reader: AnchorReader, images: Tensor, normalisation: Normalisation) -> AnchorStore:
        return store_in_memory(reader, images, normalisation, MEMORY_SHARE * psutil.virtual_memory().available)

    def _open(
        self,
        backbone: nn.Module,
        layers: Sequence[str],
        images: Tensor,
        opened: Callable[[AnchorReader], AnchorStore],
    ) -> AnchorStore | None:
        if self.limit_gb == 0 or not len(images):
            return None
        try:
            return opened(AnchorReader(backbone, layers, images[:1].float() / 255, self.options))
        except (TooLarge, ResonanceError) as error:
            print(f"each arm reads the images by itself: {error}", flush=True)
            return None


def layers_of(backbone: nn.Module, folders: Mapping[str, Mapping[int, Path]]) -> list[str]:
    """Module paths of all layers that trained arms tap.

    >>> layers_of(network, {"explicit": {0: Path("outputs/explicit/explicit/seed-0")}})
    ['layer2', 'layer3', 'layer4']
    """
    known = {path for path, _ in backbone.named_modules()}
    records = [ArmRecord.read(folder) for by_seed in folders.values() for folder in by_seed.values()]
    paths = [[str(record.notes[REPEATED_TAP])] if REPEATED_TAP in record.notes else record.taps for record in records]
    return list(dict.fromkeys(path for taps in paths for path in taps if path in known))
