"""What a task wants of every model on it, where its options do not say: layers, readout and grid."""

from collections.abc import Mapping
from typing import Any

from dynaxx.backbone import TapReader, stages
from dynaxx.evaluation.arms.task import Task


def tapped(task: Task) -> list[str]:
    """The tapped layers; of a task whose taps are not chosen yet, the last layer that could be tapped."""
    return list(task.taps) or stages(task.backbone(), ((task.example(),), {}))[-1:]


def readout_of(task: Task, options: Mapping[str, Any]) -> str:
    """How heads read the taps: as the options say, else as the task's kind wants.

    >>> readout_of(task, {"T": 4})
    'moments'
    """
    if options.get("readout") is not None:
        return str(options["readout"])
    own = task.head != "probe" or options.get("dynamics") == "reentrant"
    return "classifier" if own else task.kind.readout


def with_readout(task: Task, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of resonance, with the readout and the grid that the task's kind wants where they give none.

    >>> with_readout(task, {"T": 4})["readout"]
    'moments'
    """
    options, stride = dict(options), task.kind.stride
    options["readout"] = readout_of(task, options)
    if options.get("grid") is None and stride is not None and _is_map(task, tapped(task)[-1]):
        height, width = task.images.images.shape[-2:]
        options["grid"] = max(1, height // stride), max(1, width // stride)
    return options


def _is_map(task: Task, layer: str) -> bool:
    """Whether a layer's activation is a map, for which messages can live on another grid."""
    (activation,) = TapReader(task.backbone(), [layer])(task.example())
    return activation.ndim == 4
