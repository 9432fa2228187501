"""Mean gate value of every coupling (map between two tapped layers), per class where there are classes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.evaluation.predict import AnchorSource

ALL = "all"
"""The one class of images that have none."""


@dataclass(frozen=True)
class GateOpening:
    """Mean gate of one coupling per class; a gate in (0, 2) scales the coupling's messages."""

    target: str
    source: str
    per_class: dict[str, float]
    """Class → mean gate over the images of the class; `ALL` → that over all images where there are no classes."""


@torch.no_grad()
def gate_openings(
    model: ResonantModel, anchors: AnchorSource, labels: Tensor | None, classes: tuple[str, ...]
) -> list[GateOpening]:
    """Mean gate of every coupling per image class; an empty list for a model without gates.

    >>> list(gate_openings(model, live(images), labels, ("cat", "dog"))[0].per_class)
    ['cat', 'dog']

    Args:
        model: trained model of the arm `explicit`.
        anchors: function that gives the anchors of the N test images.
        labels: class numbers (N,), on the CPU; classes without images are left out. None if there are no classes.
    """
    openings: list[Tensor] = []
    pairs: tuple[tuple[str, str], ...] = ()
    with model.tracing():
        for batch in anchors(model):
            model.refine(batch)
            assert model.trace is not None
            if model.trace.gates is None:
                return []
            openings.append(model.trace.gates.float().cpu())
            pairs = model.trace.pairs
    gates_BN = torch.cat(openings)
    if labels is None:
        labels, classes = torch.zeros(len(gates_BN), dtype=torch.int64), (ALL,)
    present = [(number, name) for number, name in enumerate(classes) if bool((labels == number).any())]
    return [
        GateOpening(target, source, {name: float(gates_BN[labels == number, n].mean()) for number, name in present})
        for n, (target, source) in enumerate(pairs)
    ]
