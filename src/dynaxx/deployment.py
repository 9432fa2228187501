"""A deployment: one folder with all inference files: backbone and trained model as safetensors, other data as JSON."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynaxx.data import Manifest, Normalisation, normalise
from dynaxx.evaluation import EvaluationError
from dynaxx.evaluation.arms import load_arm
from dynaxx.files import write_text
from dynaxx.training.pretrained import Backbone, untrained

METADATA, BACKBONE, ARM = "deployed.json", "backbone.safetensors", "arm"


@dataclass(frozen=True)
class Metadata:
    """The description of a deployment, besides the weights.

    >>> Deployed(Path("deployment")).metadata.classes[:2]
    ['cat', 'dog']

    Attributes:
        model: section `model` of params.yaml, which names the backbone's class.
        num_classes: number of classes of a backbone that was trained here; None for a user's backbone.
        image_shape: shape (C, H, W) of the input images.
        mean, std: mean and standard deviation per channel, for normalisation.
        classes: names of the classes, in the order of the logits.
    """

    model: dict[str, Any]
    num_classes: int | None
    image_shape: list[int]
    mean: list[float]
    std: list[float]
    classes: list[str]


class Deployed:
    """A trained model that predicts classes from raw uint8 images.

    >>> Deployed(Path("deployment")).probabilities(images).argmax(1)
    tensor([3, 1])

    Args:
        folder: folder written by `write_deployment`.

    Raises:
        EvaluationError: files that are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.metadata = Metadata(**json.loads((folder / METADATA).read_text()))
            config = OmegaConf.create(self.metadata.model)
            backbone = untrained(config, self.metadata.image_shape[0], self.metadata.num_classes)
            backbone.load_state_dict(load_file(folder / BACKBONE))
        except Exception as error:  # JSON, safetensors, torch and the network's own class each raise their own
            raise EvaluationError(f"{folder}: holds no deployed model ({' '.join(str(error).split())[:200]})") from None
        self.network: nn.Module = load_arm(folder / ARM, backbone.requires_grad_(False))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities of all classes, (B, classes).

        >>> deployed.probabilities(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).sum(1)
        tensor([1.])

        Args:
            images: pixels, uint8 (B, C, H, W).

        Raises:
            EvaluationError: images of another shape or type.
        """
        shape = tuple(self.metadata.image_shape)
        if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise EvaluationError(
                f"images have shape {tuple(images.shape)} and type {images.dtype}; "
                f"give uint8 (B, {', '.join(map(str, shape))})"
            )
        normalisation = Normalisation(tuple(self.metadata.mean), tuple(self.metadata.std))
        return self.network(normalise(images, normalisation)).softmax(1)


def write_deployment(folder: Path, model: Any, backbone: Backbone, arm: Path, manifest: Manifest) -> None:
    """Write a deployment, which `Deployed` reads.

    >>> write_deployment(Path("deployment"), params.model, backbone, Path("outputs/explicit/explicit/seed-0"), manifest)

    Args:
        folder: folder that does not exist yet.
        model: section `model` of params.yaml.
        backbone: trained backbone.
        arm: folder of the trained model, a competitor (arm) of the comparison.
        manifest: manifest of the prepared data, for the images' shape and the names of the classes.
    """
    folder.mkdir(parents=True)
    plain: Any = OmegaConf.to_container(model)
    shape, classes = list(manifest.image_shape), list(manifest.classes)
    mean, std = map(list, backbone.normalisation)
    metadata = Metadata(plain, backbone.num_classes, shape, mean, std, classes)
    save_file({name: t.contiguous() for name, t in backbone.network.state_dict().items()}, folder / BACKBONE)
    shutil.copytree(arm, folder / ARM)
    write_text(folder / METADATA, json.dumps(asdict(metadata), indent=2) + "\n")
