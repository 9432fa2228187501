"""Latency of several models, timed in turn in one process: a slow moment of the machine affects all of them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaxx.evaluation.errors import EvaluationError


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


def latency(
    models: Mapping[str, nn.Module], x: Tensor, *, reference: str, rounds: int = 50, seed: int = 0
) -> dict[str, Latency]:
    """Percentiles of the time of one forward pass of `x`, and its ratio to `models[reference]`.

    >>> latency({"linear": nn.Linear(8, 4).eval()}, torch.zeros(2, 8), reference="linear")["linear"].ratio
    1.0

    Times come from `interleaved_seconds`. The ratio is computed per round, before the median over rounds:
    a temporary slowdown of the machine then affects both models.
    Raises `EvaluationError` for an unknown `reference`.
    """
    if reference not in models:
        raise EvaluationError(f"latency: reference={reference!r} is not among the models {sorted(models)}")
    seconds = interleaved_seconds(models, x, rounds=rounds, seed=seed)

    def summarise(times: NDArray[np.float64]) -> Latency:
        milliseconds = np.percentile(times, [50, 90, 99]) * 1e3
        ratios = np.percentile(times / seconds[reference], [50, 25, 75])
        return Latency(*milliseconds.tolist(), *ratios.tolist())

    return {name: summarise(times) for name, times in seconds.items()}


def interleaved_seconds(
    models: Mapping[str, nn.Module], x: Tensor, *, rounds: int, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Seconds per forward pass, (rounds,) per model; each round times every model once, in shuffled order.

    >>> interleaved_seconds({"linear": nn.Linear(8, 4).eval()}, torch.zeros(2, 8), rounds=10)["linear"].shape
    (10,)

    `torch.utils.benchmark.Timer` waits for the device. Two untimed passes precede each timed pass, so that no
    model is charged for cache misses caused by the model before. The number of torch threads is left unchanged.
    """
    # on a machine with a CUDA toolkit and no GPU, what the timer imports warns of that
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    if rounds < 1:
        raise EvaluationError(f"rounds={rounds}; give at least 1")
    for model in models.values():
        check_measurable(model, x)
    threads = torch.get_num_threads()
    timers = {
        name: Timer("model(x)", globals={"model": model, "x": x}, num_threads=threads) for name, model in models.items()
    }
    names = list(models)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for timer in timers.values():
            timer.timeit(1)  # the first pass chooses kernels and allocates
        for _ in range(rounds):
            for index in generator.permutation(len(names)):
                seconds[names[index]].append(timers[names[index]].timeit(1).mean)
    return {name: np.asarray(times) for name, times in seconds.items()}


def check_measurable(model: nn.Module, x: Tensor) -> None:
    """Raise `EvaluationError` for an empty batch, or for a model in training mode, since a pass may alter it."""
    if model.training:
        raise EvaluationError(f"{type(model).__name__} is in training mode; call .eval() before measuring its cost")
    if x.ndim == 0 or len(x) == 0:
        raise EvaluationError(f"x has shape {tuple(x.shape)}; give a batch of at least one sample")
