"""Alternatives to this library, as models that can be timed.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels.
"""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.backbone import Head, capture, find_classifier, grid_of, probe
from dynaxx.evaluation.arms import TapProbe
from dynaxx.evaluation.arms.lora import dense_layers, nearest_rank
from dynaxx.grid import Grid, from_grid, to_grid
from dynaxx.resonance import Exchange, resonate


class FullSpaceLoop(nn.Module):
    """The anchored loop on full activations, by `resonance.reference`: the formula letter by letter; the same output.

    >>> torch.testing.assert_close(FullSpaceLoop(model)(x), model(x))

    Args:
        model: the model whose couplings run, without gates.
    """

    def __init__(self, model: ResonantModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """The backbone's output, from the refined last tap on."""
        overwritten = [tap.overwritten for tap in self.model.adapter.taps]
        with capture(self.model.backbone, self.model.paths, self._on_last, overwritten):
            return self.model.backbone(x)

    def _on_last(self, activations: list[Tensor]) -> Tensor:
        exchange, last, config = self.model.require_built().exchange, activations[-1], self.model.config
        grid = grid_of(last, None)
        y0 = standardised(exchange, activations, grid)
        parts = reference_couplings(exchange, grid)
        written = resonate(
            y0, *parts, T=config.T, damping=config.damping, strength=exchange.strength, feedback=config.feedback
        )
        return last + from_grid(exchange.statistics.std(len(y0) - 1) * written[-1], grid, last)


class RerunBackbone(nn.Module):
    """Iteration by hooks alone: the whole backbone runs again in every iteration, T + 1 times in all.

        x_l = f_l(x_{l-1}) + s σ_l Up(Σ_k U_lk c_lk),    c_lk ← (1-λ) c_lk + λ φ(V_lkᵀ y_k + b_lk) between the passes

    >>> logits_BK = RerunBackbone(model)(x)

    Args:
        model: the model whose couplings run, without gates.
    """

    def __init__(self, model: ResonantModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last pass, which reads the messages c_T."""
        exchange, damping = self.model.require_built().exchange, self.model.config.damping
        c_BPR: Tensor | None = None
        for _ in range(self.model.T):
            _, activations = self._run(x, c_BPR)
            self.grid = grid_of(activations[-1], None)
            new_BPR = exchange.phi(exchange.read(standardised(exchange, activations, self.grid)), self.grid)
            c_BPR = torch.lerp(torch.zeros_like(new_BPR) if c_BPR is None else c_BPR, new_BPR, damping)
        return self._run(x, c_BPR)[0]

    def _run(self, x: Tensor, c_BPR: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The backbone's output and its taps' activations, with the messages `c_BPR` written to them."""
        activations: list[Tensor] = []

        def write(tap: int, module: nn.Module, args: Any, output: Tensor) -> Tensor:
            del module, args
            exchange = self.model.require_built().exchange
            if c_BPR is not None and tap in exchange.targets:
                output = output + from_grid(exchange.write(c_BPR, tap), self.grid, output)
            activations.append(output.clone())  # what follows may overwrite it
            return output

        with ExitStack() as hooks:
            for tap, path in enumerate(self.model.paths):
                module = self.model.backbone.get_submodule(path)
                hooks.callback(module.register_forward_hook(partial(write, tap)).remove)
            return self.model.backbone(x), activations


def standardised(exchange: Exchange, activations: Sequence[Tensor], grid: Grid) -> list[Tensor]:
    """y_l⁰ of every tap on the grid, (B, P, C_l)."""
    return exchange.standardise([to_grid(x, grid) for x in activations])


def reference_couplings(exchange: Exchange, grid: Grid) -> tuple[Any, ...]:
    """V, U, b and φ by (target, source), as `resonance.reference` takes them."""
    couplings, rank = exchange.couplings, exchange.couplings.rank
    matrices = {pair: couplings.of(pair) for pair in couplings.pairs}
    V, U, b = ({pair: found[which] for pair, found in matrices.items()} for which in range(3))
    parts = [slice(number * rank, (number + 1) * rank) for number in range(len(couplings.pairs))]
    phi = {p: partial(exchange.phi, grid=grid, part=part) for p, part in zip(couplings.pairs, parts, strict=True)}
    return V, U, b, phi


def lora(backbone: nn.Module, parameters: int) -> nn.Module:
    """A copy of `backbone` with peft's LoRA on every dense convolution and linear layer except the classifier.

    >>> adapted = lora(backbone, count_trainable(model))

    Args:
        backbone: network that is copied.
        parameters: target number of trainable parameters; the rank is chosen to come nearest.
    """
    from peft import LoraConfig, get_peft_model

    backbone = copy.deepcopy(backbone)
    layers = dense_layers(backbone)
    rank = nearest_rank(backbone, layers, parameters)
    # B starts random: at peft's default, zero, the adapters would have no effect
    return get_peft_model(backbone, LoraConfig(r=rank, target_modules=layers, init_lora_weights=False))


def concatenation(backbone: nn.Module, paths: Sequence[str], x: Tensor) -> nn.Module:
    """A linear head on the mean activations of the taps, concatenated: what their static use costs."""
    width = sum(tap.channels for tap in probe(backbone, paths, (x[:1],), {}))
    return TapProbe(backbone, paths, Head(width, find_classifier(backbone, None)[1].out_features)).to(x)
