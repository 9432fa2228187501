"""Equal size: the rank at which an arm has as many parameters that affect its output as `explicit`."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.resonant import wrapped
from dynaxx.evaluation.arms.task import Task
from dynaxx.model import Adapter

SIZE_TOLERANCE = 0.1
"""Relative difference between two parameter counts above which a warning is given."""


def explicit_parameters(task: Task, seed: int) -> int:
    """Parameters of `explicit` that affect its output: all, as each existing coupling reaches the output."""
    return count_trainable(wrapped(task, seed, mode="explicit"))


def matched_rank(
    model: ResonantModel,
    target: int,
    options: Mapping[str, Any] | None = None,
    *,
    per_rank: Mapping[str, int] | None = None,
) -> int:
    """The rank at which a model like this one comes closest to `target` trainable parameters.

    >>> model = wrapped(task, seed=0, mode="explicit")
    >>> matched_rank(model, count_trainable(model)) == model.config.rank
    True

    Only parameters are made for each rank that is tried; the backbone does not run. Warns if no rank comes near
    `target`, for example because the tapped layers have too few channels.

    Args:
        model: a model on the same taps.
        target: number of parameters.
        options: options of `wrap_with_resonance` in which the sized model differs.
        per_rank: options that grow with the rank, and by how much per unit of it.
    """

    def size(rank: int) -> int:
        grown = {name: factor * rank for name, factor in (per_rank or {}).items()}
        return adapter_size(model, **{**(options or {}), **grown, "rank": rank})

    most = sum(model.require_built().exchange.channels)
    low, high = 1, most
    while low < high:  # the largest rank that does not exceed the target
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(middle) <= target else (low, middle - 1)
    sizes = {rank: size(rank) for rank in (low, min(low + 1, most))}
    rank = min(sizes, key=lambda rank: abs(sizes[rank] - target))
    warn_of_another_size(sizes[rank], target)
    return rank


def adapter_size(model: ResonantModel, **options: Any) -> int:
    """Number of trainable parameters that the model would have with other options, on the same taps.

    >>> adapter_size(model, rank=8)  # doctest: +SKIP
    8872
    """
    config = dataclasses.replace(model.config, **options)
    adapter = Adapter(model.backbone, model.paths, config)
    adapter.build_from(model.adapter.taps)
    return sum(parameter.numel() for parameter in adapter.parameters() if parameter.requires_grad)


def warn_of_another_size(size: int, target: int) -> None:
    """Warn if the parameter counts of an arm and `explicit` differ by more than `SIZE_TOLERANCE`."""
    if abs(size - target) > SIZE_TOLERANCE * target:
        warnings.warn(
            f"a rival of explicit's {target:,} parameters comes no nearer than {size:,}: they are not of equal size",
            stacklevel=3,
        )


def count_trainable(model: ResonantModel) -> int:
    """Number of trainable parameters of a model."""
    return sum(parameter.numel() for parameter in model.trainable_parameters())
