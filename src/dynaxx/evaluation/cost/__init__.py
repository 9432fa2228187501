"""Cost of a model's prediction: latency, floating-point operations, memory, and the machine of the measurement.

Read `latency.py` first: all models are timed in turn, so that a slow moment of the machine affects all of them.
"""

from dynaxx.evaluation.cost.flops_memory import MEGABYTE, gflops, peak_memory_mb
from dynaxx.evaluation.cost.hardware import hardware
from dynaxx.evaluation.cost.latency import FEWEST_ROUNDS, Latency, Timing, interleaved_seconds, latency, timed

__all__ = [
    "FEWEST_ROUNDS",
    "MEGABYTE",
    "Latency",
    "Timing",
    "gflops",
    "hardware",
    "interleaved_seconds",
    "latency",
    "peak_memory_mb",
    "timed",
]
