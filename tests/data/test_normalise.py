import numpy as np
import pytest
import torch

from dynaxx.data import DataError, Normalisation, normalise
from dynaxx.data.normalise import pixel_statistics

IMAGES = torch.randint(0, 256, (7, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_against_the_formula() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    wanted = (IMAGES.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    got = normalise(IMAGES, Normalisation(mean, std))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, atol=1e-6, rtol=1e-6)
    assert torch.equal(normalise(IMAGES[2], Normalisation(mean, std)), got[2])


def test_statistics_against_numpy_and_back() -> None:
    mean, std = pixel_statistics(IMAGES)
    pixels = IMAGES.numpy() / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-12)
    standardised = normalise(IMAGES, Normalisation(mean, std))
    torch.testing.assert_close(standardised.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(standardised.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_a_constant_channel_becomes_zero() -> None:
    flat = torch.full((2, 1, 3, 3), 77, dtype=torch.uint8)
    mean, std = pixel_statistics(flat)
    assert std[0] < 1e-12
    torch.testing.assert_close(normalise(flat, Normalisation(mean, (0.0,))), torch.zeros(2, 1, 3, 3))


@pytest.mark.parametrize(
    ("images", "mean", "std", "message"),
    [
        (IMAGES.float(), (0, 0, 0), (1, 1, 1), "must be uint8"),
        (IMAGES[0, 0], (0,), (1,), "must be uint8"),
        (IMAGES, (0,), (1, 1, 1), "must have 3 channels"),
        (IMAGES, (0, 0, 0), (1,), "must have 3 channels"),
        (IMAGES, (0, float("nan"), 0), (1, 1, 1), "must be finite"),
        (IMAGES, (0, 0, 0), (1, float("inf"), 1), "must be finite"),
        (IMAGES, (0, 0, 0), (1, -1, 1), "must be finite, std not negative"),
    ],
)
def test_bad_input(images, mean, std, message) -> None:
    with pytest.raises(DataError, match=message):
        normalise(images, Normalisation(mean, std))


def test_the_record_unpacks_and_the_example_of_the_docstring_holds() -> None:
    mean, std = Normalisation(mean=(0.5,), std=(0.25,))
    assert (mean, std) == ((0.5,), (0.25,))
    white = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    assert torch.equal(normalise(white, Normalisation(mean, std)), torch.full((1, 8, 8), 2.0))
