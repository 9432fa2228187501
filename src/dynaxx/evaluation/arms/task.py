"""The input of every arm: one `Task` and one `TrainOptions` for all arms, and a `Run` per arm and seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dynaxx.data import LabelledImages, Normalisation, draw

if TYPE_CHECKING:
    from dynaxx.training.fit import TrainerFactory


LoggerFactory = Callable[[], Any]
"""Opens the live MLflow run of one arm and seed as a Lightning logger; False logs nothing."""

Notes = dict[str, float | int | str]
"""Additional facts about a trained arm, for example its rank."""


def no_logger() -> bool:
    """The logger factory of a run that is not logged."""
    return False


@dataclass(frozen=True)
class Run:
    """One training run of one arm.

    Example: `Run(seed=0, out=Path("arm/seed-0"), checkpoints=Path("work"))` trains without a log.

    Attributes:
        seed: seed of the initialisation, the order and the split.
        out: folder for the trained arm.
        checkpoints: folder for the checkpoints of this run alone; training resumes from them.
        logger: opens the live log; called only by arms that train in epochs.
    """

    seed: int
    out: Path
    checkpoints: Path
    logger: LoggerFactory = no_logger


@dataclass(frozen=True)
class TrainOptions:
    """The training budget of every arm that is trained by gradient descent."""

    epochs: int
    """Passes over the training images."""
    lr: float
    """Peak learning rate."""
    batch_size: int
    """Images per step, over all processes together; the learning rate does not scale with the number of processes."""
    weight_decay: float
    """Weight decay of couplings, gates and student."""
    residual_penalty: float
    """Weight of the residual in the loss of arms that run the loop."""
    residual_share: float
    """Share of each batch on which that residual is computed."""
    label_smoothing: float
    """Label smoothing of the cross-entropy."""
    warmup: float
    """Share of the steps over which the strength rises from 0.01."""
    augmentation: str
    """One of `dynaxx.data.AUGMENTATIONS`; one with too many versions per image for a cache trains live."""
    patience: int
    """Epochs without a better validation accuracy after which training stops."""
    checkpoint_every: int
    """Epochs between two checkpoints."""
    cache_limit_gb: float
    """10⁹ bytes that all feature caches of this checkout may take together; 0 trains live, without one."""
    backbone_lr: float | None = None
    """Peak learning rate of the backbone in every arm trained on labels; None leaves it frozen. Trains live."""
    pretrained: str | None = None
    """Folder of an adapter saved before, from whose couplings the arm `explicit` starts; None starts at zero."""


@dataclass(frozen=True)
class Task:
    """One task on one frozen backbone.

    Attributes:
        backbone: makes a fresh copy of the trained network, frozen and in eval mode.
        fingerprint: checksum of the backbone and of the images; names the feature cache.
        images: all labelled images of the task; each seed draws its own training and validation part.
        normalisation: the one that the backbone was trained with.
        n_train: images to train on, before `imbalance` thins them; None takes all that n_val leaves.
        taps: module paths of the chosen layers, in depth order.
        resonance: options of `wrap_with_resonance`, except layers and num_classes.
        train: the budget.
        trainer: makes Lightning Trainers.
        probes: folder of the baseline arm, whose probe every new head starts from.
        cache: folder of feature caches.
        penalties: values of C among which a probe chooses on validation.
        head: "probe" if the task is new to the backbone, "own" if its own head predicts the classes already.
        imbalance: ratio of the largest to the smallest class in the training part; see `dynaxx.data.draw`.
    """

    backbone: Callable[[], nn.Module]
    fingerprint: str
    images: LabelledImages
    normalisation: Normalisation
    n_train: int | None
    n_val: int
    taps: Sequence[str]
    resonance: dict[str, Any]
    train: TrainOptions
    trainer: "TrainerFactory"
    probes: Path
    cache: Path
    head: str
    penalties: Sequence[float]
    imbalance: float = 1.0

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.images.classes)

    def split(self, seed: int) -> tuple[Tensor, Tensor]:
        """Indices of the training images and of the validation images of one seed."""
        return draw(self.images.labels, self.n_train, self.n_val, seed, self.imbalance)

    def example(self) -> Tensor:
        """One blank input."""
        return torch.zeros(1, *self.images.images.shape[1:])
