"""Capturing the activations of taps (tapped layers), and finding their shapes.

Hooks live only during a pass, and only the thread that runs the pass triggers them. So the user's model keeps no hook.
The model can be copied, saved, compiled and called at any time, also while another thread runs a hooked pass.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.layout import ChannelAxes, batches_of_two, canonical, changed_axis, crossing, layout_of, original
from dynaxx.config import MAPS
from dynaxx.errors import ResonanceError
from dynaxx.resonance import Tap

Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]
"""A forward hook: from module, arguments and output to a replacement of the output, or None."""

_REGISTERING = threading.Lock()  # torch numbers and stores hooks without one


@contextmanager
def hooked(backbone: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """Within the block, calls of this thread run the forward hooks at these module paths.

    >>> with hooked(network, {"layer1": lambda module, args, output: output + 1}):
    ...     logits = network(images)
    """
    thread = threading.get_ident()

    def own(hook: Hook) -> Hook:
        def run(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            return hook(module, args, output) if threading.get_ident() == thread else None

        return run

    with ExitStack() as registered:
        for path, hook in hooks.items():
            module = backbone.get_submodule(path)
            with _REGISTERING:
                handle = module.register_forward_hook(own(hook))
            registered.callback(_removed, handle)
        yield


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
    versions: dict[str, int] = {}

    def capturing(number: int) -> Hook:
        path = paths[number]

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if path in captured:
                raise ResonanceError(f"layers: {path!r} runs more than once in a pass, so it cannot be a tap")
            activation = activation_of(path, output)
            captured[path] = activation.clone() if copy is not None and copy[number] else activation
            if not captured[path].is_inference():
                versions[path] = captured[path]._version
            if on_last is None or number != len(paths) - 1:
                return None
            _check_all_reached(paths, captured)
            changed = [p for p, version in versions.items() if captured[p]._version != version]
            if changed:
                raise ResonanceError(
                    f"backbone: it was changed after wrapping: a later operation now overwrites the activation of "
                    f"{changed[0]!r} in place; wrap it again"
                )
            return with_activation(output, on_last([captured[p] for p in paths]))

        return hook

    with hooked(backbone, {path: capturing(number) for number, path in enumerate(paths)}):
        yield captured
        _check_all_reached(paths, captured)


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
        calls = batches_of_two(args, kwargs, axis)
        if calls is None:
            continue
        try:
            return _taps(backbone, paths, calls, layout)
        except _SamplesMix as error:
            mixed = mixed or (error if axis == 0 else None)
        except ResonanceError:
            raise
        except Exception:  # networks raise anything at a batch that they are not made for
            continue
    if mixed is not None:
        raise ResonanceError(str(mixed))
    return _taps(backbone, paths, [(tuple(args), kwargs)], layout)


class _SamplesMix(ResonanceError):
    """One sample of a batch affects others."""


def _taps(backbone: nn.Module, paths: Sequence[str], calls: Sequence[Call], layout: str | None) -> list[Tap]:
    """The taps from one call of the backbone, or from two that differ in the first sample, to see its axis."""
    seen: dict[str, tuple[Tensor, int, bool]] = {}  # activation, its version, whether it was in a tuple
    axes = ChannelAxes()

    def noting(path: str) -> Hook:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            activation = activation_of(path, output)
            seen[path] = activation, activation._version, activation is not output

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
    taps = []
    for path, one in passes[0].items():
        activation, version, nested = seen[path]
        samples = changed_axis(one, passes[-1][path])
        if samples is None:
            raise _SamplesMix(
                f"layers: at {path!r}, {tuple(one.shape)}, one sample of a batch changes others, and each must have "
                "its own answer; name layers whose samples are apart"
            )
        found = layout_of(path, one, samples, axes.of(activation), layout)
        width = canonical(one, found).shape[1 if found in MAPS else 2]
        taps.append(Tap(path, width, found, activation._version != version, nested))
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


def refuse_recomputing(backbone: nn.Module) -> None:
    """Raise ResonanceError if the backbone recomputes activations in the backward pass, where no hook listens."""
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
