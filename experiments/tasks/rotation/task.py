"""Regression of an image's rotation angle on a frozen classifier: images, arms and errors.

Shapes: x_NCHW normalised images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import InterpolationMode, rotate

from dynaxx import ResonantModel
from dynaxx.backbone import Head, find_classifier
from dynaxx.data import normalise
from dynaxx.evaluation.arms import Task, direct
from dynaxx.evaluation.arms.linear import start_head
from dynaxx.evaluation.arms.resonant import wrapped
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features
from dynaxx.training.resonance_module import one_cycle
from experiments.findings import EXPLICIT

MAX_DEGREES = 45.0
"""Largest rotation in degrees, to either side."""
EPOCHS = 60


@dataclass(frozen=True)
class RotatedImages:
    """Rotated images, uint8 (N, C, H, W), and their angles, (N,), in units of `MAX_DEGREES`."""

    images: Tensor
    angles: Tensor

    @classmethod
    def of(cls, images: Tensor, seed: int) -> "RotatedImages":
        """Rotate each image by a uniformly drawn angle."""
        angles = 2 * torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) - 1
        pairs = zip(images, (MAX_DEGREES * angles).tolist(), strict=True)
        return cls(torch.stack([rotate(x, angle, InterpolationMode.BILINEAR) for x, angle in pairs]), angles)

    def part(self, index: Tensor) -> "RotatedImages":
        """The images with the numbers `index`."""
        return RotatedImages(self.images[index], self.angles[index])


def ridge(task: Task, seen: RotatedImages, taps: Sequence[str]) -> Head:
    """A ridge probe on the mean activations of `taps`, or without taps on the classifier's input."""
    backbone = task.backbone()
    classifier = None if taps else find_classifier(backbone, None)[0]
    read = pooled_features(backbone, list(taps), classifier, seen.images, task.normalisation)
    x_NF = torch.cat([read[name] for name in taps or [PENULTIMATE]], 1)
    fitted: Any = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 15))).fit(
        x_NF.numpy(), seen.angles.numpy()
    )
    scaler, line = fitted[0], fitted[1]
    head = Head(x_NF.shape[1], 1)
    found = {"weight": line.coef_[None], "bias": [line.intercept_], "mean": scaler.mean_, "std": scaler.scale_}
    head.load_state_dict({name: torch.as_tensor(np.asarray(value), dtype=torch.float) for name, value in found.items()})
    return head


def trained(task: Task, arm: str, seed: int, seen: RotatedImages, lr: float) -> ResonantModel:
    """`explicit`, or `direct` with as many parameters, trained from the probe of the same seed."""
    if arm == EXPLICIT:
        model = wrapped(task, seed, mode="explicit")
    else:
        rank = direct.sized_rank(task, seed)
        model = direct.build(task, seed, rank)
    start_head(task, seed, model)
    x_NCHW, budget = normalise(seen.images, task.normalisation), task.train
    model.fit_statistics(x_NCHW.split(budget.batch_size))
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr, weight_decay=budget.weight_decay)
    batches = len(x_NCHW) // budget.batch_size
    schedule = one_cycle(optimizer, lr, EPOCHS * batches)["lr_scheduler"]["scheduler"]
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(x_NCHW), generator=generator)
        for index in order.split(budget.batch_size)[:batches]:
            with model.observed() as agreements:
                loss = F.mse_loss(model(x_NCHW[index])[:, 0], seen.angles[index])
            if agreements[0].residual is not None:
                count = max(1, round(budget.residual_share * len(index)))
                loss = loss + budget.residual_penalty * agreements[0].residual(count).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def errors(model: nn.Module, held_out: RotatedImages, task: Task) -> Tensor:
    """Absolute errors in degrees, (N,)."""
    model.eval()
    return MAX_DEGREES * (model(normalise(held_out.images, task.normalisation))[:, 0] - held_out.angles).abs()
