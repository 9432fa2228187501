"""The best learning rate of each arm on validation, and whether it lies at an end of the range tried."""

from collections.abc import Sequence
from typing import Any


def best_rates(trials: Sequence[dict[str, Any]], setting: str, prefix: str) -> str:
    """The best rates in words: "`lora` 0.006 (the largest tried), …".

    >>> best_rates([{"setting": "coarse", "condition": "lr-0.006", "arm": "lora", "score": 0.7}], "coarse", "lr-")
    '`lora` 0.006 (the smallest tried)'

    Args:
        trials: validation scores.
        setting: setting of the trials.
        prefix: prefix of the conditions; the rest of their names is the rate.
    """
    by_arm: dict[str, dict[float, float]] = {}
    for entry in trials:
        if entry["setting"] == setting and entry["condition"].startswith(prefix):
            by_arm.setdefault(entry["arm"], {})[float(entry["condition"].removeprefix(prefix))] = entry["score"]
    return ", ".join(f"`{arm}` {_best(scores)}" for arm, scores in by_arm.items())


def _best(scores: dict[float, float]) -> str:
    rate = min(scores, key=lambda rate: (-scores[rate], rate))  # the smaller of equals
    edges = {max(scores): "the largest", min(scores): "the smallest"}
    return f"{rate:g}" + (f" ({edges[rate]} tried)" if rate in edges else "")
