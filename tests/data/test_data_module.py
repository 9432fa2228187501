from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from dynaxx.data import DataError, ImageData, LabelledImages, Normalisation, apply_versions, normalise
from dynaxx.data.augment import draw_versions

NORMALISATION = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.0))


def make(count: int) -> LabelledImages:
    """Distinct random images; the label is the image number."""
    images = torch.randint(
        0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(count)
    )
    return LabelledImages(images, torch.arange(count), tuple(map(str, range(50))))


TRAIN, VAL = make(50), make(11)


def data(augmentation: str = "crop_flip", **options) -> ImageData:
    defaults = {"normalisation": NORMALISATION, "batch_size": 16, "seed": 5}
    return ImageData(TRAIN, VAL, augmentation=augmentation, **(defaults | options))


def epoch(loader) -> tuple[Tensor, Tensor]:
    batches = list(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def by_image(x: Tensor, y: Tensor) -> Tensor:
    return x[y.argsort()]


def test_plain_batches() -> None:
    loader = data("none").train_dataloader()
    assert [len(y) for _, y in loader] == [16, 16, 16, 2]
    x, y = epoch(loader)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert torch.equal(by_image(x, y), normalise(TRAIN.images, NORMALISATION))
    assert y.tolist() != list(range(50))


def test_validation_is_in_order_and_unaugmented() -> None:
    x, y = epoch(data().val_dataloader())
    assert y.tolist() == list(range(11))
    assert torch.equal(x, normalise(VAL.images, NORMALISATION))


@pytest.mark.parametrize("augmentation", ["flip", "crop_flip"])
def test_augmented_batches_are_versions_of_the_images(augmentation: str) -> None:
    loader = data(augmentation).train_dataloader()
    possible = [
        normalise(apply_versions(TRAIN.images, torch.tensor([[top, left, flip]]).repeat(50, 1), 16), NORMALISATION)
        for top in range(5)
        for left in range(5)
        for flip in range(2)
        if augmentation == "crop_flip" or (top, left) == (2, 2)
    ]
    seen = set()
    for _ in range(4):
        x = by_image(*epoch(loader))
        for i in range(50):
            matches = [n for n, version in enumerate(possible) if torch.equal(version[i], x[i])]
            assert len(matches) == 1
            seen.add(matches[0])
    assert len(seen) > 0.8 * len(possible)


def test_the_seed_decides_order_and_versions_whatever_the_global_one() -> None:
    torch.manual_seed(1)
    first = epoch(data().train_dataloader())
    torch.manual_seed(2)
    again = epoch(data().train_dataloader())
    other = epoch(data(seed=6).train_dataloader())
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(by_image(*first), by_image(*other))


def test_drawing_leaves_the_global_generator_alone() -> None:
    loader = data().train_dataloader()
    torch.manual_seed(1)
    batches = iter(loader)  # the DataLoader itself draws a base seed for workers here
    state = torch.get_rng_state()
    list(batches)
    assert torch.equal(torch.get_rng_state(), state)


def test_epochs_differ_and_can_be_taken_up_again() -> None:
    loader = data().train_dataloader()
    epochs = [epoch(loader) for _ in range(3)]
    assert not torch.equal(epochs[0][1], epochs[1][1])
    assert not torch.equal(by_image(*epochs[0]), by_image(*epochs[1]))
    resumed = data().train_dataloader()
    resumed.sampler.set_epoch(2)
    assert torch.equal(epoch(resumed)[0], epochs[2][0])


def test_versions_depend_neither_on_batch_size_nor_on_workers() -> None:
    wanted = epoch(data().train_dataloader())
    for options in ({"batch_size": 7}, {"num_workers": 2}):
        got = epoch(data(**options).train_dataloader())
        assert torch.equal(got[0], wanted[0])
        assert torch.equal(got[1], wanted[1])


def test_images_of_unequal_sides() -> None:
    wide = LabelledImages(torch.cat([TRAIN.images, TRAIN.images], dim=3), TRAIN.labels, TRAIN.classes)
    x, _ = epoch(
        ImageData(wide, wide, normalisation=NORMALISATION, batch_size=9, augmentation="crop_flip").train_dataloader()
    )
    assert x.shape == (50, 3, 16, 32)
    assert draw_versions("crop_flip", 500, 16)[:, :2].max() == 4


class _Recorder(pl.LightningModule):
    """The least that Lightning fits; it keeps the labels of every training step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 50)
        self.seen: list[list[int]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        self.seen.append(y.tolist())
        return torch.nn.functional.cross_entropy(self.layer(x.mean((2, 3))), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        assert batch[0].shape[1:] == (3, 16, 16)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(epochs: int, tmp_path, resume=None) -> tuple[_Recorder, pl.Trainer]:
    model = _Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, data(), ckpt_path=resume)
    return model, trainer


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_under_lightning_a_resumed_run_goes_on_with_the_same_batches(tmp_path) -> None:
    straight, _ = fit(3, tmp_path)
    first, trainer = fit(1, tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    rest, _ = fit(3, tmp_path, resume=tmp_path / "last.ckpt")
    assert first.seen + rest.seen == straight.seen
    assert len({str(straight.seen[i : i + 4]) for i in (0, 4, 8)}) == 3


@pytest.mark.parametrize(
    ("train", "val", "options", "message"),
    [
        (TRAIN.subset([]), VAL, {}, "the training part has no images"),
        (TRAIN, VAL.subset([]), {}, "the validation part has no images"),
        (TRAIN, replace(VAL, classes=tuple("abcdefghijk")), {}, "same classes"),
        (TRAIN, replace(VAL, images=VAL.images[..., :8]), {}, "same classes and image shape"),
        (TRAIN, VAL, {"batch_size": 0}, "batch_size must be at least 1"),
        (TRAIN, VAL, {"num_workers": -1}, "num_workers and seed at least 0"),
        (TRAIN, VAL, {"seed": -1}, "num_workers and seed at least 0"),
        (TRAIN, VAL, {"augmentation": "mixup"}, "augmentation must be one of"),
        (TRAIN, VAL, {"normalisation": NORMALISATION._replace(mean=(0.1,))}, "must have 3 channels"),
        (TRAIN, VAL, {"normalisation": NORMALISATION._replace(std=(float("nan"), 1, 1))}, "must be finite"),
    ],
)
def test_bad_input(train, val, options, message) -> None:
    with pytest.raises(DataError, match=message):
        ImageData(train, val, **({"normalisation": NORMALISATION, "batch_size": 4} | options))


def test_other_files_are_free_of_lightning() -> None:
    import subprocess
    import sys

    program = (
        "import sys, dynaxx.data; "
        "sys.exit(any(name in sys.modules for name in ('lightning', 'torchvision', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_masks_and_sources_are_augmented_as_their_images_are() -> None:
    masks = TRAIN.images[:, 0] // 64
    given = replace(TRAIN, labels=masks, classes=tuple("abcd"), sources={"click": TRAIN.images[:, :1]})
    for augmentation in ("none", "crop_flip", "dihedral"):
        plain = Normalisation((0.0,) * 3, (1 / 255,) * 3)
        loader = ImageData(given, given, normalisation=plain, batch_size=16, augmentation=augmentation)
        for x, y, sources in loader.train_dataloader():
            assert (y.dtype, sources["click"].dtype) == (torch.int64, torch.float32)
            assert torch.equal(x[:, 0].round().long() // 64, y)
            assert torch.equal(x[:, :1].round(), sources["click"])


def test_numbers_pass_as_they_are() -> None:
    numbers = replace(TRAIN, labels=torch.rand(50, 2), classes=("width", "height"))
    _, y = next(iter(ImageData(numbers, numbers, normalisation=NORMALISATION, batch_size=50).val_dataloader()))
    assert torch.equal(y, numbers.labels)


def test_parts_of_other_kinds_and_turns_of_what_is_not_square() -> None:
    numbers = replace(TRAIN, labels=torch.rand(50, 50))
    with pytest.raises(DataError, match="the same kind of labels and the same sources"):
        ImageData(numbers, VAL, normalisation=NORMALISATION, batch_size=4)
    oblong = replace(TRAIN, images=TRAIN.images[..., :8])
    with pytest.raises(DataError, match=r"augmentation dihedral needs square images, got \(16, 8\)"):
        ImageData(oblong, oblong, normalisation=NORMALISATION, batch_size=4, augmentation="dihedral")
