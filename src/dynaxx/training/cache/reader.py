"""What one whole pass of the backbone gives for all candidate layers and the classifier, for an anchor store.

The messages of a model live on the grid of its last tap. Taps are chosen after the pass, and the last of them need not
be the last candidate: so the anchors are kept on the grid of each layer in the deeper half that may be the last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx import wrap_with_resonance
from dynaxx.backbone import canonical, capture, find_classifier, hooked
from dynaxx.errors import ResonanceError
from dynaxx.grid import Grid, on_grid
from dynaxx.model import fingerprint

OPTIONS = ("grid", "layout", "causal", "prefix_tokens", "token_pool")
"""Options of `wrap_with_resonance` that decide what is read of a layer."""


class AnchorReader:
    """Reads, in one pass: the anchors of all layers on the last one's grid, deviations, and the classifier's input.

    >>> tensors, facts = AnchorReader(network, ["layer2", "layer3"], images[:1])(images)
    >>> tensors["pooled_0"].shape, tensors["deviation_0"].shape, tensors["head"].shape
    (torch.Size([64, 49, 128]), torch.Size([64, 128]), torch.Size([64, 512]))

    Args:
        backbone: network in eval mode.
        paths: module paths of the layers; their number may be 0.
        example: images that reveal the layers' shapes, (B, C, H, W).
        options: options of the models to come; those in `OPTIONS` count.

    Raises:
        ResonanceError: layers that no one model can tap, as maps of two and of three axes.
    """

    def __init__(
        self, backbone: nn.Module, paths: Sequence[str], example: Tensor, options: Mapping[str, Any] | None = None
    ) -> None:
        self.backbone, self.weights = backbone, weights_of(backbone)
        chosen = {name: value for name, value in (options or {}).items() if name in OPTIONS}
        self.adapter = None
        if paths:
            wide = {"mode": "concat_probe", "readout": "moments", "num_classes": 1, "rank": 1, "T": 1}
            model = wrap_with_resonance(backbone, list(paths), example_input=example, **(chosen | wide))
            self.adapter = model.adapter
            model.remove()
        self.token_pool = bool(chosen.get("token_pool", False))
        try:
            self.classifier: str | None = find_classifier(backbone, None)[0]
        except ResonanceError:
            self.classifier = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Module paths of the layers in depth order."""
        return () if self.adapter is None else self.adapter.paths

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors of normalised images (B, C, H, W) by name, and the facts that `AnchorStore` needs of them.

        `pooled_n` (B, P, C) and `deviation_n` (B, C) are of layer n, and `finer_k_n` is layer n on the grid k of
        `facts["finer"]`. `head` (B, …) is the classifier's input, where the classifier runs once in a pass.
        """
        taps = [] if self.adapter is None else self.adapter.taps
        inputs: list[Tensor] = []
        answers: list[Any] = []

        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            inputs.append(args[0].clone())
            answers.append(output)

        copies = [tap.overwritten for tap in taps]
        hooks = {} if self.classifier is None else {self.classifier: note}
        with hooked(self.backbone, hooks), capture(self.backbone, self.paths, copy=copies) as seen:
            output = self.backbone(x.to(next(self.backbone.parameters()).device))
        parts: dict[str, Tensor] = {}
        facts: dict[str, Any] = {
            "weights": self.weights,
            "taps": [asdict(tap) for tap in taps],
            "token_pool": self.token_pool,
            "grid": [],
            "finer": [],
            "shapes": [],
            "classifier": self.classifier if len(inputs) == 1 else None,
            "answers": len(answers) == 1 and isinstance(output, Tensor) and torch.equal(answers[0], output),
        }
        if self.adapter is not None:
            activations = [seen[path] for path in self.paths]
            anchors = self.adapter.anchors(activations)
            own = [canonical(x, tap.layout) for x, tap in zip(activations, taps, strict=True)]
            facts |= {"grid": list(anchors.grid), "shapes": [list(x.shape[1:]) for x in own]}
            parts |= {f"pooled_{n}": pooled for n, pooled in enumerate(anchors.pooled)}
            parts |= {f"deviation_{n}": x for n, x in enumerate(anchors.outside) if isinstance(x, Tensor)}
            for k, (grid, last) in enumerate(self._finer(own, anchors.grid).items()):
                facts["finer"].append([list(grid), last + 1])
                parts |= {f"finer_{k}_{n}": on_grid(own[n], taps[n], grid, self.token_pool) for n in range(last + 1)}
        if len(inputs) == 1:
            parts["head"] = inputs[0]
        return {name: part.float().cpu() for name, part in parts.items()}, facts

    def _finer(self, own: Sequence[Tensor], grid: Grid) -> dict[Grid, int]:
        """Other grids of layers in the deeper half, in networks of maps → number of the deepest layer that has it."""
        assert self.adapter is not None
        if self.adapter.config.grid is not None or not all(tap.dims for tap in self.adapter.taps):
            return {}
        found = {tuple(own[number].shape[2:]): number for number in range(len(own) // 2, len(own))}
        return {other: number for other, number in found.items() if other != tuple(grid)}


def weights_of(backbone: nn.Module) -> str:
    """Values of all tensors of a network, whatever their names, at a few places each; see `dynaxx.model.fingerprint`.

    A network that training has changed has others, and so is never served by a store of the network before.

    >>> weights_of(network) == weights_of(copy.deepcopy(network))
    True
    """
    found = fingerprint(backbone, None)
    return "" if found is None else found["weights"]
