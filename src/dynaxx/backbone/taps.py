"""Reading taps: the hooks of one forward pass, and what a first pass learns about them.

Hooks live only while a pass runs. The user's model never keeps one: it can be copied, saved, compiled and called on
its own at any time, and a second thread that calls it meanwhile is not listened to.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.errors import ResonanceError


@dataclass(frozen=True)
class TapInfo:
    """What a first pass found at one tap.

    Attributes:
        path: module path.
        channels: C_l.
        tokens: whether the activation is (B, N, C_l) rather than (B, C_l, H_l, W_l).
        overwritten: whether a later in-place operation changes the activation, so that reading it needs a copy.
        causal: whether a token hears only itself and those before it.
        prefix: tokens in front of those that have neighbours.
        seen: whether something behind the last tap reads it; the last one always is.
    """

    path: str
    channels: int
    tokens: bool
    overwritten: bool
    causal: bool = False
    prefix: int = 0
    seen: bool = False


@contextmanager
def tapped(
    backbone: nn.Module,
    paths: Sequence[str],
    on_last: Callable[[list[Tensor]], Tensor] | None,
    copy: Sequence[bool] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Listen to `paths` while the block runs one forward pass of `backbone`.

    Args:
        paths: taps in the order in which the pass reaches them; any order where `on_last` is None.
        on_last: gets every tap's activation when the last one is reached, and returns what goes on in its place.
        copy: taps whose activation must be copied, since something overwrites it.

    Yields:
        the activations by path, filled as the pass goes, in call order.

    Raises:
        ResonanceError: on exit without another error, a tap was not reached; within the pass, a tap was reached
            twice or returned no tensor of three or four dimensions.
    """
    seen: dict[str, Tensor] = {}
    thread = threading.get_ident()

    def listener(number: int) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        path = paths[number]

        def listen(module: nn.Module, args: Any, output: Any) -> Tensor | None:
            if threading.get_ident() != thread:
                return None
            if path in seen:
                raise ResonanceError(f"layers: {path!r} runs more than once in a pass, so it cannot be a tap")
            if not isinstance(output, Tensor) or output.ndim not in (3, 4):
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ResonanceError(f"layers: {path!r} returns {got}, not a (B, C, H, W) or (B, N, C) tensor")
            seen[path] = output.clone() if copy is not None and copy[number] else output
            if on_last is None or number != len(paths) - 1:
                return None
            _all_reached(paths, seen)
            return on_last([seen[p] for p in paths])

        return listen

    handles = [backbone.get_submodule(p).register_forward_hook(listener(n)) for n, p in enumerate(paths)]
    try:
        yield seen
        _all_reached(paths, seen)
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def probe(backbone: nn.Module, paths: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> list[TapInfo]:
    """Run the backbone once and tell what its taps are, in the order in which the pass reaches them.

    Raises:
        ResonanceError: see `tapped`; also where maps and token sequences are mixed.
    """
    versions: dict[str, int] = {}
    with torch.inference_mode(False), tapped(backbone, paths, None) as seen:
        handles = [
            backbone.get_submodule(path).register_forward_hook(
                lambda module, args, output, path=path: versions.__setitem__(path, output._version)
            )
            for path in paths
        ]
        try:
            backbone(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
    infos = [
        TapInfo(path, x.shape[2] if x.ndim == 3 else x.shape[1], x.ndim == 3, x._version != versions[path])
        for path, x in seen.items()
    ]
    if len({info.tokens for info in infos}) > 1:
        kinds = ", ".join(f"{info.path} {'(B, N, C)' if info.tokens else '(B, C, H, W)'}" for info in infos)
        raise ResonanceError(f"layers: maps and token sequences cannot be coupled ({kinds}); name taps of one kind")
    return infos


def check_fits(path: str, x: Tensor, channels: int, tokens: bool) -> None:
    """Raise ResonanceError unless the activation `x` at `path` is of the kind and width the couplings were made for."""
    if x.shape[2 if tokens else 1] != channels or (x.ndim == 3) != tokens:
        kind = "(B, N, C)" if tokens else "(B, C, H, W)"
        raise ResonanceError(
            f"layers: {path!r} gave {tuple(x.shape)}, the couplings were made for {kind} with C={channels}; "
            "use the backbone that they were trained on"
        )


def _all_reached(paths: Sequence[str], seen: dict[str, Tensor]) -> None:
    missing = [path for path in paths if path not in seen]
    if missing:
        raise ResonanceError(f"layers: {missing[0]!r} was not reached in this forward pass; name one that is")
