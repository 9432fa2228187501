"""Corruptions are what their names say, stronger with strength, and the same in every call."""

from itertools import pairwise

import pytest
import torch

from dynaxx.evaluation.robustness.corruptions import CORRUPTIONS, STRENGTHS


@pytest.fixture(params=[(3, 32), (1, 8), (3, 20)], ids=str)
def images(request) -> torch.Tensor:
    channels, side = request.param
    smooth = torch.nn.functional.interpolate(
        torch.rand(4, channels, 5, 5, generator=torch.Generator().manual_seed(1)), size=side, mode="bilinear"
    )
    return (255 * smooth).to(torch.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_strength_keeps_the_shape_and_goes_further_from_the_image(name, images):
    away = []
    for strength in STRENGTHS:
        found = CORRUPTIONS[name](images, strength)
        assert found.shape == images.shape
        assert found.dtype == torch.uint8
        assert torch.equal(found, CORRUPTIONS[name](images, strength))
        away.append(float((found.float() - images.float()).square().mean()))
    assert away[-1] > 2 * away[0]
    assert all(later >= 0.9 * earlier for earlier, later in pairwise(away))


def test_contrast_keeps_the_mean_and_blur_takes_the_edges(images):
    less = CORRUPTIONS["contrast"](images, 5).float()
    assert torch.allclose(less.mean((1, 2, 3)), images.float().mean((1, 2, 3)), atol=0.6)
    assert torch.allclose(less.std((1, 2, 3)), 0.2 * images.float().std((1, 2, 3)), rtol=0.1)
    steps = [x.float().diff(dim=-1).abs().mean() for x in (CORRUPTIONS["blur"](images, 5), images)]
    assert steps[0] < steps[1]


def test_noise_is_as_strong_as_it_says():
    grey = torch.full((8, 3, 32, 32), 128, dtype=torch.uint8)
    assert float(CORRUPTIONS["noise"](grey, 5).float().std()) == pytest.approx(25.5, rel=0.03)
