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
