"""Latency and throughput of all arms on test samples, within one budget of time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dynaxx.data import normalise
from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.cost.latency import Latency, Timing, latency, timed
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.options import EvaluateOptions
from dynaxx.model import read_of


class Example:
    """The first test samples as a batch on which costs are measured, with their sources.

    >>> example = Example(judge, 1, torch.device("cpu"))
    >>> example.bound(model)(example.x).shape
    torch.Size([1, 10])

    Args:
        judge: judge of the test samples.
        size: number of samples; all, if there are fewer.
        device: device of the models.
    """

    def __init__(self, judge: Judge, size: int, device: torch.device) -> None:
        self.x = normalise(judge.data.images[:size], judge.normalisation).to(device)
        self.sources = {name: given[:size].to(device, torch.float32) for name, given in judge.data.sources.items()}

    def bound(self, model: nn.Module) -> nn.Module:
        """The model as a function of the images alone."""
        given = read_of(model, self.sources)
        return _WithSources(model, given).eval() if given else model


class _WithSources(nn.Module):
    def __init__(self, model: nn.Module, sources: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.sources = model, sources

    def forward(self, x: Tensor) -> Any:
        return self.model(x, sources=self.sources)


def fitting_batch(most: int, seconds: float, budget: float) -> int:
    """The largest batch, halved from `most`, of which one round of all models fits into the budget; at least 1.

    >>> fitting_batch(64, seconds=0.5, budget=30)
    8

    Args:
        most: largest batch.
        seconds: seconds that all models together need for a sample.
        budget: seconds to spend; a round takes four passes, of which two warm up.
    """
    batch = most
    while batch > 1 and 4 * batch * seconds > budget:
        batch //= 2
    return batch


def timings(
    models: Mapping[str, nn.Module], judge: Judge, options: EvaluateOptions, device: torch.device
) -> tuple[dict[str, Latency], dict[str, float], dict[str, Timing]]:
    """Latency, throughput in samples per second, and how both were timed, with ratios to the deployed probe.

    Latency has the first half of `options.timing_seconds`; what it leaves, throughput has.

    >>> times, rates, told = timings(models, judge, options, torch.device("cpu"))
    >>> times["probe"].ratio
    1.0
    """
    reference = BASELINE if BASELINE in models else next(iter(models))

    def measure(size: int, budget: float) -> tuple[dict[str, Any], Timing]:
        example = Example(judge, size, device)
        return timed(
            {arm: example.bound(model) for arm, model in models.items()},
            example.x,
            reference=reference,
            precision=options.timing_precision,
            budget=budget,
            seed=options.seed,
        )

    few, of_latency = measure(options.latency_batch, options.timing_seconds / 2)
    left = max(options.timing_seconds - of_latency.seconds, 0.0)
    per_sample = sum(float(np.median(seconds)) for seconds in few.values()) / of_latency.batch
    many, of_throughput = measure(fitting_batch(options.throughput_batch, per_sample, left), left)
    rates = {arm: of_throughput.batch / float(np.median(seconds)) for arm, seconds in many.items()}
    return latency(few, reference), rates, {"latency": of_latency, "throughput": of_throughput}
