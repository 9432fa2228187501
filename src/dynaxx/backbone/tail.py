"""The part of the network after the taps, as a module of its own, for training from cached activations."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone.example import Call, as_call
from dynaxx.backbone.graph import Split
from dynaxx.backbone.replay import Replay, same
from dynaxx.backbone.taps import Hook, capture
from dynaxx.errors import ResonanceError
from dynaxx.grid import Tap


class Tail(nn.Module):
    """A function of the output taps' activations, in depth order, to the backbone's output.

    Attributes:
        way: how it runs, in words.
        beside: whether it reads what `Anchors.outside` holds, beside the taps.
    """

    def __init__(self, part: nn.Module, way: str, beside: bool = False) -> None:
        super().__init__()
        self.part, self.way, self.beside = part, way, beside

    def forward(self, refined: Sequence[Tensor], outside: Sequence[object] = ()) -> Any:
        """The backbone's output, where `outside` is what `outside()` returned for the same samples."""
        return self.part(refined, outside) if self.beside or isinstance(self.part, Replay) else self.part(refined)

    @property
    def others(self) -> list[str]:
        """Paths of the layers besides the taps whose activations `outside` gives; "" is the network's input."""
        return self.part.read if isinstance(self.part, Replay) else []

    def outside(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """The activations besides the taps' that the tail reads in a pass with these arguments, (B, …) each."""
        return self.part.outside(*args, **kwargs) if isinstance(self.part, Replay) else ()

    def listening(self, call: Call) -> tuple[dict[str, Hook], Callable[[], tuple[Tensor, ...]]]:
        """Hooks for a pass that runs anyway, and a function that then gives what `outside` gives, without another."""
        return self.part.listening(call) if isinstance(self.part, Replay) else ({}, tuple)


@torch.no_grad()
def tail_of(backbone: nn.Module, taps: Sequence[Tap], example: Any) -> Tail:
    """The part of the network after the taps: a module from the output taps' activations to the backbone's output.

    >>> tail = tail_of(network, [Tap("layer2", 128, "BCHW"), Tap("layer3", 256, "BCHW", output=True)], images)
    >>> tail([torch.zeros(2, 256, 4, 4)]).shape
    torch.Size([2, 1000])

    The first way that gives the backbone's output on `example` is taken: the graph that torch.fx traces, or the
    backbone's own code with the layers before the taps left out.

    Raises:
        ResonanceError: neither gives the backbone's output.
    """
    call, paths = as_call(example), [tap.path for tap in taps]
    outputs = [number for number, tap in enumerate(taps) if tap.output]
    with capture(backbone, paths, copy=[True] * len(taps)) as captured:
        expected = backbone(*call[0], **call[1])
    try:
        split = Split(backbone, taps, call)
        part = split.tail()
        if split.outputs() == outputs and same(part([captured[paths[n]] for n in outputs]), expected):
            return Tail(part, "the graph that torch.fx traced")
    except ResonanceError:
        pass
    replay = Replay(backbone, taps, call)
    beside = f", beside {', '.join(path or 'the input' for path in replay.read)}" if replay.read else ""
    return Tail(replay, f"the network's own code from the taps on{beside}")
