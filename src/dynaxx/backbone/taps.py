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
        ResonanceError: a tap was not reached (on exit without another error); within the pass, a tap was reached twice
            or returned no tensor of three or four dimensions.
    """
    captured: dict[str, Tensor] = {}

    def capturing(number: int) -> Hook:
        path = paths[number]

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor | None:
            if path in captured:
                raise ResonanceError(f"layers: {path!r} runs more than once in a pass, so it cannot be a tap")
            if not isinstance(output, Tensor) or output.ndim not in (3, 4):
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ResonanceError(f"layers: {path!r} returns {got}, not a (B, C, H, W) or (B, N, C) tensor")
            captured[path] = output.clone() if copy is not None and copy[number] else output
            if on_last is None or number != len(paths) - 1:
                return None
            _check_all_reached(paths, captured)
            return on_last([captured[p] for p in paths])

        return hook

    with hooked(backbone, {path: capturing(number) for number, path in enumerate(paths)}):
        yield captured
        _check_all_reached(paths, captured)


@torch.no_grad()
def probe(backbone: nn.Module, paths: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tap]:
    """The taps at `paths`, in the order in which one pass of the backbone reaches them.

    >>> [(tap.path, tap.channels) for tap in probe(network, ["layer3", "layer2"], (images,), {})]
    [('layer2', 128), ('layer3', 256)]

    Raises:
        ResonanceError: the cases of `capture`, or a mixture of feature maps and token sequences.
    """
    versions: dict[str, int] = {}

    def noting(path: str) -> Hook:
        return lambda module, args, output: versions.__setitem__(path, output._version)

    with torch.inference_mode(False), capture(backbone, paths) as captured, ExitStack() as inner:
        inner.enter_context(hooked(backbone, {path: noting(path) for path in paths}))
        backbone(*args, **kwargs)
    taps = [
        Tap(path, x.shape[2] if x.ndim == 3 else x.shape[1], x.ndim == 3, x._version != versions[path])
        for path, x in captured.items()
    ]
    if len({tap.tokens for tap in taps}) > 1:
        kinds = ", ".join(f"{tap.path} {'(B, N, C)' if tap.tokens else '(B, C, H, W)'}" for tap in taps)
        raise ResonanceError(f"layers: maps and token sequences cannot be coupled ({kinds}); name taps of one kind")
    return taps


def check_fits(path: str, x: Tensor, channels: int, tokens: bool) -> None:
    """Raise ResonanceError unless the activation `x` at `path` has the couplings' kind (map or tokens) and width."""
    if x.shape[2 if tokens else 1] != channels or (x.ndim == 3) != tokens:
        kind = "(B, N, C)" if tokens else "(B, C, H, W)"
        raise ResonanceError(
            f"layers: {path!r} gave {tuple(x.shape)}, the couplings were made for {kind} with C={channels}; "
            "use the backbone that they were trained on"
        )


def _check_all_reached(paths: Sequence[str], captured: dict[str, Tensor]) -> None:
    missing = [path for path in paths if path not in captured]
    if missing:
        raise ResonanceError(f"layers: {missing[0]!r} was not reached in this forward pass; name one that is")
