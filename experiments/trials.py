"""Validation scores of the trials that settings were chosen by: one row per setting, condition and arm."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dynaxx.evaluation.arms import ArmRecord
from experiments.job import Job

Trials = list[dict[str, Any]]
"""Rows of experiments/results/tried.json."""


def validation_scores(jobs: Iterable[Job], root: Path, before: Trials) -> Trials:
    """Validation scores of the tuning seeds, their mean per condition and arm, merged into those of `before`."""
    rows: dict[tuple[str, str, str], list[float]] = {}
    for job in jobs:
        if job.condition and job.done(root):
            record = ArmRecord.read(job.folder(root))
            score = record.notes.get("iou", record.val_score)
            rows.setdefault((job.setting, job.condition, job.arm), []).append(float(score))
    merged = {(row["setting"], row["condition"], row["arm"]): row for row in before}
    for (setting, condition, arm), scores in rows.items():
        mean = float(np.mean(scores))
        merged[setting, condition, arm] = {
            "setting": setting,
            "condition": condition,
            "arm": arm,
            "seeds": len(scores),
            "score": mean,
        }
    return list(merged.values())
