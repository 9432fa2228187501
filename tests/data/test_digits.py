import pytest
import torch
from sklearn.datasets import load_digits

from dynaxx.data import DataError, Digits


def test_both_parts_make_up_the_scans() -> None:
    train, test = Digits().train(), Digits().test()
    assert train.images.shape == (1438, 1, 8, 8)
    assert test.images.shape == (359, 1, 8, 8)
    assert train.classes == test.classes == Digits().classes() == tuple("0123456789")
    scans = load_digits()
    wanted = sorted(
        (int(label), tuple(round(v * 255 / 16) for v in row))
        for label, row in zip(scans.target, scans.data, strict=True)
    )
    got = sorted(
        (int(label), tuple(image.flatten().tolist()))
        for part in (train, test)
        for image, label in zip(part.images, part.labels, strict=True)
    )
    assert got == wanted


def test_the_split_is_stratified_and_fixed_by_the_seed() -> None:
    first, again, other = Digits().test(), Digits().test(), Digits(seed=1).test()
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert set(first.labels.bincount().tolist()) <= {34, 35, 36, 37}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="test_fraction must lie in"):
        Digits(test_fraction=fraction)


def test_the_scans_are_enlarged_for_networks_that_take_photographs() -> None:
    small, large = Digits().test(), Digits(image_size=72, channels=3).test()
    assert large.images.shape == (359, 3, 72, 72)
    assert torch.equal(large.labels, small.labels)
    # enlarged nine times, the middle of every block of 9 x 9 pixels is its scanned pixel
    assert torch.equal(large.images[:, :, 4::9, 4::9], small.images.repeat(1, 3, 1, 1))
    assert torch.equal(Digits(channels=3).test().images, small.images.repeat(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("options", "says"), [({"image_size": 0}, "data.image_size=0"), ({"channels": 2}, "data.channels must be 1 or 3")]
)
def test_an_option_out_of_range_is_refused(options: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Digits(**options)
