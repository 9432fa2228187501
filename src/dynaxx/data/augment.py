"""Random versions of images, drawn sample by sample and computed batch by batch.

torchvision's transforms draw one version a call: a loop over samples costs some 20 times what the batch does.
Its crop and flip are the reference in the tests.

Shapes: x_BCHW uint8 images; draws_B3 int64, a row (top, left, flip) a sample.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dynaxx.data.errors import DataError

AUGMENTATIONS = ("none", "flip", "crop_flip")


def random_transform(
    name: str, image_size: int, generator: torch.Generator | None = None
) -> Callable[[Tensor], Tensor]:
    """A function from one image, uint8 (C, H, W), to one random version of it of the same shape.

    `flip` mirrors left and right in half the calls; `crop_flip` also shifts by up to an eighth of
    `image_size` (4 pixels at 32), black coming in. Draws come from `generator`, None being torch's own.
    """
    check_augmentation(name)

    def transform(image_CHW: Tensor) -> Tensor:
        return apply_versions(image_CHW[None], draw_versions(name, 1, image_size, generator), image_size)[0]

    return transform


def views(name: str) -> list[Callable[[Tensor], Tensor]] | None:
    """All versions that `name` can give, as functions on batches (B, C, H, W); None where too many."""
    check_augmentation(name)
    if name == "crop_flip":
        return None
    return [_identity] if name == "none" else [_identity, _mirror]


def random_view(name: str, image_size: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A function on batches (B, C, H, W) that gives each image a version drawn anew at every call."""
    check_augmentation(name)
    return lambda x_BCHW: apply_versions(x_BCHW, draw_versions(name, len(x_BCHW), image_size, generator), image_size)


def draw_versions(name: str, count: int, image_size: int, generator: torch.Generator | None = None) -> Tensor:
    """(top, left, flip) of `count` random versions: int64, (count, 3), for `apply_versions`."""
    check_augmentation(name)
    margin = _margin(image_size)
    draws_B3 = torch.tensor([margin, margin, 0]).repeat(count, 1)
    if name == "crop_flip":
        draws_B3[:, :2] = torch.randint(2 * margin + 1, (count, 2), generator=generator)
    if name in ("flip", "crop_flip"):
        draws_B3[:, 2] = torch.randint(2, (count,), generator=generator)
    return draws_B3


def apply_versions(x_BCHW: Tensor, draws_B3: Tensor, image_size: int) -> Tensor:
    """Each sample padded with black, cut at its own (top, left), and mirrored where its flip is 1."""
    margin = _margin(image_size)
    height, width = x_BCHW.shape[-2:]
    padded = F.pad(x_BCHW, (margin, margin, margin, margin))
    # Every possible cut as a view: (B, C, 2 margin + 1, 2 margin + 1, H, W), of which one a sample is copied.
    cuts = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left, flip = draws_B3.unbind(1)
    cut_BCHW = cuts[torch.arange(len(x_BCHW)), :, top, left]
    return torch.where(flip.bool()[:, None, None, None], _mirror(cut_BCHW), cut_BCHW)


def check_augmentation(name: str) -> None:
    """Raise DataError unless `name` is one of AUGMENTATIONS."""
    if name not in AUGMENTATIONS:
        raise DataError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}, got {name!r}")


def _margin(image_size: int) -> int:
    return round(image_size / 8)


def _identity(x_BCHW: Tensor) -> Tensor:
    return x_BCHW


def _mirror(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.flip(-1)
