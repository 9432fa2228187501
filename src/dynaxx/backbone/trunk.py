"""The stages of a network whose structure is not known by name, as one pass shows them."""

import math
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.taps import Hook, hooked


@torch.no_grad()
def observed_stages(model: nn.Module, call: Call) -> list[str]:
    """Module paths of the stages of `model` in the order of a pass with the arguments `call`; empty without such.

    >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    >>> observed_stages(network, ((torch.ones(1, 4),), {}))
    ['0', '2', '3']

    The trunk is the outermost module with three children that run once, hold parameters and return activations of one
    kind; without such, the module with the most.
    The first of more than three is the stem, and no stage. A stage ends with the last child at each resolution; where
    there are fewer than three resolutions, each child is a stage.
    """
    held = [path for path, module in model.named_modules() if path and next(module.parameters(), None) is not None]
    seen: dict[str, list[Any]] = {path: [] for path in held}

    def noting(path: str) -> Hook:
        return lambda module, args, output: seen[path].append(output)

    with hooked(model, {path: noting(path) for path in seen}):
        model(*call[0], **call[1])
    trunks: dict[tuple[str, int], list[tuple[str, Tensor]]] = {}
    for path, outputs in seen.items():
        first = outputs[0][0] if outputs and isinstance(outputs[0], (tuple, list)) else outputs[0] if outputs else None
        if len(outputs) == 1 and isinstance(first, Tensor) and first.ndim > 1 and first.is_floating_point():
            trunks.setdefault((path.rpartition(".")[0], first.ndim), []).append((path, first))

    # of trunks alike, maps and sequences before plain features
    def rank(trunk: tuple[str, int]) -> tuple[int, int, int]:
        path, axes = trunk
        return min(len(trunks[trunk]), 3), -len(path.split(".")) if path else 0, axes

    children = trunks[max(trunks, key=rank)] if trunks else []
    children = children[1:] if len(children) > 3 else children
    groups = [[path for path, _ in group] for _, group in groupby(children, key=lambda child: _size(child[1]))]
    return [group[-1] for group in groups] if len(groups) > 2 else [path for path, _ in children]


def _size(x: Tensor) -> int:
    """The number of positions, up to the sizes of kernels: the rounded binary logarithm of values per channel."""
    return round(math.log2(max(x.shape[2:].numel(), 1))) if x.ndim > 3 else 0
