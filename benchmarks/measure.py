"""Time arms in turn, weigh what they hold, and judge the figures."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from benchmarks.arms import BARE, build, explicit
from benchmarks.bars import Bar, Seconds, Spread, Verdict, inference_bars, judge, judge_memory
from benchmarks.networks import Case
from benchmarks.profile import Operation, top_operations
from benchmarks.results import ArmResult, Section
from dynaxx.evaluation.cost import MEGABYTE, interleaved_seconds, peak_memory_mb

PASSES = 3
"""Passes of an arm in a round: two that warm it up and the one that counts (see `interleaved_seconds`)."""


def inference(case: Case, budget: float) -> Section:
    """One forward pass of all arms on one backbone.

    Args:
        budget: see `timed`.
    """
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


def timed(models: Mapping[str, nn.Module], x: Tensor, budget: float, fewest: int = 9, most: int = 60) -> Seconds:
    """Seconds of every arm, round by round, for as many rounds as fit.

    Args:
        budget: seconds to spend, as far as `fewest` and `most` rounds allow; 0 takes a single round.
    """
    first = interleaved_seconds(models, x, rounds=1)
    if budget == 0:
        return first
    round_seconds = PASSES * float(np.sum([times.sum() for times in first.values()]))
    return interleaved_seconds(models, x, rounds=int(np.clip(budget / round_seconds, fewest, most)))


def judged(
    bars: Sequence[Bar], seconds: Seconds, models: Mapping[str, nn.Module], x: Tensor
) -> tuple[list[Verdict], dict[str, list[Operation]]]:
    """Verdicts on the bars whose arms were timed; and of those that were missed, where the time goes."""
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
    """10⁶ bytes of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()]) / MEGABYTE
