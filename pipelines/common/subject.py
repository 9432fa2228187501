"""The subject of a pipeline: its data and backbone, with which the names of its MLflow runs begin."""

import re

from omegaconf import DictConfig


def subject(params: DictConfig) -> str:
    """Data and backbone in one word each.

    >>> subject(read_params())
    'digits/SmallResNet'
    """
    return f"{params.data.name}/{_backbone(params.model)}"


def _backbone(model: DictConfig) -> str:
    """The name of a library's model, else that of the network's class or function."""
    weights = str(model.weights)
    name = model.get("name") or (weights.removeprefix("timm:") if weights.startswith("timm:") else None)
    target = model.get("target") or (model.get("network") or {}).get("_target_") or "backbone"
    return str(name or re.split("[.:]", target)[-1])
