"""Which learning rate each arm did best with on validation, and whether better ones may lie beyond those tried."""

from collections.abc import Sequence
from typing import Any


def best_rates(trials: Sequence[dict[str, Any]], setting: str, prefix: str) -> str:
    """As a sentence's part: "`lora` 0.006 (the largest tried), …".

    Args:
        trials: what was seen on validation; conditions are called `prefix` and the rate.
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
