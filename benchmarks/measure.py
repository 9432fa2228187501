"""Measurement of time and memory of the arms, in turn, and verdicts on the figures."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from benchmarks.arms import BARE, build, explicit
from benchmarks.bars import Bar, Seconds, Spread, Verdict, inference_bars, judge, judge_memory
from benchmarks.networks import Case
from benchmarks.profile import Operation, top_operations
from benchmarks.results import ArmResult, Section
from dynaxx.evaluation.cost import MEGABYTE, interleaved_seconds, peak_memory_mb

PASSES = 2
"""Passes of an arm per round: one for warm-up and one that is timed (see `interleaved_seconds`)."""


def inference(case: Case, budget: float) -> Section:
    """Measure one forward pass of all arms on one backbone; for `budget` see `timed`."""
    x = case.images()
    models, skipped = build(case, case.backbone(), x)
    weighed = {name: peak_memory_mb(model, x) for name, model in models.items()}
    held = {name: peak + weights_mb(models[name]) for name, peak in weighed.items()}
    seconds = timed(models, x, budget)
    verdicts, profiles = judged(inference_bars(case), seconds, models, x)
    verdicts.append(judge_memory(held[explicit(5)], held[BARE]))
    rows = [
        ArmResult(name, Spread.of(1e3 * times), Spread.of(times / seconds[BARE]), weighed[name], held[name])
        for name, times in seconds.items()
    ]
    return Section(case.title, BARE, len(seconds[BARE]), rows, verdicts, skipped, profiles)


def timed(
    models: Mapping[str, nn.Module], x: Tensor, budget: float, min_rounds: int = 9, max_rounds: int = 60
) -> Seconds:
    """Seconds of every arm per round, for as many rounds as fit into the budget.

    >>> timed({"bare": backbone, "explicit": model}, x, budget=100)["bare"].shape
    (60,)

    Args:
        budget: seconds to spend, within the limits of `min_rounds` and `max_rounds`; 0 takes a single round.
    """
    first = interleaved_seconds(models, x, rounds=1)
    if budget == 0:
        return first
    round_seconds = PASSES * float(np.sum([times.sum() for times in first.values()]))
    return interleaved_seconds(models, x, rounds=int(np.clip(budget / round_seconds, min_rounds, max_rounds)))


def judged(
    bars: Sequence[Bar], seconds: Seconds, models: Mapping[str, nn.Module], x: Tensor
) -> tuple[list[Verdict], dict[str, list[Operation]]]:
    """Verdicts on the bars whose arms were timed, and profiles of the missed ones."""
    verdicts: list[Verdict] = []
    profiles: dict[str, list[Operation]] = {}
    for bar in bars:
        if not seconds.keys() >= set(bar.arms):
            continue
        verdicts.append(judge(bar, seconds))
        if not verdicts[-1].met:
            profiles[bar.figure] = top_operations(models[bar.arms[0]], x, models[bar.arms[1]])
    return verdicts, profiles


def weights_mb(model: nn.Module) -> float:
    """Size of parameters and buffers in 10⁶ bytes."""
    return sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()]) / MEGABYTE
