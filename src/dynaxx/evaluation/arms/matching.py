"""Rivals of equal size: the rank at which an arm has as many live parameters as `explicit`."""

from collections.abc import Callable

from dynaxx.evaluation.arms.resonant import resonant
from dynaxx.evaluation.arms.task import Task
from dynaxx.resonance import ResonantModel


def explicit_parameters(task: Task, seed: int) -> int:
    """Live parameters of the arm `explicit`: every coupling that exists reaches the output, so all of them."""
    return trained(resonant(task, seed, mode="explicit"))


def matched_rank(build: Callable[[int], ResonantModel], target: int) -> int:
    """The rank whose model comes closest to `target` trainable parameters; they grow with the rank.

    Args:
        build: makes the model of a rank.
    """
    most = sum(build(1).built().channels)
    low, high = 1, most
    while low < high:  # the largest rank that does not exceed the target
        middle = (low + high + 1) // 2
        low, high = (middle, high) if trained(build(middle)) <= target else (low, middle - 1)
    above = min(low + 1, most)
    return min((low, above), key=lambda rank: abs(trained(build(rank)) - target))


def trained(model: ResonantModel) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.trainable_parameters())
