"""Anchor stores of the images that arms are judged on: one pass of the backbone for all arms, seeds and settings."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from torch import Tensor, nn

from dynaxx import ResonanceError, ResonantModel
from dynaxx.data import Normalisation, views
from dynaxx.evaluation.arms import ArmRecord, load_arm
from dynaxx.evaluation.arms.repeated_tap import REPEATED_TAP
from dynaxx.evaluation.defect_map import DefectMap
from dynaxx.training.cache.build import TooLarge
from dynaxx.training.cache.features import LIMIT_GB
from dynaxx.training.cache.reader import OPTIONS, AnchorReader
from dynaxx.training.cache.store import AnchorStore, open_store, store_in_memory, store_key

MEMORY_SHARE = 0.25
"""Largest share of the free memory that anchors kept in memory may take."""


WRAPPED = ("resonance", "disagreement")
"""Kinds of arms that tap layers."""


class Reading(NamedTuple):
    """Layers of a backbone, and the options of `wrap_with_resonance` that say how they are read."""

    layers: list[str]
    options: dict[str, Any]


@dataclass(frozen=True)
class Stores:
    """Opens stores of the anchors of images.

    >>> stores = Stores(Path(".dynaxx/features"))
    >>> store = stores.kept(backbone, reading_of(folders, network), test.images, normalisation)

    Attributes:
        folder: folder of all caches and stores; None keeps all in memory.
        limit_gb: limit on the size of all that is in the folder, in 10⁹ bytes; 0: there are no stores.
    """

    folder: Path | None
    limit_gb: float = LIMIT_GB

    def kept(
        self, backbone: nn.Module, reading: Reading, images: Tensor, normalisation: Normalisation
    ) -> AnchorStore | None:
        """The store of images (N, C, H, W) that are read again and again, on disk; None if there can be none."""

        def opened(reader: AnchorReader) -> AnchorStore:
            if self.folder is None:
                return self._in_memory(reader, images, normalisation)
            content = hashlib.sha256(images.contiguous().numpy().data).hexdigest()
            key = store_key(
                reader.paths, reading.options, backbone=reader.weights, images=content, normalisation=normalisation
            )
            plain = views("none", min(images.shape[-2:]))
            assert plain is not None
            return open_store(self.folder, key, reader, images, normalisation, plain, self.limit_gb)

        return self._open(backbone, reading, images, opened)

    def passing(
        self, backbone: nn.Module, reading: Reading, images: Tensor, normalisation: Normalisation
    ) -> AnchorStore | None:
        """The store of images that all arms read once, in memory; None if there can be none."""
        return self._open(backbone, reading, images, lambda reader: self._in_memory(reader, images, normalisation))

    def _in_memory(self, reader: AnchorReader, images: Tensor, normalisation: Normalisation) -> AnchorStore:
        return store_in_memory(reader, images, normalisation, MEMORY_SHARE * psutil.virtual_memory().available)

    def _open(
        self,
        backbone: nn.Module,
        reading: Reading,
        images: Tensor,
        opened: Callable[[AnchorReader], AnchorStore],
    ) -> AnchorStore | None:
        if self.limit_gb == 0 or not len(images):
            return None
        try:
            return opened(AnchorReader(backbone, reading.layers, images[:1].float() / 255, reading.options))
        except (TooLarge, ResonanceError) as error:
            print(f"each arm reads the images by itself: {error}", flush=True)
            return None


def reading_of(folders: Mapping[str, Mapping[int, Path]], backbone: Callable[[], nn.Module]) -> Reading:
    """The layers that trained arms tap, and how the one that taps most of them reads them.

    >>> reading_of({"explicit": {0: Path("outputs/explicit/explicit/seed-0")}}, backbone).layers
    ['layer2', 'layer3', 'layer4']
    """
    known = {path for path, _ in backbone().named_modules()}
    records = {folder: ArmRecord.read(folder) for by_seed in folders.values() for folder in by_seed.values()}
    taps = {
        folder: [str(record.notes[REPEATED_TAP])] if REPEATED_TAP in record.notes else record.taps
        for folder, record in records.items()
    }
    layers = list(dict.fromkeys(path for paths in taps.values() for path in paths if path in known))
    coupled = [folder for folder, record in records.items() if record.kind in WRAPPED and record.taps]
    if not coupled:
        return Reading(layers, {})
    model = load_arm(max(coupled, key=lambda folder: len(taps[folder])), backbone())
    model = model.model if isinstance(model, DefectMap) else model
    assert isinstance(model, ResonantModel)
    return Reading(layers, {name: getattr(model.config, name) for name in OPTIONS})
