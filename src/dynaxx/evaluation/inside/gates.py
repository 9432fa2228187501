"""What the gates let through, class by class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx import ResonantModel


@dataclass(frozen=True)
class GateOpening:
    """How far explicit's gate of one coupling opens, in (0, 2), for the images of each class."""

    target: str
    source: str
    per_class: dict[str, float]
    """Mean over images."""


@torch.no_grad()
def gate_openings(model: ResonantModel, images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> list[GateOpening]:
    """The mean gate of every coupling over the images of each class; empty for a model without gates.

    Args:
        model: explicit.
        images: normalised, on the model's device.
        labels: (N,) on the CPU; a class without images is left out.
    """
    found: list[Tensor] = []
    pairs: tuple[tuple[str, str], ...] = ()
    with model.tracing():
        for batch in images.split(256):
            model(batch)
            assert model.trace is not None
            if model.trace.gates is None:
                return []
            found.append(model.trace.gates.float().cpu())
            pairs = model.trace.pairs
    gates_BN = torch.cat(found)
    present = [(number, name) for number, name in enumerate(classes) if bool((labels == number).any())]
    return [
        GateOpening(target, source, {name: float(gates_BN[labels == number, n].mean()) for number, name in present})
        for n, (target, source) in enumerate(pairs)
    ]
