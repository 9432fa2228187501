"""Calibration on validation data: does the loop converge and raise accuracy, and which coupling lowers accuracy?"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dynaxx.backbone import inputs_of
from dynaxx.errors import ResonanceError
from dynaxx.resonance import ResonanceOutput, Resonator

CUT = 0.1
"""Factor by which calibration multiplies the coupling strength of an oscillating loop."""


class Calibratable(Protocol):
    """The methods and attributes of `ResonantModel` that calibration uses."""

    T: int
    mode: str
    training: bool
    __call__: Callable[..., Any]

    def eval(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def require_built(self) -> Resonator: ...
    def tracing(self) -> AbstractContextManager[Any]: ...
    def observed(self) -> AbstractContextManager[list[ResonanceOutput]]: ...
    def override(self, **options: Any) -> AbstractContextManager[Any]: ...
    def ablated(self, couplings: Iterable[int]) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True)
class CalibrationReport:
    """The findings of calibration, and the action that calibration took.

    Attributes:
        residual: (T', taps), the median relative residual after each iteration, before calibration changed the
            model; T' is four times the model's T.
        taps: paths of the taps that receive messages.
        settled: whether every tap's median reached the tolerance within the model's T.
        oscillating: whether some tap's median stays above the tolerance and does not fall over the last T'/2
            iterations.
        action: `none`, `T` (raised until the loop converges), `strength` (cut to a tenth), or `strength undone` (the
            cut lowered accuracy, so the strength was restored).
        T: number of iterations after calibration.
        strength: strength after calibration.
        accuracy: accuracy on the labelled batches after calibration; None without labels.
        baseline_accuracy: the argument `baseline_accuracy` of `calibrate`.
        over_coupled: whether the accuracy is below the baseline accuracy.
        ablation: if over-coupled, the accuracy without each coupling, by (target, source); best first.
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
    model: Calibratable,
    loader: Iterable[Any],
    *,
    baseline_accuracy: float | None = None,
    tolerance: float = 1e-2,
) -> CalibrationReport:
    """Run the loop four times as long as trained, adjust T or the strength, and report.

    >>> report = calibrate(model, [(images, torch.tensor([1, 2]))])
    >>> report.action, report.taps
    ('none', ('layer2', 'layer3', 'layer4'))

    A loop that converges later than `T` gets a larger `T`. An oscillating loop gets a tenth of its strength. If labels
    show that the lower strength costs accuracy, the old strength is restored. An accuracy below `baseline_accuracy`
    means over-coupling: then each coupling is switched off in turn, and the report lists the resulting accuracies.

    Args:
        model: a trained model in explicit mode.
        loader: re-iterable batches of inputs, or of (inputs, labels).
        baseline_accuracy: accuracy of the backbone (or a probe on it) on the same data.
        tolerance: relative residual below which the loop has converged.

    Raises:
        ResonanceError: an empty loader, a loader that can be read only once, or a model that is not in explicit mode.
    """
    if model.mode != "explicit":
        raise ResonanceError(f"mode={model.mode!r}: calibration watches the loop; set model.mode = 'explicit'")
    if iter(loader) is loader:
        raise ResonanceError("loader: it can be read only once; give a DataLoader or a list of batches")
    exchange, training, T = model.require_built().exchange, model.training, model.T
    model.eval()
    try:
        accuracy, _ = _measure(model, loader, traced=False)
        # without a tolerance: a sample that stops early must not look as if it never converges
        with model.override(T=4 * T, tolerance=None):
            _, residual = _measure(model, loader, traced=True)
        below = (residual <= tolerance).all(1)
        settled = bool(below[T - 1])
        half = len(residual) // 2
        oscillating = bool(((residual[-1] > tolerance) & (residual[-1] >= residual[half - 1])).any())
        action = "none"
        if not settled and bool(below.any()):
            model.T, action = int(below.nonzero()[0]) + 1, "T"
        elif oscillating:
            _scale_strength(model, CUT)
            cut, _ = _measure(model, loader, traced=False)
            action = "strength"
            if accuracy is not None and cut is not None and cut < accuracy:
                _scale_strength(model, 1 / CUT)
                action = "strength undone"
        if action in ("T", "strength"):
            accuracy, _ = _measure(model, loader, traced=False)
        over_coupled = accuracy is not None and baseline_accuracy is not None and accuracy < baseline_accuracy
        ablation = _ablation(model, loader) if over_coupled else {}
    finally:
        model.train(training)
    return CalibrationReport(
        residual,
        tuple(exchange.names[tap] for tap in exchange.targets),
        settled,
        oscillating,
        action,
        model.T,
        float(exchange.strength),
        accuracy,
        baseline_accuracy,
        over_coupled,
        ablation,
    )


def _scale_strength(model: Calibratable, factor: float) -> None:
    exchange = model.require_built().exchange
    exchange.strength.mul_(factor)
    exchange.update_certificate()


def _measure(model: Calibratable, loader: Iterable[Any], traced: bool) -> tuple[float | None, Tensor]:
    """Accuracy over the labelled batches, and the median residual (T, taps) over the samples that did not fall back."""
    hits = count = 0
    residuals: list[Tensor] = []
    any_batch = False
    for batch in loader:
        any_batch = True
        with model.observed() as outputs, model.tracing() if traced else nullcontext():
            output = model(inputs_of(batch))
        if traced:
            (found,) = outputs
            assert found.trace is not None
            assert found.fallback is not None
            residuals.append(found.trace.residual[:, :, ~found.fallback].cpu())
        if isinstance(batch, (tuple, list)) and len(batch) > 1:
            hits += int((output.argmax(-1) == batch[1]).sum())
            count += batch[1].numel()
    if not any_batch:
        raise ResonanceError("loader: it gave no batch; give at least one")
    if residuals and not any(part.shape[2] for part in residuals):
        raise ResonanceError("loader: no sample of it is finite at every tap, so no loop ran; give sound inputs")
    residual = torch.cat(residuals, dim=2).median(2).values if residuals else torch.empty(0)
    return (hits / count if count else None), residual


def _ablation(model: Calibratable, loader: Iterable[Any]) -> dict[tuple[str, str], float]:
    exchange = model.require_built().exchange
    without: dict[tuple[str, str], float] = {}
    for number, pair in enumerate(exchange.couplings.pairs):
        with model.ablated([number]):
            accuracy, _ = _measure(model, loader, traced=False)
        assert accuracy is not None
        without[exchange.names[pair.target], exchange.names[pair.source]] = accuracy
    return dict(sorted(without.items(), key=lambda item: -item[1]))
