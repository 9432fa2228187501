"""Cost of a forward pass: floating-point operations and peak memory, both measured.

Every function takes a model in `eval()` mode and a batch `x` on the model's device, with samples on the first axis.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.evaluation.cost.latency import check_measurable

MEGABYTE = 1e6

# the profiler that measures memory reports its own start and stop, and the absence of a GPU as an error
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def gflops(model: nn.Module, x: Tensor) -> float:
    """10⁹ floating-point operations per sample of one forward pass; a multiply-add counts as two.

    >>> gflops(nn.Linear(1000, 500).eval(), torch.zeros(2, 1000))
    0.001

    `torch.utils.flop_counter` counts matrix products, convolutions and attention. Element-wise operations, pooling,
    normalisation and recurrent layers such as `nn.LSTM` count as zero.
    """
    from torch.utils.flop_counter import FlopCounterMode

    check_measurable(model, x)
    fused = torch.backends.mha.get_fastpath_enabled()
    counter = FlopCounterMode(display=False)
    # nn.MultiheadAttention's fused inference path is one operator without a formula: it would count as free.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), counter:
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / 1e9 / len(x)


def peak_memory_mb(model: nn.Module, x: Tensor) -> float:
    """Peak memory of one forward pass of `x` in 10⁶ bytes, without weights and `x`.

    >>> peak_memory_mb(nn.Linear(1000, 500).eval(), torch.zeros(2, 1000))
    0.004

    Only tensors count. On CPU, `torch.profiler` records them, without the scratch space of kernel libraries. On CUDA,
    the caching allocator records them.
    """
    check_measurable(model, x)
    with torch.no_grad():
        model(x)  # what a first pass allocates for good is no cost of a pass
        peak = _peak_bytes_cuda(model, x) if x.is_cuda else _peak_bytes_cpu(model, x)
    return peak / MEGABYTE


def _peak_bytes_cuda(model: nn.Module, x: Tensor) -> int:
    torch.cuda.synchronize(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    model(x)
    torch.cuda.synchronize(x.device)
    return torch.cuda.max_memory_allocated(x.device) - before


def _peak_bytes_cpu(model: nn.Module, x: Tensor) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model(x)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events: list[dict[str, Any]] = json.loads(trace.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: (event["ts"], event["args"]["Ev Idx"]))
    allocated: dict[int, int] = {}
    total = peak = 0
    for change in changes:
        address, size = change["args"]["Addr"], change["args"]["Bytes"]
        if size > 0:
            allocated[address] = size
            total += size
        else:
            total -= allocated.pop(address, 0)  # freeing what was there before the pass lowers nothing
        peak = max(peak, total)
    return peak
