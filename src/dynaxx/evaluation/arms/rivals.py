"""The arms that the stage `train_arms` can train, by name."""

from collections.abc import Callable

from dynaxx.evaluation.arms import direct, explicit_t1, stability
from dynaxx.evaluation.arms.probes import train_concat_probe

RIVALS: dict[str, Callable[..., None]] = {
    "concat_probe": train_concat_probe,
    "explicit_T1": explicit_t1.train,
    "direct": direct.train,
    "explicit_monitored": stability.train_monitored,
    "explicit_certified": stability.train_certified,
}
"""Each takes (task, seed, out, checkpoints, logger)."""
