"""Pareto front: the points that no other point beats on both cost and value."""

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each (cost, value) is on the Pareto front: no other point is as good on both and better on one.

    Example: `front([(1, 0.5), (2, 0.7), (2, 0.6)])` is `[True, True, False]`.
    """
    return [
        not any(
            other_cost <= cost and other_value >= value and (other_cost, other_value) != (cost, value)
            for other_cost, other_value in points
        )
        for cost, value in points
    ]
