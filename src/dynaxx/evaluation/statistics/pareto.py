"""Which arms nobody beats on both counts."""

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of each (cost, value) whether no other has as much value at no more cost, and is better in one of the two.

    Example: `front([(1, 0.5), (2, 0.7), (2, 0.6)])` is `[True, True, False]`.
    """
    return [
        not any(
            other_cost <= cost and other_value >= value and (other_cost, other_value) != (cost, value)
            for other_cost, other_value in points
        )
        for cost, value in points
    ]
