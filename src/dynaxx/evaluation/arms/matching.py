"""Rivals of equal size: the rank at which an arm has as many live parameters as `explicit`."""

import warnings
from collections.abc import Callable

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.resonant import resonant
from dynaxx.evaluation.arms.task import Task

SIZE_TOLERANCE = 0.1
"""Relative difference in size above which a warning is given."""


def explicit_parameters(task: Task, seed: int) -> int:
    """Live parameters of the arm `explicit`: every coupling that exists reaches the output, so all of them."""
    return count_trainable(resonant(task, seed, mode="explicit"))


def matched_rank(build: Callable[[int], ResonantModel], target: int) -> int:
    """The rank whose model comes closest to `target` trainable parameters; they grow with the rank.

    Where it cannot come near, as taps have no more channels, a warning says so.

    Args:
        build: makes the model of a rank.
    """
    most = sum(build(1).built().channels)
    low, high = 1, most
    while low < high:  # the largest rank that does not exceed the target
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_trainable(build(middle)) <= target else (low, middle - 1)
    above = min(low + 1, most)
    sizes = {rank: count_trainable(build(rank)) for rank in (low, above)}
    rank = min(sizes, key=lambda rank: abs(sizes[rank] - target))
    warn_of_another_size(sizes[rank], target)
    return rank


def warn_of_another_size(found: int, target: int) -> None:
    """Warn where a rival has much fewer or more parameters than explicit, which it is to be as large as."""
    if abs(found - target) > SIZE_TOLERANCE * target:
        warnings.warn(
            f"a rival of explicit's {target:,} parameters comes no nearer than {found:,}: they are not of equal size",
            stacklevel=3,
        )


def count_trainable(model: ResonantModel) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.trainable_parameters())
