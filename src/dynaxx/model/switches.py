"""Temporary settings of a model, and records of its last pass; both belong to the calling thread.

Context variables hold settings and records, so threads (and asyncio tasks) do not see each other's values. The model
object itself is not changed. Keys are numbers of models, since a context variable must not keep a model alive.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dynaxx.resonance import Anchors, ResonanceOutput, Trace

NUMBERS = itertools.count()
"""Counter of the numbers that identify models; a copied model takes a new number."""


@dataclass(frozen=True)
class Switches:
    """The temporary settings of one model in one thread.

    Attributes:
        disabled: whether the bare backbone runs, without couplings.
        tracing: whether each pass records how the loop converges.
        outputs: list that receives the output of every pass, or None.
        anchors: list that receives the taps' activations (anchors) of a pass without coupling, or None.
        options: options that replace those of the configuration.
        ablated: numbers of couplings that are switched off.
        sources: the sources of the call that runs.
        adapter: name of the adapter that runs in the place of the active one, or None.
    """

    disabled: bool = False
    tracing: bool = False
    outputs: list[ResonanceOutput] | None = None
    anchors: list[Anchors] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ablated: frozenset[int] = frozenset()
    sources: Any = None
    adapter: str | None = None


@dataclass
class LastPass:
    """The values `fallback` and `trace` of a pass; see `ResonantModel`. Within a compiled pass also its sources."""

    fallback: Tensor | None = None
    trace: Trace | None = None
    sources: Any = None


OFF = Switches()
_switches: ContextVar[Mapping[int, Switches]] = ContextVar("dynaxx_switches", default={})  # noqa: B039, never changed
_last: ContextVar[Mapping[int, LastPass]] = ContextVar("dynaxx_last_pass", default={})  # noqa: B039, never changed


def switches(number: int) -> Switches:
    """The switches of model `number` in this thread."""
    return _switches.get().get(number, OFF)


@contextmanager
def switched(number: int, **changes: Any) -> Iterator[None]:
    """Within the block, in this thread, the switches of model `number` are changed."""
    token = _switches.set({**_switches.get(), number: dataclasses.replace(switches(number), **changes)})
    try:
        yield
    finally:
        _switches.reset(token)


def last_pass(number: int) -> LastPass | None:
    """The last pass of model `number` in this thread, if it recorded one."""
    return _last.get().get(number)


def record_pass(number: int, output: ResonanceOutput, compiled: LastPass) -> None:
    """Record the last pass of model `number`; an exported program makes no record.

    >>> record_pass(-1, ResonanceOutput([], fallback=torch.tensor([True])), LastPass())
    >>> last_pass(-1).fallback
    tensor([True])

    Args:
        number: number of the model.
        output: output of the pass.
        compiled: the model's own record. A compiled pass cannot set a context variable. The pass writes to `compiled`
            if this thread has no record yet, else to the thread's record.
    """
    if torch.compiler.is_exporting():
        return
    if torch.compiler.is_compiling():
        record = last_pass(number) or compiled
        record.fallback, record.trace = output.fallback, output.trace
    else:
        # a new mapping: a task that was started before keeps its own
        _last.set({**_last.get(), number: LastPass(output.fallback, output.trace)})
