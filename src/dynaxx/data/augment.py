"""Augmentation: random versions of images, drawn for each image and computed for a whole batch at once.

torchvision's transforms draw one version per call. A loop over the images with them takes about 20 times as long as
the batched code here. The tests compare this code with torchvision's crop and flip.

Shapes: x_BCHW uint8 images; draws_B3 int64, one row (top, left, flip) per sample. The flip is 0 or 1, plus twice the
number of quarter turns that follow it.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from dynaxx.data.errors import DataError

AUGMENTATIONS = ("none", "flip", "shift_flip", "crop_flip", "dihedral")

MAX_CACHED_VIEWS = 18
"""Largest number of versions per image whose backbone features are cached; above it the backbone runs in every step."""


def versions(name: str, image_size: int) -> Tensor:
    """All V versions of an image under augmentation `name`: int64 (V, 3), one row (top, left, flip) per version.

    The first version is the unchanged image. `flip` adds the mirror image. `shift_flip` also shifts by 0 or
    ± 3/32 of `image_size` per axis, 18 versions in all. `crop_flip` shifts by any number of pixels up to an eighth of
    `image_size`. Pixels that a shift uncovers are black. `dihedral` adds the mirror image and turns both by quarter
    turns, 8 versions in all, for square images without an up and down, such as textures and views from the air.

    >>> versions("flip", image_size=32).tolist()
    [[4, 4, 0], [4, 4, 1]]

    Raises:
        DataError: the name of the augmentation is unknown.
    """
    check_augmentation(name)
    margin = _margin(image_size)
    step = round(0.75 * margin)
    shifts = {"shift_flip": [0, -step, step], "crop_flip": sorted(range(-margin, margin + 1), key=abs)}.get(name, [0])
    steps = [margin + shift for shift in dict.fromkeys(shifts)]
    flips = {"none": [0], "dihedral": list(range(8))}.get(name, [0, 1])
    return torch.tensor(list(product(steps, steps, flips)))


def views(name: str, image_size: int) -> list[Callable[[Tensor], Tensor]] | None:
    """All versions under augmentation `name`, as functions on batches (B, C, H, W); None if there are too many."""
    every = versions(name, image_size)
    if len(every) > MAX_CACHED_VIEWS:
        return None
    return [partial(_alike, version=version, image_size=image_size) for version in every]


def random_view(name: str, image_size: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A function on batches (B, C, H, W) that draws a new version of each image at every call."""
    check_augmentation(name)
    return lambda x_BCHW: apply_versions(x_BCHW, draw_versions(name, len(x_BCHW), image_size, generator), image_size)


def draw_versions(name: str, count: int, image_size: int, generator: torch.Generator | None = None) -> Tensor:
    """Rows (top, left, flip) of `count` random versions, int64 (count, 3), for `apply_versions`."""
    every = versions(name, image_size)
    return every[draw_numbers(len(every), count, generator)]


def draw_numbers(versions: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw `count` random version numbers from 0 to `versions` - 1, int64 (count,)."""
    return torch.randint(versions, (count,), generator=generator)


def apply_versions(x_BCHW: Tensor, draws_B3: Tensor, image_size: int) -> Tensor:
    """Pad each sample with black, crop it at its own (top, left), then mirror and turn it as its flip says.

    No value is interpolated, so masks (B, H, W) and maps (B, c, H, W) of any type take the same versions as their
    images; what a shift uncovers is 0 in them.

    >>> draws_B3 = draw_versions("dihedral", len(images), 64)
    >>> apply_versions(images, draws_B3, 64), apply_versions(masks, draws_B3, 64)

    Raises:
        DataError: a quarter turn of images that are not square.
    """
    if x_BCHW.ndim == 3:
        return apply_versions(x_BCHW[:, None], draws_B3, image_size)[:, 0]
    margin = _margin(image_size)
    height, width = x_BCHW.shape[-2:]
    padded = F.pad(x_BCHW, (margin, margin, margin, margin))
    # every possible crop as a view (B, C, 2 margin + 1, 2 margin + 1, H, W); only one crop per sample is copied
    cuts = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left, flip = draws_B3.unbind(1)
    cut_BCHW = cuts[torch.arange(len(x_BCHW)), :, top, left]
    mirrored = torch.where((flip % 2 == 1)[:, None, None, None], _mirror(cut_BCHW), cut_BCHW)
    return _turned(mirrored, flip // 2)


def _turned(x_BCHW: Tensor, turns_B: Tensor) -> Tensor:
    """Each sample turned by its number of quarter turns."""
    if not turns_B.any():
        return x_BCHW
    if x_BCHW.shape[-2] != x_BCHW.shape[-1]:
        raise DataError(
            f"augmentation dihedral needs square images, got {tuple(x_BCHW.shape[-2:])}; set data.image_size"
        )
    out = x_BCHW.clone()
    for turns in (1, 2, 3):
        chosen = turns_B == turns
        out[chosen] = x_BCHW[chosen].rot90(turns, (-2, -1))
    return out


def check_augmentation(name: str) -> None:
    """Raise DataError unless `name` is one of AUGMENTATIONS."""
    if name not in AUGMENTATIONS:
        raise DataError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}, got {name!r}")


def _margin(image_size: int) -> int:
    return round(image_size / 8)


def _alike(x_BCHW: Tensor, version: Tensor, image_size: int) -> Tensor:
    return apply_versions(x_BCHW, version.expand(len(x_BCHW), 3), image_size)


def _mirror(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.flip(-1)
