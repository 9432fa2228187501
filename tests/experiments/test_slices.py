"""Slices, their coarse labels, and crops."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from dynaxx.data import DataError, Normalisation
from experiments.tasks.membrane.slices import SliceData, density, read_slices
from experiments.tasks.membrane.task import intersection_over_union, slices


def write_zip(path, count=3, side=32, seed=0):
    """`count` slices whose images are their labels, with noise."""
    generator = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            label = np.where(generator.random((side, side)) < 0.3 + 0.1 * (number % 3), 0, 255).astype(np.uint8)
            label = label.repeat(4, 0).repeat(4, 1)[:side, :side]
            image = np.clip(label * 0.5 + generator.normal(60, 20, label.shape), 0, 255).astype(np.uint8)
            for kind, pixels in (("image", image), ("label", label)):
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "png")
                archive.writestr(f"membrane/{kind}/{number}.png", data.getvalue())
    return path


def test_slices_come_in_the_order_of_their_numbers(tmp_path):
    images, labels = read_slices(write_zip(tmp_path / "s.zip", count=11))
    assert images.shape == (11, 1, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.unique().tolist() == [0, 1]
    # membranes are the dark pixels of the label, and of the image
    assert images[:, 0][labels == 1].float().mean() < images[:, 0][labels == 0].float().mean()
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        tenth = np.array(Image.open(io.BytesIO(archive.read("membrane/image/10.png"))))
    assert (images[10, 0].numpy() == tenth).all()


def test_slices_may_lie_in_any_folder_or_in_none(tmp_path):
    write_zip(tmp_path / "s.zip")
    with zipfile.ZipFile(tmp_path / "s.zip") as deep, zipfile.ZipFile(tmp_path / "flat.zip", "w") as flat:
        for name in deep.namelist():
            flat.writestr(name.removeprefix("membrane/"), deep.read(name))
    for one, other in zip(read_slices(tmp_path / "s.zip"), read_slices(tmp_path / "flat.zip"), strict=True):
        assert one.equal(other)


def test_too_few_slices_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"s\.zip: 3 slices; the dense task takes 30"):
        slices(str(write_zip(tmp_path / "s.zip")))


def test_slices_of_two_sizes_are_one_line(tmp_path):
    path = write_zip(tmp_path / "s.zip")
    with zipfile.ZipFile(write_zip(tmp_path / "other.zip", side=48)) as other, zipfile.ZipFile(path, "a") as archive:
        for kind in ("image", "label"):
            archive.writestr(f"membrane/{kind}/9.png", other.read(f"membrane/{kind}/0.png"))
    with pytest.raises(DataError, match="not all of one size"):
        read_slices(path)


@pytest.mark.parametrize(
    "content", [None, b"no zip", {"membrane/image/0.png": b"no png"}, {"a/b.png": b""}, {"image/x.png": b""}]
)
def test_what_is_no_zip_of_slices_is_one_line(tmp_path, content):
    path = tmp_path / "s.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    with pytest.raises(DataError, match=r"s\.zip: no \.zip of image/K\.png and label/K\.png"):
        read_slices(path)


def test_density_tells_thirds_of_blocks_and_is_the_same_within_one():
    labels = torch.zeros(1, 32, 48, dtype=torch.int64)
    labels[0, :16, :16] = 1
    labels[0, :8, 16:32] = 1
    third = density(labels)
    blocks = third.reshape(1, 2, 16, 3, 16)
    assert torch.equal(blocks.amin((2, 4)), blocks.amax((2, 4)))
    assert third[0, 0, 0] == 2
    assert third[0, 31, 47] == 0
    with pytest.raises(DataError, match="slices of 30 x 48 pixels; both must be multiples of 16"):
        density(labels[:, :30])


def test_crops_depend_on_the_seed_alone_and_keep_image_and_label_together():
    labels = (torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(0)) < 0.5).long()
    images = (labels * 200).to(torch.uint8)[:, None]

    def epochs(seed):
        data = SliceData(
            (images, labels), (images, labels), Normalisation((0.0,), (1.0,)), size=16, count=8, batch=4, seed=seed
        )
        return [list(data.train_dataloader()) for _ in range(2)], list(data.val_dataloader())

    (first, second), whole = epochs(0)
    assert [len(y) for _, y in first] == [4, 4]
    for x, y in [*first, *second, *whole]:
        assert torch.equal((x[:, 0] * 255).round().long(), y * 200)
    (again, _), _ = epochs(0)
    (other, _), _ = epochs(1)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))
    assert whole[0][0].shape == (1, 1, 40, 40)


def test_intersection_over_union():
    found, labels = torch.tensor([[[1, 1], [0, 0]]]), torch.tensor([[[1, 0], [1, 0]]])
    assert intersection_over_union(found, labels).tolist() == pytest.approx([1 / 3])
