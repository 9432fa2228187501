"""A deployment: one folder with all inference files: backbone and trained model as safetensors, other data as JSON."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynaxx.data import LabelledImages, Normalisation, normalise
from dynaxx.evaluation import EvaluationError
from dynaxx.evaluation.arms import load_arm
from dynaxx.files import write_text
from dynaxx.model import read_of
from dynaxx.tasks import Kind, kind_of, options_of
from dynaxx.training.pretrained import Backbone, untrained

if TYPE_CHECKING:
    import pandas as pd

METADATA, BACKBONE, ARM = "deployed.json", "backbone.safetensors", "arm"

IMAGES = "images"
"""Name of the images beside the sources."""


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
        classes: names of the classes or of the numbers, in the order of the outputs.
        kind: name of the task kind, which knows what an output means.
        options: options of the kind.
        sources: name → shape (c, H, W) of each further input of an image, such as a click.
    """

    model: dict[str, Any]
    num_classes: int | None
    image_shape: list[int]
    mean: list[float]
    std: list[float]
    classes: list[str]
    kind: str = "classification"  # what deployments were before they said so
    options: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, list[int]] = field(default_factory=dict)


class Deployed:
    """A trained model that answers for raw uint8 images.

    >>> Deployed(Path("deployment")).predict(images).argmax(1)
    tensor([3, 1])

    Args:
        folder: folder written by `write_deployment`.

    Raises:
        EvaluationError: files that are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.metadata = Metadata(**json.loads((folder / METADATA).read_text()))
            self.kind = kind_of(self.metadata.kind, self.metadata.options)
            config = OmegaConf.create(self.metadata.model)
            backbone = untrained(config, self.metadata.image_shape[0], self.metadata.num_classes)
            backbone.load_state_dict(load_file(folder / BACKBONE))
        except Exception as error:  # JSON, safetensors, torch and the network's own class each raise their own
            raise EvaluationError(f"{folder}: holds no deployed model ({' '.join(str(error).split())[:200]})") from None
        self.network: nn.Module = load_arm(folder / ARM, backbone.requires_grad_(False))

    @torch.no_grad()
    def predict(self, images: Tensor, sources: Mapping[str, Tensor] | None = None) -> Tensor:
        """What the model answers, by the kind of its task; on the CPU.

        - classes: the probability of each, (B, classes);
        - numbers: in the unit of the labels, (B, K);
        - masks: the probability of each class in each pixel, (B, K, H, W); of a single class, that of its presence;
        - anomalies: evidence per pixel, (B, 1, H, W), above 0 where a place is unusual.

        >>> deployed.predict(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).sum(1)
        tensor([1.])

        Args:
            images: pixels, uint8 (B, C, H, W).
            sources: name → a further input of each image, (B, c, H, W), of models that have any; one may be absent.

        Raises:
            EvaluationError: images or sources of another shape or type.
        """
        shape = tuple(self.metadata.image_shape)
        if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise EvaluationError(
                f"images have shape {tuple(images.shape)} and type {images.dtype}; "
                f"give uint8 (B, {', '.join(map(str, shape))})"
            )
        given = {name: self._source(name, value, len(images)) for name, value in (sources or {}).items()}
        x = normalise(images, Normalisation(tuple(self.metadata.mean), tuple(self.metadata.std)))
        read = read_of(self.network, given)  # an arm that reads no source is given none
        return self.kind.served(self.network(x, sources=read) if read else self.network(x))

    def _source(self, name: str, given: Tensor, count: int) -> Tensor:
        shapes = self.metadata.sources
        if name not in shapes:
            raise EvaluationError(f"sources: {name!r} is none of the model's: {', '.join(shapes) or 'it has none'}")
        if tuple(given.shape) != (count, *shapes[name]):
            raise EvaluationError(
                f"sources[{name!r}] has shape {tuple(given.shape)}; give ({count}, {', '.join(map(str, shapes[name]))})"
            )
        return given.float()


def answers(deployed: Deployed, asked: Any) -> "NDArray[np.float32] | pd.DataFrame":
    """Answers to images in NumPy, for servers: a table with a named column per class or number, or maps.

    >>> answers(deployed, np.zeros((1, 3, 32, 32), np.uint8)).columns.tolist()
    ['cat', 'dog']

    Args:
        asked: images, uint8 (B, C, H, W); or name → array with the images under `IMAGES` and sources under their names.

    Raises:
        EvaluationError: images or sources of another shape or type, or no images.
    """
    import pandas as pd

    given = dict(asked) if isinstance(asked, Mapping) else {IMAGES: asked}
    if IMAGES not in given:
        raise EvaluationError(f"{', '.join(given) or 'nothing'} is given; give the images under {IMAGES!r}")
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in given.items()}
    answered = deployed.predict(tensors.pop(IMAGES), tensors).numpy()
    return pd.DataFrame(answered, columns=deployed.metadata.classes) if answered.ndim == 2 else answered


def write_deployment(folder: Path, model: Any, backbone: Backbone, arm: Path, data: LabelledImages, kind: Kind) -> None:
    """Write a deployment, which `Deployed` reads.

    >>> arm = Path("outputs/explicit/explicit/seed-0")
    >>> write_deployment(Path("deployment"), params.model, backbone, arm, prepared.task(), Classification())

    Args:
        folder: folder that does not exist yet.
        model: section `model` of params.yaml.
        backbone: trained backbone.
        arm: folder of the trained model, a competitor (arm) of the comparison.
        data: images of the task, for their shape, the names of the classes, and the shapes of the sources.
        kind: the task kind.
    """
    folder.mkdir(parents=True)
    plain: Any = OmegaConf.to_container(model)
    mean, std = map(list, backbone.normalisation)
    metadata = Metadata(
        plain,
        backbone.num_classes,
        list(data.images.shape[1:]),
        mean,
        std,
        list(data.classes),
        kind=kind.name,
        options=options_of(kind),
        sources={name: list(given.shape[1:]) for name, given in data.sources.items()},
    )
    save_file({name: t.contiguous() for name, t in backbone.network.state_dict().items()}, folder / BACKBONE)
    shutil.copytree(arm, folder / ARM)
    write_text(folder / METADATA, json.dumps(asdict(metadata), indent=2) + "\n")
