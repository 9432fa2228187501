"""The arms that the stage `train_arms` can train, by name."""

from collections.abc import Callable

from dynaxx.evaluation.arms import concat_mlp, direct, explicit_t1, full_finetune, last_tap_only, lora
from dynaxx.evaluation.arms.linear_probes import train_concat_probe
from dynaxx.evaluation.arms.variants import VARIANTS

CONVERGED = ("concat_probe",)
"""Those that are fitted until they converge, and have no learning rate."""

RIVALS: dict[str, Callable[..., None]] = {
    "concat_probe": train_concat_probe,
    "concat_mlp": concat_mlp.train,
    "lora": lora.train,
    "full_finetune": full_finetune.train,
    "last_tap_only": last_tap_only.train,
    "explicit_T1": explicit_t1.train,
    "direct": direct.train,
} | VARIANTS
"""Each takes (task, seed, out, checkpoints, logger)."""
