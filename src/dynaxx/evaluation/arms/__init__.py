"""The competitors ("arms") of the comparison: trained models for one task, one small file per arm.

Read `registry.py` first: it lists all arms. `train(task, run)` trains one arm with one seed into the folder `run.out`.
`load_arm` turns such a folder into a model again. Lightning is imported only when `Arm.train` is used.
"""

from dynaxx.evaluation.arms.models import TapMLP, TapProbe
from dynaxx.evaluation.arms.record import (
    BACKBONE,
    ArmRecord,
    is_trained,
    load_arm,
    load_probe,
    save_probe,
)
from dynaxx.evaluation.arms.registry import ARMS, BASELINE, EXPLICIT, IMPLICIT, Arm, arms_where, named
from dynaxx.evaluation.arms.task import LoggerFactory, Run, Task, TrainOptions, no_logger

__all__ = [
    "ARMS",
    "BACKBONE",
    "BASELINE",
    "EXPLICIT",
    "IMPLICIT",
    "Arm",
    "ArmRecord",
    "LoggerFactory",
    "Run",
    "TapMLP",
    "TapProbe",
    "Task",
    "TrainOptions",
    "arms_where",
    "is_trained",
    "load_arm",
    "load_probe",
    "named",
    "no_logger",
    "save_probe",
]
