"""A new linear head that replaces the backbone's classifier, without changing the backbone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone.taps import hooked, refuse_cut_gradients
from dynaxx.errors import ResonanceError


class Head(nn.Linear):
    """logits = W (f - μ) / σ + b: a linear head for a new task, on standardised features.

    μ and σ (F) are buffers. Before `standardise`, μ = 0 and σ = 1, and the head is a plain linear layer.
    """

    mean: Tensor
    std: Tensor
    shift: Tensor | None
    scale: Tensor | None

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes)
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("std", torch.ones(in_features))
        self.register_buffer("shift", None)
        self.register_buffer("scale", None)

    def forward(self, features: Tensor) -> Tensor:
        """Outputs of a batch of features: (…, F) → (…, classes)."""
        outputs = super().forward((features - self.mean) / self.std)
        return outputs if self.scale is None or self.shift is None else self.shift + self.scale * outputs

    @torch.no_grad()
    def in_units(self, shift: Tensor, scale: Tensor) -> None:
        """Let outputs be shift + scale · (W (f - μ) / σ + b), with the present outputs kept; (classes,) each.

        Weights of a regression are then of the size of a classifier's, whatever the unit of its numbers.

        >>> Head(8, 1).in_units(torch.tensor([170.0]), torch.tensor([10.0]))
        """
        shift, scale = shift.to(self.bias), scale.to(self.bias)
        if self.shift is not None and self.scale is not None:
            self.weight.mul_(self.scale[:, None])
            self.bias.copy_(self.shift + self.scale * self.bias)
        self.weight.copy_(self.weight / scale[:, None])
        self.bias.copy_((self.bias - shift) / scale)
        self.shift, self.scale = shift.clone(), scale.clone()

    @torch.no_grad()
    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Set μ and σ, and adjust weights and bias so that the logits stay the same."""
        folded = self.weight.double() / self.std.double()
        mean, std = mean.to(folded), std.to(folded)
        self.bias.add_(folded @ (mean - self.mean.to(folded)))
        self.weight.copy_(folded * std)
        self.mean.copy_(mean)
        self.std.copy_(std)


class SafeHead(nn.Module):
    """A wrapper of `head`: a sample with non-finite features gets NaN logits and leaves the head's gradient finite."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, input: Tensor) -> Tensor:  # named as in nn.Linear, for networks that name it
        """Logits of features, (…, F) → (…, classes), in the features' own type, which may be of half precision."""
        features = input
        autocast, dtype = torch.is_autocast_enabled(features.device.type), features.dtype
        if not autocast:
            features = features.to(next(self.head.parameters()).dtype)
        finite = torch.isfinite(features).all(-1, keepdim=True)
        # zeroed before the product: 0 · NaN would poison the weight's gradient
        logits: Tensor = self.head(torch.where(finite, features, 0.0))
        logits = logits if autocast else logits.to(dtype)
        return logits.masked_fill(~finite, float("nan"))


def find_classifier(backbone: nn.Module, named: str | None) -> tuple[str, nn.Linear]:
    """Path and module of the linear layer that a new head replaces: the named layer, by default the last one.

    >>> path, linear = find_classifier(torchvision.models.resnet18(), None)
    >>> path
    'fc'

    Raises:
        ResonanceError: no linear layer exists, or the named layer is not linear.
    """
    linear = {path: m for path, m in backbone.named_modules() if isinstance(m, nn.Linear)}
    if named is not None:
        if named not in linear:
            last = ", ".join(list(linear)[-3:]) or "none"
            raise ResonanceError(f"classifier={named!r}: no linear layer of that path; linear are {last}")
        return named, linear[named]
    if not linear:
        raise ResonanceError(
            f"num_classes: {type(backbone).__name__} has no linear layer for a new head to replace; "
            "give num_classes=None to keep its own output"
        )
    return list(linear.items())[-1]


@contextmanager
def replaced_head(backbone: nn.Module, path: str | None, head: nn.Module | None) -> Iterator[None]:
    """Within the block, in this thread, `head` replaces the module at `path`; no replacement if either is None."""
    if head is None or path is None:
        yield
        return
    safe, learning = SafeHead(head), head.training and torch.is_grad_enabled()

    def replace(module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor:
        if learning:
            refuse_cut_gradients(path)
        logits: Tensor = safe(args[0])
        return logits

    with hooked(backbone, {path: replace}):
        yield


@contextmanager
def capture_input(backbone: nn.Module, path: str | None) -> Iterator[list[Tensor]]:
    """Within the block the list holds the last input (B, P, F) of the module at `path`; empty without a path."""
    captured: list[Tensor] = []

    def remember(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
        captured[:] = [args[0].detach().reshape(len(args[0]), -1, args[0].shape[-1])]

    with hooked(backbone, {} if path is None else {path: remember}):
        yield captured


@torch.no_grad()
def check_classifier(backbone: nn.Module, path: str, run: Callable[[], Any], named: bool = False) -> None:
    """Raise ResonanceError unless the output of the module at `path` is the backbone's output; if it is `named` by the
    user, unless it runs at all.

    >>> check_classifier(network, "fc", lambda: network(images))

    Args:
        backbone: the network.
        path: module path of a linear layer.
        run: function that runs one forward pass of the backbone and returns its output.
        named: whether the user named the module.
    """
    outputs: list[Tensor] = []
    with hooked(backbone, {path: lambda module, args, output: outputs.append(output)}):
        output = run()
    if named:
        if not outputs:
            raise ResonanceError(f"classifier={path!r}: it does not run in a pass, so no head can replace it")
        return
    # Hugging Face models return an object, others a dict
    logits: Any = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    one = len(outputs) == 1 and isinstance(logits, Tensor)
    if not (one and torch.equal(outputs[0].nan_to_num(), logits.nan_to_num())):
        raise ResonanceError(
            f"num_classes: {path!r}, the last linear layer, does not give the backbone's output; name the "
            "classifier with classifier='path', or keep the backbone's own with num_classes=None"
        )
