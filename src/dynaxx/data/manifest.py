"""The manifest of a prepared data set lists its properties, so that no image must be opened to read them."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dynaxx.data.errors import DataError, one_line
from dynaxx.data.images import LABELS, LabelledImages
from dynaxx.data.normalise import Normalisation


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json: the properties of a prepared data set."""

    classes: tuple[str, ...]
    """Names of the fine classes, which are the classes of the task, in label order; or of the numbers of a label."""
    groups: dict[str, tuple[str, ...]] | None
    """Coarse group -> its classes, in coarse label order; None if pretraining uses the fine classes."""
    image_shape: tuple[int, int, int]
    """Shape (C, H, W) of one image."""
    counts: dict[str, int]
    """Class -> number of its training images, over the pretraining part and the task part together; {} if the labels
    are no classes."""
    mean: tuple[float, ...]
    """Mean per channel in units of [0, 1], over the pretraining part, or over all images if that part is empty."""
    std: tuple[float, ...]
    """Population standard deviation per channel, over the same images as `mean`."""
    skipped: dict[str, str]
    """Training file that was left out -> the reason."""
    copies: dict[str, str]
    """Test file -> training file with the same bytes."""
    contradictions: tuple[tuple[str, str], ...]
    """Pairs of training images with the same pixels and different labels."""
    sha256: str
    """Checksum of the decoded images, labels and class names."""
    pretrain_fraction: float
    """Share of each class's training images that is in the pretraining part."""
    split_seed: int
    """Seed of the split into pretraining part and task part."""
    kind: str = "classes"
    """What the labels are: classes, numbers or masks."""
    image_groups: tuple[str, ...] = ()
    """Names of the groups in which the images come; () if each stands for itself."""

    def __post_init__(self) -> None:
        channels = self.image_shape[0]
        if len(self.image_shape) != 3 or len(self.mean) != channels or len(self.std) != channels:
            raise DataError(f"manifest: mean and std must have {channels} channels")
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise DataError(f"manifest: mean and std must be finite, got {self.mean} and {self.std}")
        if self.kind not in LABELS:
            raise DataError(f"manifest: kind must be one of {', '.join(LABELS)}, got {self.kind!r}")
        if tuple(self.counts) != (self.classes if self.kind == "classes" else ()):
            raise DataError("manifest: counts must name the classes in their order")

    @property
    def normalisation(self) -> Normalisation:
        """The normalisation with `mean` and `std` of this data set."""
        return Normalisation(self.mean, self.std)

    def check(self, images: LabelledImages) -> None:
        """Raise DataError unless `images` (such as the test images) have the prepared labels and shape."""
        if images.kind != self.kind:
            raise DataError(f"labels that are {images.kind} differ from the prepared {self.kind}")
        if images.classes != self.classes:
            raise DataError(f"classes {', '.join(images.classes)} differ from the prepared {', '.join(self.classes)}")
        if tuple(images.images.shape[1:]) != self.image_shape:
            raise DataError(
                f"images of shape {tuple(images.images.shape[1:])} differ from the prepared "
                f"{self.image_shape}; set data.image_size to bring all images to one size"
            )

    def write(self, path: Path) -> None:
        """Write the manifest as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest from JSON; DataError if the file is missing or damaged."""
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            groups = content.pop("groups")
            for name in ("classes", "image_shape", "mean", "std", "image_groups"):
                content[name] = tuple(content[name])
            content["contradictions"] = tuple(map(tuple, content["contradictions"]))
            return cls(
                groups=None if groups is None else {name: tuple(members) for name, members in groups.items()},
                **content,
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise DataError(
                f"prepared data is missing or damaged: {path}: {one_line(error)}; run the prepare stage again"
            ) from error
