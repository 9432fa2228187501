"""Options of several stages, read with one clear line for what is no such thing."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dynaxx.evaluation.arms import arms_where


def listed(params: DictConfig, key: str) -> list[Any]:
    """The list at this dotted key; null is an empty one.

    Raises:
        ValueError: another thing.
    """
    value = OmegaConf.select(params, key)
    if value is None:
        return []
    if not isinstance(value, ListConfig):
        raise ValueError(f"{key}={value!r}: give a list, as [{value}], or null")
    return list(value)


def rivals(params: DictConfig) -> Sequence[str]:
    """The arms that are trained besides explicit.

    Raises:
        ValueError: one that does not exist.
    """
    arms = listed(params, "train_arms.arms")
    known = arms_where(lambda arm: arm.stage == "train_arms")
    if unknown := sorted({str(arm) for arm in arms} - set(known)):
        raise ValueError(f"train_arms.arms: no arm {unknown[0]!r}; known are {', '.join(known)}")
    return arms
