"""One pass of the backbone for many adapters: their taps are read once, and adapters of one kind run side by side.

    pass      the backbone up to the last tap that any of the adapters reads
    refine    each adapter's messages; adapters of one kind as one `Stack`, the others one by one
    tails     for heads in the classifier's place, what lies behind the taps, on the refined activations of several
              adapters as one batch

Shape suffixes: A adapters, B batch.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from dynaxx.backbone import Call, Execution, SafeHead, Tail, hooked, read_taps
from dynaxx.config import LINEAR, ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.model.adapter import Adapter
from dynaxx.model.adapters import Adapters
from dynaxx.model.grouping import stacks_of, state_of
from dynaxx.model.losses import computes_its_loss
from dynaxx.model.readout import size_of
from dynaxx.model.stack import LIMIT, Stack
from dynaxx.model.switches import Switches
from dynaxx.resonance import Anchors, ResonanceOutput, finite

KEPT = 4
"""Number of lists of names whose stacked parameters are kept."""


@dataclass
class Kept:
    """What is kept between the calls of one model; it is made anew where it no longer holds.

    Attributes:
        stacks: by names and options, the state of the adapters and their stacks.
        tails: by taps and shapes of the input, the execution that a tail was made beside and the tail, or None where
            the network has none.
    """

    stacks: dict[Hashable, tuple[Hashable, list[Stack]]] = field(default_factory=dict)
    tails: dict[Hashable, tuple[Execution, Tail | None]] = field(default_factory=dict)


class Adapted(Protocol):
    """The methods and attributes of `ResonantModel` that this module uses."""

    backbone: nn.Module
    adapters: Adapters
    training: bool
    _kept: Kept
    _executions: dict[str, Execution]
    __call__: Callable[..., Any]

    @property
    def fallback(self) -> Tensor | None: ...
    @property
    def _switches(self) -> Switches: ...
    def _running(self, name: str) -> AbstractContextManager[None]: ...
    def _record_fallback(self, fallback_B: Tensor) -> None: ...
    def _plan(self, call: Call) -> Execution: ...
    def build(self, call: Call) -> None: ...
    def refine(self, anchors: Anchors) -> tuple[list[Tensor], ResonanceOutput]: ...
    def run_tail(self, refined: list[Tensor], tail: Tail, outside: Sequence[object] = ()) -> Any: ...


@dataclass
class _Job:
    """Refined activations that wait for what lies behind the taps.

    Attributes:
        names: names of adapters.
        refined: the activations of each output tap, those of all the adapters along the first axis.
    """

    names: list[str]
    refined: list[Tensor]


@torch.no_grad()
def run_adapters(
    model: Adapted, call: Call, names: Iterable[str] | None, sources: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The outputs of the adapters `names`, by name; see `ResonantModel.run_adapters`."""
    return _Run(model, call, _checked(model, names, call), sources or {}).outputs()


def _checked(model: Adapted, names: Iterable[str] | None, call: Call) -> list[str]:
    if isinstance(names, str):
        raise ResonanceError(f"names={names!r}: give a list of names")
    found = list(model.adapters if names is None else names)
    for number, name in enumerate(found):
        if name not in model.adapters:
            raise ResonanceError(f"names: no adapter {name!r}; there are {', '.join(model.adapters)}")
        if name in found[:number]:
            raise ResonanceError(f"names: {name!r} is given twice; give each name once")
    if call[1].get("labels") is not None and computes_its_loss(model.backbone):
        raise ResonanceError("labels: adapters differ in their labels; leave them out, and compute losses from outputs")
    return found


class _Run:
    """One call of `run_adapters`."""

    def __init__(self, model: Adapted, call: Call, names: list[str], sources: Mapping[str, Any]) -> None:
        self.model, self.call, self.names, self.sources = model, call, names, sources
        self.adapters = {name: model.adapters.named(name) for name in names}
        self.found: dict[str, Any] = {}
        self.fallback: list[Tensor] = []
        self.known: dict[tuple[object, ...], Tensor] = {}
        self.jobs: dict[Hashable, list[_Job]] = {}
        self.tails: dict[str, tuple[Hashable, Tail]] = {}

    def outputs(self) -> dict[str, Any]:
        """The outputs by name, in the order of the names."""
        model, state = self.model, self.model._switches
        if state.disabled:
            own = model.backbone(*self.call[0], **self.call[1]) if self.names else None
            return dict.fromkeys(self.names, own)
        self._check_sources()
        self._check_ablated(state.ablated)
        for name, adapter in self.adapters.items():
            if adapter.resonator is None:
                with model._running(name):
                    model.build(self.call)
        alone = [name for name in self.names if not self._shares(name)]
        shared = [name for name in self.names if name not in alone]
        if shared:
            activations, outside = self._pass(shared)
            stacked = self._stacked(shared, activations)
        for name in self.names:
            if name in alone:
                self._alone(name)
            elif name not in stacked:
                self._one(name, activations)
        for key, jobs in self.jobs.items():
            self._behind(self.tails[jobs[0].names[0]][1], jobs, outside[key])
        if self.fallback:
            model._record_fallback(torch.stack(self.fallback).any(0))
        return {name: self.found[name] for name in self.names}

    # ---- the pass -------------------------------------------------------------------------------------------------

    def _shares(self, name: str) -> bool:
        """Whether the adapter can do with the shared pass; finds its tail, if it needs one."""
        adapter = self.adapters[name]
        if adapter.config.dynamics == "reentrant":
            return False
        if adapter.config.reads_taps:
            return True
        key = (tuple((tap.path, tap.output) for tap in adapter.taps), self._shapes(adapter))
        execution = self.model._executions.get(name)
        kept = self.model._kept.tails.get(key)
        if execution is None or not execution.follows_backbone():
            with self.model._running(name):
                execution, kept = self.model._plan(self.call), None
        if kept is None or not kept[0].follows_backbone():
            kept = self.model._kept.tails[key] = execution, self._tail(adapter)
        if kept[1] is None:
            return False
        self.tails[name] = key, kept[1]
        return True

    def _tail(self, adapter: Adapter) -> Tail | None:
        args, kwargs = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, self.call)
        try:
            return adapter.tail(self.model.backbone, kwargs or args)
        except ResonanceError:
            return None

    def _shapes(self, adapter: Adapter) -> Hashable:
        """What the tail for these inputs may depend on: all but the number of samples."""
        first = 0 if any(tap.layout == "NBC" for tap in adapter.taps) else 1
        leaves, spec = tree_flatten(self.call)
        return str(spec), tuple((tuple(x.shape[first:]), x.dtype) if isinstance(x, Tensor) else repr(x) for x in leaves)

    def _pass(self, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[Hashable, tuple[Tensor, ...]]]:
        """The activations of all taps by path, and what each tail reads besides them, from one pass."""
        taps: dict[str, bool] = {}
        for name in names:
            for tap in self.adapters[name].taps:
                taps[tap.path] = taps.get(tap.path, False) or tap.overwritten
        collect: dict[Hashable, Callable[[], tuple[Tensor, ...]]] = {}
        with ExitStack() as listening:
            for key, tail in self.tails.values():
                if key not in collect:
                    hooks, collect[key] = tail.listening(self.call)
                    listening.enter_context(hooked(self.model.backbone, hooks))
            activations = read_taps(self.model.backbone, taps, self.call)
        return activations, {key: found() for key, found in collect.items()}

    # ---- the adapters ---------------------------------------------------------------------------------------------

    def _anchors(self, name: str, activations: Mapping[str, Tensor]) -> Anchors:
        adapter = self.adapters[name]
        given = {source: x for source, x in self.sources.items() if source in adapter.config.sources}
        return adapter.anchors([activations[path] for path in adapter.paths], (), given, self.known)

    def _one(self, name: str, activations: Mapping[str, Tensor]) -> None:
        """Refine the taps of one adapter."""
        model, adapter = self.model, self.adapters[name]
        anchors = self._anchors(name, activations)
        with model._running(name):
            refined, output = model.refine(anchors)
        assert output.fallback is not None
        self.fallback.append(output.fallback)
        if adapter.config.reads_taps:
            size = size_of(self.call, adapter.require_built().exchange.dims)
            self.found[name] = adapter.read_out(refined, anchors.outside, anchors.grid, size)
        else:
            if adapter.config.mode in LINEAR:  # they are the taps' own, which what follows may overwrite
                refined = [x.clone() for x in refined]
            self._wait([name], refined)

    def _alone(self, name: str) -> None:
        """One adapter in a pass of its own."""
        args, kwargs = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, self.call)
        given = {source: x for source, x in self.sources.items() if source in self.adapters[name].config.sources}
        with self.model._running(name):
            self.found[name] = self.model(*args, **kwargs, **({"sources": given} if given else {}))
        if self.model.fallback is not None:
            self.fallback.append(self.model.fallback)

    def _stacked(self, names: Sequence[str], activations: Mapping[str, Tensor]) -> set[str]:
        """Run what can run side by side; returns the names that did.

        What follows one adapter at a time, and samples that are not finite, are for `_one`.
        """
        state = self.model._switches
        device = next(iter(activations.values())).device
        if state.outputs is not None or state.tracing or state.ablated or torch.is_autocast_enabled(device.type):
            return set()
        done: set[str] = set()
        for stack in self._stacks(names):
            first = self._anchors(stack.names[0], activations)
            ok = ("finite", *(id(x) for x in first.pooled))
            if ok not in self.known:
                self.known[ok] = finite(first.pooled)
            if first.outputs[-1].dtype == torch.float16 or not bool(self.known[ok].all()):
                continue
            messages = stack.messages(first, self.known)
            if messages is None:
                continue
            adapter = self.adapters[stack.names[0]]
            if adapter.config.reads_taps:
                size = size_of(self.call, adapter.require_built().exchange.dims)
                self.found |= stack.read_out(messages, first, self.known, size)
            else:
                for part, refined in stack.refined(messages, first):
                    self._wait(part, refined)
            self.fallback.append(torch.zeros_like(self.known[ok]))
            done |= set(stack.names)
        return done

    def _stacks(self, names: Sequence[str]) -> list[Stack]:
        """The stacks of these adapters, made anew where a parameter or an option has changed."""
        model, options = self.model, self.model._switches.options
        configs = {name: self._config(name) for name in names}
        key = (tuple(names), model.training, tuple(sorted(options.items())))
        state = state_of([self.adapters[name] for name in names])
        kept = model._kept.stacks
        if key not in kept or state is None or kept[key][0] != state:
            while len(kept) >= KEPT:
                kept.pop(next(iter(kept)), None)
            kept[key] = state, stacks_of(self.adapters, configs)
        return kept[key][1]

    def _config(self, name: str) -> ResonanceConfig:
        config, options = self.adapters[name].config, self.model._switches.options
        return dataclasses.replace(config, **options) if options else config

    def _check_sources(self) -> None:
        known = {source for adapter in self.adapters.values() for source in adapter.config.sources}
        for source in self.sources:
            if source not in known:
                raise ResonanceError(
                    f"sources: no adapter of these has {source!r}; they have {', '.join(sorted(known)) or 'none'}"
                )

    def _check_ablated(self, numbers: frozenset[int]) -> None:
        for name, adapter in self.adapters.items():
            count = len(adapter.require_built().exchange.couplings.pairs) if numbers else 0
            if numbers and adapter.config.mode not in LINEAR and max(numbers) >= count:
                raise ResonanceError(f"ablated({max(numbers)}): adapter {name!r} has couplings 0 to {count - 1}")

    # ---- behind the taps ------------------------------------------------------------------------------------------

    def _wait(self, names: list[str], refined: list[Tensor]) -> None:
        key = self.tails[names[0]][0]
        self.jobs.setdefault(key, []).append(_Job(names, refined))

    def _behind(self, tail: Tail, jobs: Sequence[_Job], outside: tuple[Tensor, ...]) -> None:
        """Run what lies behind the taps for all jobs, as few batches as `LIMIT` allows."""
        for part in self._batches(jobs):
            names = [name for job in part for name in job.names]
            parts = zip(*(job.refined for job in part), strict=True)
            refined = [torch.cat(xs) if len(xs) > 1 else xs[0] for xs in parts]
            found = self._together(tail, names, refined, outside)
            if found is None:
                rows = len(refined[0]) // len(names)
                found = {}
                for number, name in enumerate(names):
                    own = [x[number * rows : (number + 1) * rows].clone() for x in refined]
                    found[name] = self._behind_one(tail, name, own, outside)
            self.found |= found

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """The jobs in batches of at most `LIMIT` values, each with adapters that keep the backbone's head, or not."""
        batch: list[_Job] = []
        size = 0
        for job in sorted(jobs, key=lambda job: str(self.adapters[job.names[0]].classifier)):
            more = sum(x.numel() for x in job.refined)
            other = batch and self._classifier(batch[0]) != self._classifier(job)
            apart = any(tap.layout == "NBC" for tap in self.adapters[job.names[0]].taps)
            if batch and (size + more > LIMIT or other or apart):
                yield batch
                batch, size = [], 0
            batch, size = [*batch, job], size + more
        if batch:
            yield batch

    def _classifier(self, job: _Job) -> str | None:
        return self.adapters[job.names[0]].classifier

    def _behind_one(self, tail: Tail, name: str, refined: list[Tensor], outside: tuple[Tensor, ...]) -> Any:
        with self.model._running(name):
            return self.model.run_tail(refined, tail, outside)

    def _together(
        self, tail: Tail, names: list[str], refined: list[Tensor], outside: tuple[Tensor, ...]
    ) -> dict[str, Any] | None:
        """The outputs of several adapters from one batch; None where the output does not come apart by samples."""
        if len(names) == 1:
            return {names[0]: self._behind_one(tail, names[0], refined, outside)}
        rows, classifier = len(refined[0]), self.adapters[names[0]].classifier
        heads = _Heads([self.adapters[name].head for name in names])
        with hooked(self.model.backbone, {} if classifier is None else {classifier: heads}):
            output = tail(refined, [x.repeat(len(names), *[1] * (x.ndim - 1)) for x in outside])
        leaves, spec = tree_flatten(output)
        if not all(leaf is None or isinstance(leaf, (bool, int, float, str, Tensor)) for leaf in leaves):
            return None
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not all(leaf.ndim and len(leaf) == rows for leaf in tensors if leaf is not heads.joined):
            return None
        if heads.uneven and not any(leaf is heads.joined for leaf in tensors):
            return None

        def of(number: int, leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if leaf is heads.joined:
                return heads.parts[number]
            return leaf.chunk(len(names))[number]

        return {name: tree_unflatten([of(number, leaf) for leaf in leaves], spec) for number, name in enumerate(names)}


class _Heads:
    """A hook that puts several heads, one for each adapter's part of the batch, in the classifier's place.

    Attributes:
        parts: the logits of each.
        joined: the logits of all parts, with which the network goes on; zeros stand for classes that a head lacks.
        uneven: whether they have different numbers of classes.
    """

    def __init__(self, heads: Sequence[nn.Module | None]) -> None:
        self.heads = [SafeHead(head) for head in heads if head is not None]
        self.parts: list[Tensor] = []
        self.joined: Tensor | None = None
        self.uneven = False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor:
        self.parts = [head(part) for head, part in zip(self.heads, args[0].chunk(len(self.heads)), strict=True)]
        most = max(part.shape[-1] for part in self.parts)
        self.uneven = any(part.shape[-1] < most for part in self.parts)
        filled = [torch.nn.functional.pad(part, (0, most - part.shape[-1])) for part in self.parts]
        self.joined = torch.cat(filled)
        return self.joined
