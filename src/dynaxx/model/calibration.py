"""Calibration on validation data: does the loop converge, does it raise the score, and which coupling lowers it?"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dynaxx.backbone import device_of, on_device, split_batch
from dynaxx.config import LINEAR
from dynaxx.errors import ResonanceError
from dynaxx.model.metric import Metric, Score, as_metric, next_tokens, prediction_of, value_of
from dynaxx.model.statistics import check_batches, is_seq2seq
from dynaxx.resonance import ResonanceOutput, Resonator

CUT = 0.1
"""Factor by which calibration multiplies the coupling strength of an oscillating loop."""


class Calibratable(Protocol):
    """The methods and attributes of `ResonantModel` that calibration uses."""

    T: int
    mode: str
    training: bool
    backbone: nn.Module
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
            cut made the score worse, so the strength was restored).
        T: number of iterations after calibration.
        strength: strength after calibration.
        metric: name of the metric of the scores; None without labels.
        higher_is_better: whether a higher score is a better one.
        score: the metric's value on the labelled batches after calibration; None without labels.
        baseline_score: the argument `baseline_score` of `calibrate`.
        over_coupled: whether the score is worse than the baseline's.
        ablation: if over-coupled, the score without each coupling, by (target, source); best first.
    """

    residual: Tensor
    taps: tuple[str, ...]
    settled: bool
    oscillating: bool
    action: str
    T: int
    strength: float
    metric: str | None
    higher_is_better: bool
    score: float | None
    baseline_score: float | None
    over_coupled: bool
    ablation: dict[tuple[str, str], float]


@torch.no_grad()
def calibrate(
    model: Calibratable,
    loader: Iterable[Any],
    *,
    metric: Any = None,
    higher_is_better: bool | None = None,
    baseline_score: float | None = None,
    tolerance: float = 1e-2,
) -> CalibrationReport:
    """Run the loop four times as long as trained, adjust T or the strength, and report.

    >>> report = calibrate(model, [(images, torch.tensor([1, 2]))])
    >>> report.action, report.metric
    ('none', 'accuracy')

    A loop that converges later than `T` gets a larger `T`. An oscillating loop gets a tenth of its strength. If labels
    show that the lower strength makes the score worse, the old strength is restored. A score worse than
    `baseline_score` means over-coupling: then each coupling is switched off in turn, and the report lists the scores.

    Args:
        model: a trained model in explicit mode.
        loader: re-iterable batches of inputs, of (inputs, labels), or of dicts of named arguments with `labels`.
        metric: the task's metric: `"accuracy"`, `"cross_entropy"`, `"mean_squared_error"`, `"mean_absolute_error"`; a
            metric of torchmetrics (any object with `update` and `compute`); or a function from outputs and labels of a
            batch to a number. Outputs are the logits, if the model returns a dict or an object that has them. By
            default accuracy, where outputs and labels leave no doubt: (B, classes) with (B), (B, 1) or one-hot, maps
            (B, classes, H, W) with (B, H, W), tokens (B, N, classes) with (B, N); the label -100 is not judged.
        higher_is_better: direction of a metric that does not state its own.
        baseline_score: score of the backbone (or a probe on it) on the same data.
        tolerance: relative residual below which the loop has converged.

    Raises:
        ResonanceError: an empty loader, a loader that can be read only once, a model that is not in explicit mode, or
            outputs and labels for which a metric has to be named.
    """
    if model.mode in (*LINEAR, "direct"):
        raise ResonanceError(f"calibrate(): mode={model.mode!r} has no loop to watch; judge its outputs by your metric")
    if model.mode != "explicit":
        raise ResonanceError(f"mode={model.mode!r}: calibration watches the loop; set model.mode = 'explicit'")
    check_batches("loader", loader)
    if iter(loader) is loader:
        raise ResonanceError("loader: it can be read only once; give a DataLoader or a list of batches")
    judge, exchange = as_metric(metric, higher_is_better), model.require_built().exchange
    training, T = model.training, model.T
    model.eval()
    try:
        score, _ = _measure(model, loader, judge, traced=False)
        if score is None and (metric is not None or baseline_score is not None):
            given = "baseline_score" if metric is None else "metric"
            raise ResonanceError(f"{given}: the batches of loader hold no labels to judge by; give (inputs, labels)")
        # without a tolerance: a sample that stops early must not look as if it never converges
        with model.override(T=4 * T, tolerance=None):
            _, residual = _measure(model, loader, None, traced=True)
        below = (residual <= tolerance).all(1)
        settled = bool(below[T - 1])
        half = len(residual) // 2
        oscillating = bool(((residual[-1] > tolerance) & (residual[-1] >= residual[half - 1])).any())
        action = "none"
        if not settled and bool(below.any()):
            model.T, action = int(below.nonzero()[0]) + 1, "T"
        elif oscillating:
            _scale_strength(model, CUT)
            cut, _ = _measure(model, loader, judge, traced=False)
            action = "strength"
            if score is not None and cut is not None and judge.worse(cut, score):
                _scale_strength(model, 1 / CUT)
                action = "strength undone"
        if action in ("T", "strength"):
            score, _ = _measure(model, loader, judge, traced=False)
        over_coupled = score is not None and baseline_score is not None and judge.worse(score, baseline_score)
        ablation = _ablation(model, loader, judge) if over_coupled else {}
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
        None if score is None else judge.name,
        judge.higher_is_better,
        score,
        baseline_score,
        over_coupled,
        ablation,
    )


def _scale_strength(model: Calibratable, factor: float) -> None:
    exchange = model.require_built().exchange
    exchange.strength.mul_(factor)
    exchange.update_certificate()


def _measure(
    model: Calibratable, loader: Iterable[Any], judge: Metric | None, traced: bool
) -> tuple[float | None, Tensor]:
    """Score over the labelled batches, and the median residual (T, taps) over the samples that did not fall back."""
    score: Score | None = None
    residuals: list[Tensor] = []
    any_batch, device, causal = False, device_of(model.backbone), model.require_built().causal
    for batch in loader:
        any_batch = True
        call, labels = split_batch(
            batch, "loader", keep_labels=is_seq2seq(model.backbone), sources=model.require_built().exchange.sources
        )
        args, kwargs = on_device(call, device, "loader")
        with model.observed() as outputs, model.tracing() if traced else nullcontext():
            output = prediction_of(model(*args, **kwargs))
        if traced:
            (found,) = outputs
            assert found.trace is not None
            assert found.fallback is not None
            residuals.append(found.trace.residual[:, :, ~found.fallback].cpu())
        if judge is not None and labels is not None:
            score = judge.start() if score is None else score
            labels = on_device(labels, output.device if isinstance(output, Tensor) else None, "loader")
            if judge.named and causal:
                output, labels = next_tokens(output, labels, kwargs.get("input_ids", args[0] if args else None))
            judge.update(score, output, labels)
    if not any_batch:
        raise ResonanceError("loader: it gave no batch; give at least one")
    if residuals and not any(part.shape[2] for part in residuals):
        raise ResonanceError("loader: no sample of it is finite at every tap, so no loop ran; give sound inputs")
    residual = torch.cat(residuals, dim=2).median(2).values if residuals else torch.empty(0)
    return None if score is None or judge is None else value_of(judge.name, score.compute()), residual


def _ablation(model: Calibratable, loader: Iterable[Any], judge: Metric) -> dict[tuple[str, str], float]:
    exchange = model.require_built().exchange
    without: dict[tuple[str, str], float] = {}
    for number, pair in enumerate(exchange.couplings.pairs):
        with model.ablated([number]):
            score, _ = _measure(model, loader, judge, traced=False)
        assert score is not None
        without[exchange.names[pair.target], exchange.names[pair.source]] = score
    return dict(sorted(without.items(), key=lambda item: item[1], reverse=judge.higher_is_better))
