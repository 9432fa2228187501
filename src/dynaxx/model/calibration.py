"""Calibration on validation data: does the loop settle, does it help, and which coupling is to blame.

See docs/theory.md#life-cycle.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dynaxx.backbone.example import inputs_of
from dynaxx.errors import ResonanceError

if TYPE_CHECKING:
    from dynaxx.model.resonant_model import ResonantModel

CUT = 0.1
"""What a cut multiplies the strength by."""


@dataclass(frozen=True)
class CalibrationReport:
    """What calibration found and did.

    Attributes:
        residual: (T', taps), the median relative residual after each iteration, before anything was changed;
            T' is four times the model's T.
        taps: the taps that receive messages.
        settled: whether every tap's median reached the tolerance within the model's T.
        oscillating: whether a median does not fall over the second half of T' and stays above the tolerance.
        action: `none`, `T` (raised to where the loop settles), `strength` (cut to a tenth), or `strength undone`
            (the cut cost accuracy, so it was taken back).
        T: iterations now set.
        strength: strength now set.
        accuracy: on the labelled batches, with what is now set; None without labels.
        baseline_accuracy: as given.
        over_coupled: accuracy below the baseline's.
        ablation: where over-coupled, the accuracy without each coupling, by (target, source); best first.
    """

    residual: Tensor
    taps: tuple[str, ...]
    settled: bool
    oscillating: bool
    action: str
    T: int
    strength: float
    accuracy: float | None
    baseline_accuracy: float | None
    over_coupled: bool
    ablation: dict[tuple[str, str], float]


@torch.no_grad()
def calibrate(
    model: "ResonantModel",
    loader: Iterable[Any],
    *,
    baseline_accuracy: float | None = None,
    tolerance: float = 1e-2,
) -> CalibrationReport:
    """Watch the loop run four times as long as trained, act on what is seen, and report it.

    A loop that settles later than `T` gets a larger `T`. One that oscillates gets a tenth of its strength; where
    labels show that this costs accuracy, the cut is undone and said. An accuracy below `baseline_accuracy` means
    over-coupling: every coupling is silenced in turn, and the report says which one does the harm.

    Args:
        loader: re-iterable batches of inputs, or of (inputs, labels).
        baseline_accuracy: what the backbone (or a probe on it) reaches on the same data.

    Raises:
        ResonanceError: an empty loader, one that can be read only once, or a model that is not in explicit mode.
    """
    if model.mode != "explicit":
        raise ResonanceError(f"mode={model.mode!r}: calibration watches the loop; set model.mode = 'explicit'")
    if iter(loader) is loader:
        raise ResonanceError("loader: it can be read only once; give a DataLoader or a list of batches")
    engine, training, T = model.built(), model.training, model.T
    model.eval()
    try:
        accuracy, _ = _measure(model, loader, traced=False)
        model.T, config = 4 * T, engine.config
        engine.config = replace(config, tolerance=None)  # a sample that stops on purpose is not one that never settles
        try:
            _, residual = _measure(model, loader, traced=True)
        finally:
            model.T, engine.config = T, config
        below = (residual <= tolerance).all(1)
        settled = bool(below[T - 1])
        half = len(residual) // 2
        oscillating = bool(((residual[-1] > tolerance) & (residual[-1] >= residual[half - 1])).any())
        action = "none"
        if not settled and bool(below.any()):
            model.T, action = int(below.nonzero()[0]) + 1, "T"
        elif oscillating:
            engine.strength.mul_(CUT)
            engine.settle()
            cut, _ = _measure(model, loader, traced=False)
            action = "strength"
            if accuracy is not None and cut is not None and cut < accuracy:
                engine.strength.div_(CUT)
                engine.settle()
                action = "strength undone"
        if action in ("T", "strength"):
            accuracy, _ = _measure(model, loader, traced=False)
        over_coupled = accuracy is not None and baseline_accuracy is not None and accuracy < baseline_accuracy
        ablation = _ablation(model, loader) if over_coupled else {}
    finally:
        model.train(training)
    receivers = tuple(engine.taps[tap] for tap in engine.receivers())
    return CalibrationReport(
        residual,
        receivers,
        settled,
        oscillating,
        action,
        model.T,
        float(engine.strength),
        accuracy,
        baseline_accuracy,
        over_coupled,
        ablation,
    )


def _measure(model: "ResonantModel", loader: Iterable[Any], traced: bool) -> tuple[float | None, Tensor]:
    """Accuracy over the labelled batches, and the median residual (T, taps) over all samples that were not dropped."""
    hits = seen = 0
    residuals: list[Tensor] = []
    any_batch = False
    for batch in loader:
        any_batch = True
        with model.tracing() if traced else nullcontext():
            output = model(inputs_of(batch))
        if traced:
            assert model.trace is not None
            assert model.fallback is not None
            residuals.append(model.trace.residual[:, :, ~model.fallback].cpu())
        if isinstance(batch, (tuple, list)) and len(batch) > 1:
            hits += int((output.argmax(-1) == batch[1]).sum())
            seen += batch[1].numel()
    if not any_batch:
        raise ResonanceError("loader: it gave no batch; give at least one")
    if residuals and not any(part.shape[2] for part in residuals):
        raise ResonanceError("loader: no sample of it is finite at every tap, so no loop ran; give sound inputs")
    residual = torch.cat(residuals, dim=2).median(2).values if residuals else torch.empty(0)
    return (hits / seen if seen else None), residual


def _ablation(model: "ResonantModel", loader: Iterable[Any]) -> dict[tuple[str, str], float]:
    engine = model.built()
    without: dict[tuple[str, str], float] = {}
    for number, pair in enumerate(engine.couplings.pairs):
        with engine.silenced([number]):
            accuracy, _ = _measure(model, loader, traced=False)
        assert accuracy is not None
        without[engine.taps[pair.target], engine.taps[pair.source]] = accuracy
    return dict(sorted(without.items(), key=lambda item: -item[1]))
