"""Images and labels: sources, splits, the prepared form on disk, augmentation, the LightningDataModule."""

from typing import TYPE_CHECKING, Any

from dynaxx.data.augment import (
    AUGMENTATIONS,
    apply_versions,
    check_augmentation,
    draw_numbers,
    draw_versions,
    random_view,
    versions,
    views,
)
from dynaxx.data.clicked_masks import ClickedMasks
from dynaxx.data.digits import Digits
from dynaxx.data.errors import DataError, count_reasons, few
from dynaxx.data.image_folder import ImageFolder
from dynaxx.data.image_masks import ImageMasks
from dynaxx.data.image_table import ImageTable
from dynaxx.data.images import LabelledImages
from dynaxx.data.manifest import Manifest
from dynaxx.data.mvtec_folder import MvtecFolder
from dynaxx.data.normalise import Normalisation, batch_size, normalise, pixel_statistics
from dynaxx.data.order import EpochOrder, epoch_generator
from dynaxx.data.pasted import pasted
from dynaxx.data.prepare import TASK_IMAGES, Prepared, load_prepared, prepare
from dynaxx.data.progress import track
from dynaxx.data.remarks import remarks, training_remarks
from dynaxx.data.source import Source
from dynaxx.data.splits import draw, draw_images, split_each_class, stratified_halves
from dynaxx.data.targets import targets_of
from dynaxx.data.torchvision_sets import TorchvisionSet
from dynaxx.data.traced_lines import TracedLines

if TYPE_CHECKING:
    from dynaxx.data.module import ImageData

__all__ = [
    "AUGMENTATIONS",
    "TASK_IMAGES",
    "ClickedMasks",
    "DataError",
    "Digits",
    "EpochOrder",
    "ImageData",
    "ImageFolder",
    "ImageMasks",
    "ImageTable",
    "LabelledImages",
    "Manifest",
    "MvtecFolder",
    "Normalisation",
    "Prepared",
    "Source",
    "TorchvisionSet",
    "TracedLines",
    "apply_versions",
    "batch_size",
    "check_augmentation",
    "count_reasons",
    "draw",
    "draw_images",
    "draw_numbers",
    "draw_versions",
    "epoch_generator",
    "few",
    "load_prepared",
    "normalise",
    "pasted",
    "pixel_statistics",
    "prepare",
    "random_view",
    "remarks",
    "split_each_class",
    "stratified_halves",
    "targets_of",
    "track",
    "training_remarks",
    "versions",
    "views",
]


def __getattr__(name: str) -> Any:
    if name == "ImageData":  # Lightning takes seconds to import, and few stages train
        from dynaxx.data.module import ImageData

        return ImageData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
