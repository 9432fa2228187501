"""The arms that the stage `train_arms` can train, by name."""

from dynaxx.evaluation.arms import direct, explicit_t1
from dynaxx.evaluation.arms.probes import train_concat_probe

RIVALS = {"concat_probe": train_concat_probe, "explicit_T1": explicit_t1.train, "direct": direct.train}
"""Each takes (task, seed, out, checkpoints, logger)."""
