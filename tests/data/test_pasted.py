"""Made-up defects: one piece of each image, from the image itself, where the mask says."""

import torch
from hypothesis import given, strategies as st

from dynaxx.data import pasted


@given(seed=st.integers(0, 999), height=st.integers(1, 40), width=st.integers(1, 40))
def test_an_image_changes_inside_its_region_alone(seed, height, width):
    images = torch.randint(256, (3, 2, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    found, regions = pasted(images, seed)
    assert torch.equal(images, before)
    assert torch.equal(found, pasted(images, seed)[0])
    changed = (found != images).any(1)
    assert not (changed & (regions == 0)).any()
    for region in regions:
        rows, columns = region.any(1).nonzero().flatten(), region.any(0).nonzero().flatten()
        assert region.sum() == len(rows) * len(columns) > 0  # one rectangle
        assert region.sum() <= max(0.07 * height * width, len(rows), len(columns), 1)


def test_pieces_of_another_seed_are_others():
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    assert not torch.equal(pasted(images, 0)[1], pasted(images, 1)[1])
    assert (pasted(images, 0)[0] != images).flatten(1).any(1).all()
