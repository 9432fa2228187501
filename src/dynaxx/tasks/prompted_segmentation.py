"""Prompted segmentation: a label is the mask of the one object that a source, such as a click, points at."""

from dataclasses import dataclass
from typing import ClassVar

from dynaxx.data import LabelledImages
from dynaxx.tasks.kind import TaskError
from dynaxx.tasks.segmentation import Segmentation


@dataclass(frozen=True)
class PromptedSegmentation(Segmentation):
    """Segmentation of data that has sources.

    >>> PromptedSegmentation().metric.name
    'iou'
    """

    name: ClassVar[str] = "prompted_segmentation"

    def check(self, data: LabelledImages) -> None:
        super().check(data)
        if not data.sources:
            raise TaskError("task=prompted_segmentation: the images have no source; give data with one, as data=clicks")
