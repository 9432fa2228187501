"""A new head in the place of the backbone's classifier, without touching the backbone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.errors import ResonanceError


def find_classifier(backbone: nn.Module, named: str | None) -> tuple[str, nn.Linear]:
    """Path and module of the linear layer that a new head replaces: the one named, else the last one.

    Raises:
        ResonanceError: there is none, or the one named is not linear.
    """
    linear = {path: m for path, m in backbone.named_modules() if isinstance(m, nn.Linear)}
    if named is not None:
        if named not in linear:
            raise ResonanceError(f"classifier={named!r}: no linear layer of that path; linear are {_tail(linear)}")
        return named, linear[named]
    if not linear:
        raise ResonanceError(
            f"num_classes: {type(backbone).__name__} has no linear layer for a new head to replace; "
            "give num_classes=None to keep its own output"
        )
    return list(linear.items())[-1]


class Answer(nn.Module):
    """The new head in the place of the backbone's classifier.

    A sample whose features are not finite is answered NaN, and leaves the head's gradient clean.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """(…, F) → (…, classes)."""
        if not torch.is_autocast_enabled(features.device.type):
            features = features.to(next(self.head.parameters()).dtype)
        finite = torch.isfinite(features).all(-1, keepdim=True)
        # zeroed before the product: 0 · NaN would poison the weight's gradient
        logits: Tensor = self.head(torch.where(finite, features, 0.0))
        return logits.masked_fill(~finite, float("nan"))


@contextmanager
def headed(backbone: nn.Module, path: str | None, head: nn.Module | None) -> Iterator[None]:
    """Within the block `head` answers in the place of the module at `path`; nothing happens where head is None."""
    if head is None or path is None:
        yield
        return
    answer = Answer(head)
    handle = backbone.get_submodule(path).register_forward_hook(lambda module, args, output: answer(args[0]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def reading(backbone: nn.Module, path: str | None) -> Iterator[list[Tensor]]:
    """Within the block the list holds what the module at `path` was last given, (B, P, F), if there is a path."""
    seen: list[Tensor] = []
    if path is None:
        yield seen
        return

    def remember(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[:] = [args[0].detach().reshape(len(args[0]), -1, args[0].shape[-1])]

    handle = backbone.get_submodule(path).register_forward_pre_hook(remember)
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def check_classifier(backbone: nn.Module, path: str, run: Callable[[], Any]) -> None:
    """Make sure that what the module at `path` returns is what the backbone returns.

    Args:
        run: runs one forward pass of the backbone and returns its output.

    Raises:
        ResonanceError: it is not, so a head in its place would answer inside the network.
    """
    seen: list[Tensor] = []
    handle = backbone.get_submodule(path).register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        output = run()
    finally:
        handle.remove()
    output = getattr(output, "logits", output)  # as Hugging Face's models wrap it
    if not (len(seen) == 1 and isinstance(output, Tensor) and torch.equal(seen[0].nan_to_num(), output.nan_to_num())):
        raise ResonanceError(
            f"num_classes: {path!r}, the last linear layer, does not give the backbone's output; name the "
            "classifier with classifier='path', or keep the backbone's own with num_classes=None"
        )


def _tail(linear: dict[str, nn.Linear]) -> str:
    return ", ".join(list(linear)[-3:]) or "none"
