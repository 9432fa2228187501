"""The method that the published figures were made with, whatever the pipeline's own choices are now."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from omegaconf import DictConfig

from dynaxx.evaluation.arms import Task
from dynaxx.tasks import Classification
from pipelines.common.task import build_task

READOUT = "classifier"
"""What new heads read: the input of the backbone's classifier, whose place they take."""


@dataclass(frozen=True)
class Published(Classification):
    """Classification whose linear probes on taps read the mean of each channel, and not its deviation.

    >>> Published().probe_readout
    'mean'
    """

    probe_readout: ClassVar[str] = "mean"


def published_task(params: DictConfig, **options: Any) -> Task:
    """The task of params.yaml as `build_task` makes it, with the method of the published figures.

    >>> published_task(params, taps=[]).kind.probe_readout  # doctest: +SKIP
    'mean'

    Args:
        options: further arguments of `build_task`.

    Raises:
        ValueError: `params.task` is no classification.
    """
    task = build_task(params, **options)
    if not isinstance(task.kind, Classification):
        raise ValueError(f"task.kind={task.kind.name}: the experiments classify; give classification")
    kind = Published(task.kind.decides, task.kind.label_smoothing)
    return replace(task, kind=kind, resonance=task.resonance | {"readout": READOUT})
