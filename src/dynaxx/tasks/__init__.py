"""Task kinds: what a label is, which head, loss and metric go with it. One file per kind; `KINDS` lists them.

Nothing outside of this package asks which kind a task has.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dynaxx.tasks.anomaly import Anomaly
from dynaxx.tasks.choices import Choices
from dynaxx.tasks.classification import Classification
from dynaxx.tasks.kind import Kind, TaskError
from dynaxx.tasks.linear import Examples, LinearFit, LinearOptions, fit_logistic, fit_ridge
from dynaxx.tasks.metric import Metric
from dynaxx.tasks.placements import area, placement_influence, placements
from dynaxx.tasks.prompted_segmentation import PromptedSegmentation
from dynaxx.tasks.regression import Regression
from dynaxx.tasks.segmentation import Segmentation, upsampled

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Classification, Regression, Segmentation, PromptedSegmentation, Anomaly)
}
"""The kinds by name. `ordinal` and `language` come with the signals."""


FITTED = ("scale", "weights")
"""Fields of kinds that come from labels; nobody sets them."""


def kind_of(name: str, options: Mapping[str, Any] | None = None) -> Kind:
    """The kind of this name with its options.

    >>> kind_of("regression", {"unit": "mm"}).metric.unit
    'mm'

    Raises:
        TaskError: an unknown name, or an option that the kind does not have.
    """
    if name not in KINDS:
        raise TaskError(f"task.kind={name!r}: give one of {', '.join(KINDS)}")
    known = _options(KINDS[name])
    if unknown := [option for option in options or {} if option not in known]:
        raise TaskError(f"task.options.{unknown[0]}: {name} has no such option; it has {', '.join(known) or 'none'}")
    return KINDS[name](**dict(options or {}))


def options_of(kind: Kind) -> dict[str, Any]:
    """The options with which `kind_of` makes the same kind, as plain values.

    >>> options_of(kind_of("regression", {"unit": "mm"}))
    {'unit': 'mm'}
    """
    return {name: getattr(kind, name) for name in _options(type(kind))}


def _options(kind: type[Kind]) -> list[str]:
    made: Any = kind  # each kind is a dataclass, the base class is none
    return [field.name for field in fields(made) if field.name not in FITTED]


__all__ = [
    "KINDS",
    "Anomaly",
    "Choices",
    "Classification",
    "Examples",
    "Kind",
    "LinearFit",
    "LinearOptions",
    "Metric",
    "PromptedSegmentation",
    "Regression",
    "Segmentation",
    "TaskError",
    "area",
    "fit_logistic",
    "fit_ridge",
    "kind_of",
    "options_of",
    "placement_influence",
    "placements",
    "upsampled",
]
