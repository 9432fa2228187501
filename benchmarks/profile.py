"""Profiles: the slowest operations of one pass, or those that account for its difference to another pass."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

PASSES = 3


@dataclass(frozen=True)
class Operation:
    """An operation of torch.

    >>> Operation("aten::mm", ms=1.5, calls=12.0)

    Attributes:
        name: name in torch's profiler.
        ms: own time per pass in milliseconds, without called operations; device time on a GPU.
        calls: number of calls per pass.
    """

    name: str
    ms: float
    calls: float


def top_operations(model: nn.Module, x: Tensor, against: nn.Module | None = None, most: int = 6) -> list[Operation]:
    """The slowest operations of a pass, the slowest first.

    >>> top_operations(model, x, against=backbone)[0].name
    'aten::mm'

    Args:
        against: model whose times and calls are subtracted; None subtracts nothing.
        most: largest number of operations.
    """
    ms, calls = _operations(model, x)
    if against is not None:
        other_ms, other_calls = _operations(against, x)
        ms.subtract(other_ms)
        calls.subtract(other_calls)
    return [Operation(name, spent, calls[name]) for name, spent in ms.most_common(most) if spent > 0]


@torch.no_grad()
def _operations(model: nn.Module, x: Tensor) -> tuple[Counter[str], Counter[str]]:
    """Milliseconds and calls of each operation per pass."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if x.is_cuda else [])]
    model(x)
    with profile(activities=activities) as profiler:
        for _ in range(PASSES):
            model(x)
    ms: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in profiler.key_averages():
        spent = event.self_device_time_total if x.is_cuda else event.self_cpu_time_total
        ms[event.key] = spent / 1e3 / PASSES
        calls[event.key] = event.count / PASSES
    return ms, calls
