"""Capturing the activations of taps (tapped layers), and finding their shapes.

Hooks live only during a pass, and only the thread that runs the pass triggers them. So the user's model keeps no hook.
The model can be copied, saved, compiled and called at any time, also while another thread runs a hooked pass.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dynaxx.backbone.example import Call
from dynaxx.backbone.layout import (
    ChannelAxes,
    batches_of_two,
    canonical,
    changed_axis,
    crossing,
    layout_of,
    moved,
    original,
)
from dynaxx.config import MAPS
from dynaxx.errors import ResonanceError
from dynaxx.grid import Tap

Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]
"""A forward hook: from module, arguments (without names) and output to a replacement of the output, or None."""

_REGISTERING = threading.Lock()  # torch numbers and stores hooks without one


class Ended(BaseException):
    """Ends a pass of the backbone at its last tap. It is no Exception: networks may catch those.

    Attributes:
        output: what the pass gives, if it gives anything.
    """

    def __init__(self, output: Any = None) -> None:
        super().__init__()
        self.output = output


@contextmanager
def hooked(backbone: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """Within the block, calls of this thread run the forward hooks at these module paths.

    >>> with hooked(network, {"layer1": lambda module, args, output: output + 1}):
    ...     logits = network(images)
    """
    thread = threading.get_ident()

    def own(hook: Hook) -> Hook:
        # torch notes that a hook takes named arguments after it has added it: a pass in between gives none
        def run(module: nn.Module, args: tuple[Any, ...], *given: Any) -> Any:
            if threading.get_ident() != thread:
                return None
            named, output = given
            return hook(module, args or tuple(named.values()), output)

        return run

    with ExitStack() as registered:
        for path, hook in hooks.items():
            module = module_at(backbone, path)
            with _REGISTERING:
                handle = module.register_forward_hook(own(hook), with_kwargs=True)
            registered.callback(_removed, handle)
        yield


def module_at(backbone: nn.Module, path: str) -> nn.Module:
    """The module at `path`; raises ResonanceError where there is none any more."""
    try:
        return backbone.get_submodule(path)
    except AttributeError:
        raise ResonanceError(
            f"base_model: it has no {path!r} any more, which was there when it was wrapped; wrap it again"
        ) from None


def _removed(handle: Any) -> None:
    with _REGISTERING:
        handle.remove()


@contextmanager
def capture(
    backbone: nn.Module,
    paths: Sequence[str],
    on_last: Callable[[list[Tensor]], Tensor] | None = None,
    copy: Sequence[bool] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Capture the activations at `paths` while the block runs one forward pass of `backbone`.

    >>> with capture(network, ["layer2", "layer3"]) as activations:
    ...     logits = network(images)
    >>> activations["layer2"].shape
    torch.Size([2, 128, 8, 8])

    Args:
        backbone: the network.
        paths: module paths in the order in which the pass reaches the taps; any order without `on_last`.
        on_last: called with every tap's activation when the last tap is reached; returns the last tap's new activation.
        copy: for each tap, whether a later operation overwrites its activation, which must then be copied.

    Yields:
        The activations by path, in call order, filled during the pass.

    Raises:
        ResonanceError: a tap was not reached (on exit without another error); within the pass, a tap was reached twice,
            returned no tensor, or is overwritten without being copied.
    """
    captured: dict[str, Tensor] = {}
    versions: dict[str, int | None] = {}

    def capturing(number: int) -> Hook:
        path = paths[number]

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            _check_once(path, captured)
            captured[path], versions[path] = _kept(activation_of(path, output), copy is not None and copy[number])
            if on_last is None or number != len(paths) - 1:
                return None
            _check_all_reached(paths, captured)
            _check_not_overwritten(captured, versions)
            return with_activation(output, on_last([captured[p] for p in paths]))

        return hook

    with hooked(backbone, {path: capturing(number) for number, path in enumerate(paths)}):
        yield captured
        _check_all_reached(paths, captured)


def read_taps(backbone: nn.Module, taps: Mapping[str, bool], call: Call) -> dict[str, Tensor]:
    """The activations at the paths in `taps`, in any order, from one pass that ends as soon as all of them are there.

    >>> sorted(read_taps(network, {"layer3": False, "layer2": False}, ((images,), {})))
    ['layer2', 'layer3']

    Args:
        backbone: the network.
        taps: by module path, whether a later operation overwrites the activation, which must then be copied.
        call: arguments of the pass.

    Raises:
        ResonanceError: the cases of `capture`.
    """
    captured: dict[str, Tensor] = {}
    versions: dict[str, int | None] = {}

    def noting(path: str) -> Hook:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            _check_once(path, captured)
            captured[path], versions[path] = _kept(activation_of(path, output), taps[path])
            if len(captured) == len(taps):
                _check_not_overwritten(captured, versions)
                raise Ended

        return hook

    try:
        with hooked(backbone, {path: noting(path) for path in taps}):
            backbone(*call[0], **call[1])
    except Ended:
        return captured
    _check_all_reached(list(taps), captured)
    raise ResonanceError("base_model: its pass did not end at the last tap; let it pass on errors of its layers")


def _kept(activation: Tensor, copy: bool) -> tuple[Tensor, int | None]:
    """The activation, copied where it must be, and its version, if it has one and was not copied."""
    version = version_of(activation)
    copied = version is None or copy  # what has no version may be overwritten
    return (activation.clone(), None) if copied else (activation, version)


def _check_once(path: str, captured: Mapping[str, Tensor]) -> None:
    if path in captured:
        raise ResonanceError(f"layers: {path!r} runs more than once in a pass, so it cannot be a tap")


def activation_of(path: str, output: Any) -> Tensor:
    """The activation in the output of the layer at `path`: the output itself, or the first item of a tuple.

    >>> activation_of("lstm", (torch.zeros(2, 5, 8), None)).shape
    torch.Size([2, 5, 8])

    Raises:
        ResonanceError: neither is a tensor of at least two axes.
    """
    first = output[0] if isinstance(output, (tuple, list)) and len(output) else output
    if not isinstance(first, Tensor) or first.ndim < 2:
        got = tuple(first.shape) if isinstance(first, Tensor) else type(output).__name__
        raise ResonanceError(f"layers: {path!r} returns {got}, not a (B, C, H, W) or (B, N, C) tensor; name another")
    return first


def with_activation(output: Any, activation: Tensor) -> Any:
    """The output of a layer with another activation in it."""
    if isinstance(output, Tensor):
        return activation
    items = (activation, *output[1:])
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


@torch.no_grad()
def probe(
    backbone: nn.Module, paths: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any], layout: str | None = None
) -> list[Tap]:
    """The taps at `paths`, in the order in which one pass of the backbone reaches them.

    >>> [(tap.path, tap.channels) for tap in probe(network, ["layer3", "layer2"], (images,), {})]
    [('layer2', 128), ('layer3', 256)]

    The pass runs on two samples at least. A second pass, in which the first sample has other values, shows the
    activations' sample axis.

    Args:
        backbone: the network.
        paths: module paths.
        args, kwargs: arguments of one forward pass.
        layout: layout of every activation, if the user gives it; None finds it.

    Raises:
        ResonanceError: the cases of `capture`, an unknown layout, or a network in which the samples of a batch affect
            each other.
    """
    refuse_recomputing(backbone)
    mixed: ResonanceError | None = None
    for axis in (0, 1):  # the sample axis of the arguments
        for number in itertools.count():  # of the tensor whose first sample is changed
            calls = batches_of_two(args, kwargs, axis, number)
            if calls is None:
                break
            try:
                return _taps(backbone, paths, calls, layout)
            except _SamplesMix as error:
                mixed = mixed or (error if axis == 0 else None)
                break
            except _NothingMoved:
                continue
            except ResonanceError:
                raise
            except Exception:  # networks raise anything at a batch that they are not made for
                continue
    if mixed is not None:
        raise ResonanceError(RANDOM if _is_random(backbone, (tuple(args), kwargs)) else str(mixed))
    return _taps(backbone, paths, [(tuple(args), kwargs)], layout)


RANDOM = (
    "base_model: it gives other answers for the same input, as by noise or by dropout in eval mode, so nothing shows "
    "whether samples are apart; turn it off"
)
"""Message about a network in which a changed sample cannot be told from chance."""


def _is_random(backbone: nn.Module, call: Call) -> bool:
    outputs = [tree_leaves(backbone(*call[0], **call[1])) for _ in range(2)]
    pairs = [pair for pair in zip(*outputs, strict=True) if all(isinstance(x, Tensor) for x in pair)]
    return any(not torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True) for a, b in pairs)


class _SamplesMix(ResonanceError):
    """One sample of a batch affects others."""


class _NothingMoved(ResonanceError):
    """No tap depends on the values that were changed, so they do not show the axis of samples."""


def _taps(backbone: nn.Module, paths: Sequence[str], calls: Sequence[Call], layout: str | None) -> list[Tap]:
    """The taps from one call of the backbone, or from two that differ in the first sample, to see its axis."""
    seen: dict[str, tuple[Tensor, int | None, bool]] = {}  # activation, its version, whether it was in a tuple
    axes = ChannelAxes()

    def noting(path: str) -> Hook:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            activation = activation_of(path, output)
            seen[path] = activation, version_of(activation), activation is not output

        return hook

    passes: list[dict[str, Tensor]] = []
    outputs = []
    with torch.inference_mode(False):
        for number, (args, kwargs) in enumerate(calls):
            with ExitStack() as inner:
                if number == 0:
                    inner.enter_context(hooked(backbone, {path: noting(path) for path in paths}))
                    inner.enter_context(axes)
                passes.append(inner.enter_context(capture(backbone, paths, copy=[True] * len(paths))))
                outputs.append(backbone(*args, **kwargs))
    first, last = passes[0], passes[-1]
    showing = [path for path in first if moved(first[path], last[path])]
    if len(calls) > 1 and not showing:
        raise _NothingMoved("layers: nothing shows the axis of samples")
    taps = []
    for path, one in first.items():
        activation, version, nested = seen[path]
        shown = path if path in showing or not showing else showing[0]
        samples = changed_axis(first[shown], last[shown])
        if samples is not None and one.shape[samples : samples + 1] != first[shown].shape[samples : samples + 1]:
            raise ResonanceError(
                f"layers: {path!r} returns {tuple(one.shape)} for {first[shown].shape[samples]} samples; name a layer "
                "that has an entry for each"
            )
        if samples is None:
            raise _SamplesMix(
                f"layers: at {path!r}, {tuple(one.shape)}, one sample of a batch changes others, and each must have "
                "its own answer; name layers whose samples are apart"
            )
        found = layout_of(path, one, samples, axes.of(activation), layout)
        width = canonical(one, found).shape[1 if found in MAPS else 2]
        taps.append(Tap(path, width, found, version is None or version_of(activation) != version, nested))
    if len(calls) > 1 and crossing(*outputs):
        raise _SamplesMix("base_model: one sample of a batch changes the answers of others, and each must have its own")
    return taps


class TapReader:
    """Reads the canonical activations of layers of a network; their layouts are found in the first call.

    >>> [x.shape for x in TapReader(network, ["layer2", "layer3"])(images)]
    [torch.Size([2, 128, 8, 8]), torch.Size([2, 256, 4, 4])]

    Args:
        backbone: the network.
        paths: module paths of the layers, in any order.
    """

    def __init__(self, backbone: nn.Module, paths: Sequence[str]) -> None:
        self.backbone, self.paths = backbone, list(paths)
        self.layouts: dict[str, str] | None = None if self.paths else {}

    def __call__(self, x: Tensor) -> list[Tensor]:
        if self.layouts is None:
            self.layouts = {tap.path: tap.layout for tap in probe(self.backbone, self.paths, (x[:2],), {})}
        # copies: a later in-place operation must not change what is read
        with capture(self.backbone, self.paths, copy=[True] * len(self.paths)) as seen:
            self.backbone(x)
        return [canonical(seen[path], self.layouts[path]) for path in self.paths]


def check_fits(tap: Tap, x: Tensor) -> None:
    """Raise ResonanceError unless the canonical activation `x` is of the kind and width that `tap` has."""
    if x.ndim != (tap.dims + 2 if tap.dims else 3) or x.shape[1 if tap.dims else 2] != tap.channels:
        shape, kind = tuple(original(x, tap.layout).shape), ", ".join(tap.layout)
        raise ResonanceError(
            f"layers: {tap.path!r} gave {shape}, the couplings were made for ({kind}) with C={tap.channels}; "
            "use the backbone that they were trained on"
        )


def version_of(x: Tensor) -> int | None:
    """The number of in-place operations on `x` so far; None for a tensor of inference mode, which counts none."""
    return None if x.is_inference() else x._version


def _check_not_overwritten(captured: dict[str, Tensor], versions: dict[str, int | None]) -> None:
    for path, version in versions.items():
        if version is not None and captured[path]._version != version:
            raise ResonanceError(
                f"layers: an in-place operation now overwrites what {path!r} returns, and did not when it was wrapped, "
                "since the backbone was changed; wrap it again"
            )


def refuse_cut_gradients(path: str) -> None:
    """Raise ResonanceError if the layer that now runs is one whose gradients are lost or computed without its hooks."""
    saving = torch._C._autograd._top_saved_tensors_default_hooks(True)
    if not torch.is_grad_enabled() or (saving and saving[0].__module__ == "torch.utils.checkpoint"):
        raise ResonanceError(
            f"base_model: its forward pass runs {path!r} under torch.no_grad, inference mode or activation "
            "checkpointing, so nothing could be learned there; turn it off to train"
        )


def refuse_recomputing(backbone: nn.Module) -> None:
    """Raise ResonanceError if the backbone recomputes activations in the backward pass, where no hook is called."""
    path = next((p for p, module in backbone.named_modules() if getattr(module, "grad_checkpointing", False)), None)
    if path is not None:
        raise ResonanceError(
            f"base_model: activation checkpointing is on in {path or type(backbone).__name__!r}; turn it off, for "
            "example with set_grad_checkpointing(False): a frozen network stores no activations that it could save"
        )


def _check_all_reached(paths: Sequence[str], captured: dict[str, Tensor]) -> None:
    missing = [path for path in paths if path not in captured]
    if missing:
        raise ResonanceError(f"layers: {missing[0]!r} was not reached in this forward pass; name one that is")
