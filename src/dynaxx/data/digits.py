"""scikit-learn's scanned digits, a data set that needs no download."""

from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from dynaxx.data.decode import check_channels, check_image_size
from dynaxx.data.errors import DataError
from dynaxx.data.images import LabelledImages
from dynaxx.data.splits import stratified_halves


@dataclass(frozen=True)
class Digits:
    """1,797 grey images of scanned digits, 8 x 8 pixels, in ten classes; `seed` fixes a stratified test part.

    Source: `sklearn.datasets.load_digits` (UCI, "Optical recognition of handwritten digits").

    >>> Digits().train().images.shape
    torch.Size([1438, 1, 8, 8])
    >>> Digits(image_size=64, channels=3).train().images.shape
    torch.Size([1438, 3, 64, 64])
    """

    test_fraction: float = 0.2
    """Share of each digit that becomes test data, in (0, 1)."""
    seed: int = 0
    """Seed of the split into training and test digits."""
    image_size: int | None = None
    """Height and width in pixels to which the scans are enlarged, bilinearly; None keeps 8."""
    channels: int = 1
    """1: grey; 3: the grey value three times, for networks that take RGB."""

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        check_channels(self.channels)
        if not 0 < self.test_fraction < 1:
            raise DataError(f"data.test_fraction must lie in (0, 1), got {self.test_fraction}")

    def train(self) -> LabelledImages:
        """The training digits."""
        return self._part(1)

    def test(self) -> LabelledImages:
        """The test digits."""
        return self._part(0)

    def classes(self) -> tuple[str, ...]:
        """ "0" to "9"."""
        return tuple(str(digit) for digit in range(10))

    def _part(self, which: int) -> LabelledImages:
        from sklearn.datasets import load_digits

        scans = load_digits()
        # a pixel of a scan is the number of black pixels in a 4 x 4 block: 0 to 16
        images = torch.from_numpy(scans.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        if self.image_size is not None:
            size = (self.image_size, self.image_size)
            images = interpolate(images.float(), size, mode="bilinear").round().to(torch.uint8)
        images = images.repeat(1, self.channels, 1, 1)
        everything = LabelledImages(images, torch.from_numpy(scans.target).to(torch.int64), self.classes())
        return everything.subset(stratified_halves(everything.labels, self.test_fraction, self.seed)[which])
