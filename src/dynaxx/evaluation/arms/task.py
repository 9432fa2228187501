"""The input of every arm: one `Task` and one `TrainOptions` for all arms, and one `Run` per arm and seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dynaxx.data import LabelledImages, Normalisation, draw_images
from dynaxx.tasks import Classification, Kind

if TYPE_CHECKING:
    from dynaxx.training.fit import TrainerFactory


LoggerFactory = Callable[[], Any]
"""Opens the live MLflow run of one arm and seed as a Lightning logger; False logs nothing."""

Notes = dict[str, float | int | str]
"""Additional facts about a trained arm, for example the rank of its adapter."""


def no_logger() -> bool:
    """The logger factory of a run that is not logged."""
    return False


@dataclass(frozen=True)
class Run:
    """One training run of one arm.

    Example: `Run(seed=0, out=Path("arm/seed-0"), checkpoints=Path("work"))` trains without a log.

    Attributes:
        seed: random seed of the initialisation, the image order and the training-validation split.
        out: folder for the trained arm.
        checkpoints: folder for the checkpoints of this run alone; training resumes from these checkpoints.
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
    """Peak learning rate of the schedule."""
    batch_size: int
    """Images per step, over all processes together; the learning rate does not scale with the number of processes."""
    weight_decay: float
    """Weight decay of couplings, gates and the distilled student."""
    residual_penalty: float
    """Loss weight of the loop's residual (distance to its fixed point), in arms that run the loop."""
    residual_share: float
    """Share of each batch on which the residual loss is computed."""
    warmup: float
    """Share of the training steps over which the message strength rises from 0.01."""
    augmentation: str
    """One of `dynaxx.data.AUGMENTATIONS`; too many versions per image rule out the feature cache."""
    patience: int
    """Number of epochs without a better accuracy on the validation images after which training stops."""
    checkpoint_every: int
    """Number of epochs between two saved checkpoints."""
    cache_limit_gb: float
    """Size limit in 10⁹ bytes of all feature caches of this checkout together; 0 trains without a cache."""
    backbone_lr: float | None = None
    """Peak backbone learning rate of arms trained on labels, without a cache; None freezes the backbone."""
    iterations: Sequence[int] | None = None
    """Least and most iterations, of which each step of the arm `explicit` draws one; None: always T."""
    pretrained: str | None = None
    """Folder of a saved adapter whose couplings initialise the arm `explicit`; None starts at zero."""


@dataclass(frozen=True)
class Task:
    """One task on one frozen backbone.

    Attributes:
        kind: the task kind.
        backbone: makes a fresh copy of the trained network, frozen and in eval mode.
        fingerprint: checksum of backbone and images; part of the names of stores and caches.
        variant: in which way `backbone` has layers of other names; part of the names of caches and fits.
        images: all labelled images of the task; each seed draws its own training and validation images.
        normalisation: channel mean and deviation with which the backbone was trained.
        n_train: number of training images, before `imbalance` thins them; None takes all except validation images.
        taps: module paths of the tapped layers, in depth order.
        candidates: module paths of all layers that could be tapped, in depth order.
        resonance: options of `wrap_with_resonance`, except layers and num_classes; a `readout` of None is the kind's.
        train: the training budget of all arms.
        trainer: makes Lightning Trainers.
        probes: folder of the arm `baseline`, whose linear probe initialises every new head.
        cache: folder of feature caches.
        penalties: values of the inverse regularisation C; a probe keeps the best on the validation images.
        head: "own" if the backbone's own head already gives the task's answers, else "probe".
        imbalance: ratio of the largest to the smallest class in the training images; see `dynaxx.data.draw`.
        rare: class → share of its training images that is kept.
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
    kind: Kind = field(default_factory=Classification)
    candidates: Sequence[str] = ()
    imbalance: float = 1.0
    rare: Mapping[str, float] | None = None
    variant: str = ""

    @property
    def outputs(self) -> int:
        """Number of outputs of a new head."""
        return self.kind.outputs(self.images)

    def split(self, seed: int) -> tuple[Tensor, Tensor]:
        """Indices of the training images and of the validation images of one seed."""
        return draw_images(self.images, self.n_train, self.n_val, seed, self.imbalance, self.rare)

    def kinds(self, seed: int) -> tuple[Kind, Kind]:
        """The kind for the training images of one seed, and the one that judges its validation images."""
        train, val = self.split(seed)
        fitted = self.kind.fitted(self.images.labels[train])
        return fitted, fitted.judging(self.images.labels[val])

    def example(self) -> Tensor:
        """One blank input image, as a batch; it reveals the shapes of activations."""
        return torch.zeros(1, *self.images.images.shape[1:])
