"""Made lines: each is one connected piece of its length, none touches another, and the click is at an end."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.ndimage import label

from dynaxx.data import DataError, TracedLines
from dynaxx.data.traced_lines import CELL


@settings(max_examples=15, deadline=None)
@given(length=st.integers(1, 24), lines=st.integers(1, 4), seed=st.integers(0, 999))
def test_lines_are_pieces_of_one_length_that_do_not_touch(length, lines, seed):
    part = TracedLines(length=length, lines=lines, image_size=128, images=2, noise=0, seed=seed).train()
    for image, mask, click in zip(part.images, part.labels, part.sources["click"], strict=True):
        bright = image[0].numpy() > 100
        pieces, count = label(bright, np.ones((3, 3)))
        assert count == lines
        assert (bright | (mask.numpy() == 0)).all()
        number = np.unique(pieces[mask.numpy() > 0])
        assert len(number) == 1
        assert (pieces == number[0]).sum() == mask.sum()
        # two wide: two pixels more for each pixel of length, and at every corner some are shared
        assert 2 * CELL * length <= int(mask.sum()) + 4 * length
        assert int(mask.sum()) <= 2 * (CELL * length + 2)
        assert (mask.numpy()[click[0].numpy() > 0] > 0).any()


def test_images_depend_on_the_seed_and_the_part_alone():
    one, again, other = TracedLines(images=3), TracedLines(images=3), TracedLines(images=3, seed=1)
    assert torch.equal(one.train().images, again.train().images)
    assert not torch.equal(one.train().images, other.train().images)
    assert not torch.equal(one.train().images, one.test().images)
    assert torch.equal(TracedLines(images=5).test().labels[:3], one.test().labels)  # more of them begin alike
    assert one.classes() == ("background", "line")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"length": 0}, "data.length=0: give a whole number of at least 1"),
        ({"images": 1.5}, "data.images=1.5: give a whole number"),
        ({"image_size": 8}, "data.image_size=8: give a whole number of at least 16"),
        ({"shortest": 0}, "data.shortest=0: give a whole number of at least 1"),
        ({"shortest": 20}, "data.shortest=20: give at most data.length=16, or null"),
        ({"noise": float("nan")}, "data.noise=nan: give a number from 0 to 1000"),
    ],
)
def test_options_out_of_range_are_refused(options, line):
    with pytest.raises(DataError, match=line):
        TracedLines(**options)


def test_no_room_is_told():
    with pytest.raises(DataError, match="data.length=200: no room for 4 such lines on 32 x 32 pixels"):
        TracedLines(length=200, image_size=32, images=1).train()


def test_images_draw_how_long_their_lines_are():
    pixels = TracedLines(length=12, shortest=2, images=60, noise=0).train().labels.flatten(1).sum(1)
    one_length = [int(TracedLines(length=n, images=1, noise=0).train().labels.sum()) for n in (2, 12)]
    assert int(pixels.min()) <= one_length[0] + 8
    assert int(pixels.max()) >= one_length[1] - 16
    assert len(pixels.unique()) > 8
