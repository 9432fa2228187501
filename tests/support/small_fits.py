"""A fit that takes seconds: images whose class can be seen, a small network, a few epochs."""

from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from dynaxx import wrap_with_resonance
from dynaxx.data import ImageData, LabelledImages, Normalisation
from dynaxx.tasks import Classification
from dynaxx.training.callbacks import ResidualGuard, StrengthWarmup
from dynaxx.training.fit import fit
from dynaxx.training.resonance_module import ResonanceModule
from dynaxx.training.small_resnet import SmallResNet

TRAINER = partial(pl.Trainer, accelerator="cpu", devices=1, deterministic=True)


def images(count: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    pixels = torch.randint(90, (count, 1, 8, 8), generator=generator)
    pixels[:, 0, :, :3] += 80 * labels[:, None, None]  # the class can be seen
    return LabelledImages(pixels.to(torch.uint8), labels, ("a", "b", "c"))


def data() -> ImageData:
    return ImageData(
        images(48),
        images(24),
        normalisation=Normalisation((0.4,), (0.2,)),
        batch_size=16,
        augmentation="crop_flip",
        seed=3,
    )


def model():
    torch.manual_seed(7)
    made = wrap_with_resonance(
        SmallResNet(3, 1, (4, 6, 8), 1),
        [1, 2, 3],
        rank=3,
        T=3,
        num_classes=3,
        example_input=torch.zeros(1, 1, 8, 8),
    )
    made.fit_statistics(data().train_dataloader())
    return made


def module() -> ResonanceModule:
    return ResonanceModule(model(), Classification(), lr=0.02)


def run(folder: Path, *more: Callback) -> ResonanceModule:
    torch.set_num_threads(1)
    made = module()
    fit(
        made,
        data(),
        trainer=TRAINER,
        checkpoints=folder,
        epochs=6,
        patience=6,
        seed=3,
        callbacks=[ResidualGuard(), StrengthWarmup(0.5), *more],
    )
    return made
