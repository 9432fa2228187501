"""Labels and sources of a batch in the versions in which its images are shown."""

from torch import Tensor

from dynaxx.data.augment import apply_versions
from dynaxx.data.images import LabelledImages


def targets_of(data: LabelledImages, index: Tensor, draws_B3: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Labels and sources of the images `index`; masks and sources are moved, mirrored and turned as their images are.

    >>> y, sources = targets_of(images, torch.tensor([0, 2]))

    Args:
        data: the images.
        index: image numbers, (B,).
        draws_B3: version of each image, a row of `versions`; None: the images as they are.

    Returns:
        (labels, sources): class numbers, int64 (B,), or numbers, float32 (B, K), or masks, int64 (B, H, W); and name →
        float32 (B, c, H, W).
    """
    size = min(data.images.shape[-2:])

    def shown(given: Tensor) -> Tensor:
        return given[index] if draws_B3 is None else apply_versions(given[index], draws_B3, size)

    labels = shown(data.labels).long() if data.kind == "masks" else data.labels[index]
    return labels, {name: shown(given).float() for name, given in data.sources.items()}
