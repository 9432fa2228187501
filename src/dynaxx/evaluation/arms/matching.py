"""Equal size: the rank at which an arm has as many parameters that affect its output as `explicit`."""

import warnings
from collections.abc import Callable

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.resonant import wrapped
from dynaxx.evaluation.arms.task import Task

SIZE_TOLERANCE = 0.1
"""Relative difference between two parameter counts above which a warning is given."""


def explicit_parameters(task: Task, seed: int) -> int:
    """Parameters of `explicit` that affect its output: all, as each existing coupling reaches the output."""
    return count_trainable(wrapped(task, seed, mode="explicit"))


def matched_rank(build: Callable[[int], ResonantModel], target: int) -> int:
    """The rank whose model comes closest to `target` trainable parameters; the count must grow with rank.

    >>> build = lambda rank: wrapped(task, seed=0, rank=rank)
    >>> matched_rank(build, target=count_trainable(build(4)))
    4

    Warns if no rank comes near `target`, for example because the tapped layers have too few channels.

    Args:
        build: function from a rank to the model with this rank.
    """
    most = sum(build(1).require_built().exchange.channels)
    low, high = 1, most
    while low < high:  # the largest rank that does not exceed the target
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_trainable(build(middle)) <= target else (low, middle - 1)
    above = min(low + 1, most)
    sizes = {rank: count_trainable(build(rank)) for rank in (low, above)}
    rank = min(sizes, key=lambda rank: abs(sizes[rank] - target))
    warn_of_another_size(sizes[rank], target)
    return rank


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
