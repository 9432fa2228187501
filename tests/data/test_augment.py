import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from dynaxx.data import AUGMENTATIONS, DataError, apply_versions, draw_versions, random_view, views
from dynaxx.data.augment import versions


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("size", "height", "width"), [(32, 32, 32), (8, 8, 8), (16, 16, 20), (3, 3, 3)])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_versions_against_torchvision_one_by_one(name: str, size: int, height: int, width: int) -> None:
    x = torch.randint(0, 256, (40, 3, height, width), dtype=torch.uint8, generator=generator())
    draws = draw_versions(name, 40, size, generator(1))
    if name == "dihedral" and height != width:
        with pytest.raises(DataError, match=r"dihedral needs square images, got \(16, 20\)"):
            apply_versions(x, draws, size)
        return
    got = apply_versions(x, draws, size)
    for image, (top, left, flip), version in zip(x, draws.tolist(), got, strict=True):
        wanted = reference.crop(reference.pad(image, [round(size / 8)] * 4), top, left, height, width)
        wanted = reference.horizontal_flip(wanted) if flip % 2 else wanted
        assert torch.equal(version, reference.rotate(wanted, 90 * (flip // 2)))


def test_what_is_drawn() -> None:
    assert (draw_versions("none", 50, 32) == torch.tensor([4, 4, 0])).all()
    flips = draw_versions("flip", 2000, 32, generator())
    assert (flips[:, :2] == 4).all()
    assert 0.45 < flips[:, 2].double().mean() < 0.55
    crops = draw_versions("crop_flip", 5000, 32, generator())
    for column, values in enumerate((9, 9, 2)):
        share = crops[:, column].bincount(minlength=values) / 5000
        assert len(share) == values
        assert (share - 1 / values).abs().max() < 0.03
    # the three are drawn independently of one another
    assert (torch.corrcoef(crops.double().T) - torch.eye(3)).abs().max() < 0.06


def test_views_are_all_that_can_be_drawn() -> None:
    image = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=generator())
    for name, count in (("none", 1), ("flip", 2), ("shift_flip", 18), ("dihedral", 8)):
        batch_views = views(name, 16)
        assert batch_views is not None
        finite = [view(image[None])[0] for view in batch_views]
        assert torch.equal(finite[0], image)
        drawn = apply_versions(image.expand(400, -1, -1, -1), draw_versions(name, 400, 16, generator()), 16)
        assert {tuple(v.flatten().tolist()) for v in finite} == {tuple(v.flatten().tolist()) for v in drawn}
        assert len({tuple(v.flatten().tolist()) for v in finite}) == count
    assert views("crop_flip", 16) is None


def test_an_image_too_small_to_shift_has_no_version_twice() -> None:
    for name in AUGMENTATIONS:
        every = [tuple(version) for version in versions(name, 3).tolist()]
        assert len(every) == len(set(every))


def test_a_random_view_draws_anew_at_every_call_and_the_same_again_from_the_same_seed():
    x = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8, generator=generator(0))
    view, again = (random_view("crop_flip", 16, generator(4)) for _ in range(2))
    first, second = view(x), view(x)
    assert torch.equal(first, apply_versions(x, draw_versions("crop_flip", 40, 16, generator(4)), 16))
    assert not torch.equal(first, second)
    assert torch.equal(again(x), first)


@pytest.mark.parametrize("call", [lambda n: views(n, 8), lambda n: versions(n, 8), lambda n: draw_versions(n, 1, 8)])
def test_an_unknown_name(call) -> None:
    with pytest.raises(DataError, match="must be one of none, flip, shift_flip, crop_flip, dihedral, got 'cutout'"):
        call("cutout")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_masks_and_maps_take_the_versions_of_their_images(name: str) -> None:
    images = torch.randint(256, (30, 3, 16, 16), dtype=torch.uint8, generator=generator())
    draws = draw_versions(name, 30, 16, generator(1))
    got = apply_versions(images, draws, 16)
    assert torch.equal(apply_versions(images[:, 0], draws, 16), got[:, 0])
    assert torch.equal(apply_versions(images[:, :2].float(), draws, 16), got[:, :2].float())
