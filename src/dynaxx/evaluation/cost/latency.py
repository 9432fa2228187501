"""Latency of several models, timed in turn in one process: a slow moment of the machine affects all of them."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaxx.evaluation.errors import EvaluationError

FEWEST_ROUNDS = 10
"""Number of rounds before precision is judged."""
SURE = 0.95
"""Confidence level of the interval of a median ratio."""

TimePass = Callable[[nn.Module, Tensor], float]
"""Seconds of one forward pass of a model."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds per forward pass of one model, and its time relative to a reference model."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    ratio: float
    """Median over rounds of this model's time divided by the reference model's time in the same round."""
    ratio_p25: float
    ratio_p75: float


@dataclass(frozen=True)
class Timing:
    """How long and how precisely the models were timed with one batch size."""

    batch: int
    """Number of samples per forward pass."""
    rounds: int
    """Number of rounds; each times every model once."""
    seconds: float
    """Time spent, in seconds."""
    precision: float
    """Half-width of the 95 % interval of a median ratio that was asked for, as a fraction of the ratio."""
    imprecise: dict[str, float] = field(default_factory=dict)
    """Model → half-width that was reached, for each model whose ratio did not become as precise as asked."""


def latency(seconds: Mapping[str, NDArray[np.float64]], reference: str) -> dict[str, Latency]:
    """Percentiles of the times of each model, and of their ratios to the times of `reference` in the same rounds.

    >>> latency({"a": np.array([0.002, 0.004]), "b": np.array([0.003, 0.006])}, "a")["b"].ratio
    1.5

    The ratio is computed per round, before the median over rounds: a temporary slowdown of the machine then affects
    both models.

    Args:
        seconds: model → seconds per round, (rounds,), as from `interleaved_seconds` or `timed`.
        reference: name of the model in the denominator.

    Raises:
        EvaluationError: an unknown `reference`.
    """
    _check_reference(seconds, reference)

    def summarise(times: NDArray[np.float64]) -> Latency:
        milliseconds = np.percentile(times, [50, 90, 99]) * 1e3
        ratios = np.percentile(times / seconds[reference], [50, 25, 75])
        return Latency(*milliseconds.tolist(), *ratios.tolist())

    return {name: summarise(times) for name, times in seconds.items()}


def timed(
    models: Mapping[str, nn.Module],
    x: Tensor,
    *,
    reference: str,
    precision: float,
    budget: float,
    seed: int = 0,
    time_pass: TimePass | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[dict[str, NDArray[np.float64]], Timing]:
    """Seconds of one forward pass, (rounds,) per model, for as many rounds as the ratios need.

    >>> seconds, timing = timed({"linear": model}, x, reference="linear", precision=0.02, budget=10)
    >>> timing.rounds
    10

    Rounds end as soon as, after `FEWEST_ROUNDS`, the 95 % interval of each median ratio lies within `precision` of the
    median. That interval narrows with the number of rounds; the quartiles of the ratio, which show the machine's noise,
    would not. It comes from order statistics and assumes no distribution: the number of rounds below the median is
    binomial. Rounds also end where the next one would not fit into the budget.

    Args:
        models: name → model in eval mode.
        x: a batch of samples.
        reference: name of the model to which the ratios are.
        precision: half-width of the interval of each ratio's median, as a fraction of the median.
        budget: seconds to spend; one round is always run.
        seed: seed of the order in which models are timed.
        time_pass: times one pass of a model; by default `pass_seconds`.
        clock: seconds since some moment.

    Raises:
        EvaluationError: an unknown `reference`, an empty batch, or a model in training mode.
    """
    _check_reference(models, reference)
    rounds = _Rounds(models, x, seed, time_pass or pass_seconds)
    start = clock()
    rounds.warm_up()
    first = clock()
    while True:
        rounds.run()
        now, number = clock(), len(rounds.seconds[reference])
        half_widths = {name: _half_width(ratios) for name, ratios in rounds.ratios(reference).items()}
        if number >= FEWEST_ROUNDS and max(half_widths.values()) <= precision:
            break
        if now - start + (now - first) / number > budget:
            break
    imprecise = {name: half for name, half in half_widths.items() if number < FEWEST_ROUNDS or half > precision}
    imprecise.pop(reference, None)
    return rounds.times(), Timing(len(x), number, now - start, precision, imprecise)


def interleaved_seconds(
    models: Mapping[str, nn.Module], x: Tensor, *, rounds: int, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Seconds per forward pass, (rounds,) per model; each round times every model once, in shuffled order.

    >>> interleaved_seconds({"linear": nn.Linear(8, 4).eval()}, torch.zeros(2, 8), rounds=10)["linear"].shape
    (10,)

    Raises:
        EvaluationError: no rounds, an empty batch, or a model in training mode.
    """
    if rounds < 1:
        raise EvaluationError(f"rounds={rounds}; give at least 1")
    timed_rounds = _Rounds(models, x, seed, pass_seconds)
    timed_rounds.warm_up()
    for _ in range(rounds):
        timed_rounds.run()
    return timed_rounds.times()


def pass_seconds(model: nn.Module, x: Tensor) -> float:
    """Seconds of one forward pass of `x`, after one that is not timed.

    >>> pass_seconds(nn.Linear(8, 4).eval(), torch.zeros(2, 8)) > 0
    True

    The untimed pass spares the model the cache misses caused by the model before. `torch.utils.benchmark.Timer` waits
    for the device. The number of torch threads is left unchanged.
    """
    # on a machine with a CUDA toolkit and no GPU, what the timer imports warns of that
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark.utils.timer import timer

    with torch.no_grad():
        model(x)
        start = timer()
        model(x)
        return timer() - start


class _Rounds:
    """Rounds in which every model is timed once, in an order that a seed draws."""

    def __init__(self, models: Mapping[str, nn.Module], x: Tensor, seed: int, time_pass: TimePass) -> None:
        for model in models.values():
            check_measurable(model, x)
        self.models, self.x, self.time_pass = models, x, time_pass
        self.seconds: dict[str, list[float]] = {name: [] for name in models}
        self.generator = np.random.default_rng(seed)

    def warm_up(self) -> None:
        for model in self.models.values():
            self.time_pass(model, self.x)  # the first pass chooses kernels and allocates

    def run(self) -> None:
        names = list(self.models)
        for index in self.generator.permutation(len(names)):
            self.seconds[names[index]].append(self.time_pass(self.models[names[index]], self.x))

    def times(self) -> dict[str, NDArray[np.float64]]:
        return {name: np.asarray(times) for name, times in self.seconds.items()}

    def ratios(self, reference: str) -> dict[str, NDArray[np.float64]]:
        times = self.times()
        return {name: values / times[reference] for name, values in times.items()}


def _half_width(ratios: NDArray[np.float64]) -> float:
    """Half of the interval of the median, as a fraction of the median; the whole range where rounds are few."""
    from scipy.stats import binom

    ordered, number = np.sort(ratios), len(ratios)
    rank = max(1, int(binom.ppf((1 - SURE) / 2, number, 0.5)))  # both ends, counted from 1
    return float(ordered[number - rank] - ordered[rank - 1]) / 2 / float(np.median(ordered))


def _check_reference(models: Mapping[str, object], reference: str) -> None:
    if reference not in models:
        raise EvaluationError(f"latency: reference={reference!r} is not among the models {sorted(models)}")


def check_measurable(model: nn.Module, x: Tensor) -> None:
    """Raise `EvaluationError` for an empty batch, or for a model in training mode, since a pass may alter it."""
    if model.training:
        raise EvaluationError(f"{type(model).__name__} is in training mode; call .eval() before measuring its cost")
    if x.ndim == 0 or len(x) == 0:
        raise EvaluationError(f"x has shape {tuple(x.shape)}; give a batch of at least one sample")
