"""What is switched for a block of calls, and what the last call left: both belong to the calling thread.

Context variables hold them, so threads (and asyncio tasks) do not see each other's. Nothing is set on the model and put
back later. Keys are numbers of models, since a context variable must not keep a model alive.
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
"""Numbers for models; a copy takes a new one."""


@dataclass(frozen=True)
class Switches:
    """The state of one model's switches in one thread.

    Attributes:
        disabled: run the bare backbone.
        tracing: record how the loop converges.
        outputs: list that receives the output of every pass, or None.
        anchors: list that receives the anchors of a pass that only reads, or None.
        options: options that replace those of the configuration.
        ablated: numbers of couplings that are switched off.
    """

    disabled: bool = False
    tracing: bool = False
    outputs: list[ResonanceOutput] | None = None
    anchors: list[Anchors] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ablated: frozenset[int] = frozenset()


@dataclass(frozen=True)
class LastPass:
    """`fallback` and `trace` of the last pass; see `ResonantModel`."""

    fallback: Tensor | None = None
    trace: Trace | None = None


OFF, NO_PASS = Switches(), LastPass()
_switches: ContextVar[Mapping[int, Switches]] = ContextVar("dynaxx_switches", default={})  # noqa: B039, never changed
_last: ContextVar[dict[int, LastPass] | None] = ContextVar("dynaxx_last_pass", default=None)
_last_compiled: dict[int, LastPass] = {}
"""A compiled pass cannot set a context variable. In a thread without an eager pass it records here."""


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


def last_pass(number: int) -> LastPass:
    """The last pass of model `number` in this thread."""
    mine = _last.get()
    return (_last_compiled if mine is None else mine).get(number, NO_PASS)


def record_pass(number: int, output: ResonanceOutput) -> None:
    """Record the last pass of model `number`; an exported program records nothing."""
    if torch.compiler.is_exporting():
        return
    passes = _last.get()
    if passes is None:
        passes = _last_compiled
        if not torch.compiler.is_compiling():
            passes = {}
            _last.set(passes)
    passes[number] = LastPass(output.fallback, output.trace)
