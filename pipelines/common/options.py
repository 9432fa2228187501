"""Options of several stages, read with one-line error messages."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dynaxx.evaluation.arms import arms_where


def listed(params: DictConfig, key: str) -> list[Any]:
    """The list at this dotted key; null is an empty list.

    >>> listed(params, "vary.rank")
    [8, 16, 32]

    Raises:
        ValueError: the value is not a list.
    """
    value = OmegaConf.select(params, key)
    if value is None:
        return []
    if not isinstance(value, ListConfig):
        raise ValueError(f"{key}={value!r}: give a list, as [{value}], or null")
    return list(value)


def rivals(params: DictConfig) -> Sequence[str]:
    """The names of the arms that are trained besides explicit.

    >>> rivals(params)
    ['direct', 'concat_probe', 'lora']

    Raises:
        ValueError: an arm that does not exist.
    """
    arms = listed(params, "train_arms.arms")
    known = arms_where(lambda arm: arm.stage == "train_arms")
    if unknown := sorted({str(arm) for arm in arms} - set(known)):
        raise ValueError(f"train_arms.arms: no arm {unknown[0]!r}; known are {', '.join(known)}")
    return arms
