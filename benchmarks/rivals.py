"""What one would do without this library, as models that can be timed.

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
from dynaxx.backbone._linear_head import Head
from dynaxx.backbone.head import find_classifier
from dynaxx.backbone.taps import tapped
from dynaxx.evaluation.arms import TapProbe
from dynaxx.evaluation.arms.lora import dense_layers, nearest_rank
from dynaxx.resonance.bottleneck import Grid
from dynaxx.resonance.grid import from_grid, grid_of
from dynaxx.resonance.resonator import Engine


class FullSpaceLoop(nn.Module):
    """The anchored loop as its formula reads, on full-channel states instead of messages; the same answer.

        y_l ← (1-λ) y_l + λ (y_l⁰ + s Σ_k U_lk φ(V_lkᵀ y_k + b_lk)),    x_L = x_L⁰ + σ_L Up(y_L - y_L⁰)

    Args:
        model: whose couplings run; of feedback α = 1 and without gates.
    """

    def __init__(self, model: ResonantModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """The backbone's output, from the agreed last tap on."""
        overwritten = [info.overwritten for info in self.model.adapter.infos]
        with tapped(self.model.backbone, self.model.paths, self._on_last, overwritten):
            return self.model.backbone(x)

    def _on_last(self, activations: list[Tensor]) -> Tensor:
        engine = self.model.built()
        last = activations[-1]
        grid = grid_of(last, None)
        states = anchors = standardised(engine, activations, grid)
        for _ in range(self.model.T):
            c_BPR = engine.phi(engine.couplings.project(states), grid)
            targets = [y_BPC + written(engine, c_BPR, tap) for tap, y_BPC in enumerate(anchors)]
            states = [torch.lerp(*pair, engine.config.damping) for pair in zip(states, targets, strict=True)]
        return last + from_grid(engine.statistics.std(engine.last) * (states[-1] - anchors[-1]), grid, last)


class RerunBackbone(nn.Module):
    """What hooks alone can do: the whole backbone runs again for every iteration, T + 1 times in all.

        x_l = f_l(x_{l-1}) + s σ_l Up(Σ_k U_lk c_lk),    c_lk ← (1-λ) c_lk + λ φ(V_lkᵀ y_k + b_lk) between the passes

    Args:
        model: whose couplings run; without gates.
    """

    def __init__(self, model: ResonantModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last pass, the one that hears the messages c_T."""
        engine = self.model.built()
        c_BPR: Tensor | None = None
        for _ in range(self.model.T):
            _, activations = self._run(x, c_BPR)
            self.grid = grid_of(activations[-1], None)
            new_BPR = engine.phi(engine.couplings.project(standardised(engine, activations, self.grid)), self.grid)
            c_BPR = torch.lerp(torch.zeros_like(new_BPR) if c_BPR is None else c_BPR, new_BPR, engine.config.damping)
        return self._run(x, c_BPR)[0]

    def _run(self, x: Tensor, c_BPR: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The backbone's output and its taps' activations while it hears `c_BPR`."""
        activations: list[Tensor] = []

        def hear(tap: int, module: nn.Module, args: Any, output: Tensor) -> Tensor:
            del module, args
            engine = self.model.built()
            if c_BPR is not None and tap in engine.receivers():
                delta_BPC = engine.statistics.std(tap) * written(engine, c_BPR, tap)
                output = output + from_grid(delta_BPC, self.grid, output)
            activations.append(output.clone())  # what follows may overwrite it
            return output

        with ExitStack() as hooks:
            for tap, path in enumerate(self.model.paths):
                module = self.model.backbone.get_submodule(path)
                hooks.callback(module.register_forward_hook(partial(hear, tap)).remove)
            return self.model.backbone(x), activations


def standardised(engine: Engine, activations: Sequence[Tensor], grid: Grid) -> list[Tensor]:
    """y_l of every tap on the grid, (B, P, C_l)."""
    return [engine.statistics(engine.on_grid(x, grid), tap) for tap, x in enumerate(activations)]


def written(engine: Engine, c_BPR: Tensor, tap: int) -> Tensor:
    """s Σ_k U_lk c_lk of l = `tap`, in standard deviations, (B, P, C_l); a single 0 where no coupling speaks to it."""
    if tap not in engine.receivers():
        return c_BPR.new_zeros(())
    return engine.strength * (
        engine.couplings.gather(c_BPR, engine.couplings.into(tap)) @ engine.couplings.writes_into(tap)
    )


def lora(backbone: nn.Module, parameters: int) -> nn.Module:
    """A copy of `backbone` with peft's LoRA on every dense convolution and linear layer but the classifier.

    Args:
        backbone: its output is the copy's too.
        parameters: how many are to train; the rank is the one that comes nearest.
    """
    from peft import LoraConfig, get_peft_model

    backbone = copy.deepcopy(backbone)
    layers = dense_layers(backbone)
    rank = nearest_rank(backbone, layers, parameters)
    # B starts random: at zero, as peft would have it, the adapters would say nothing
    return get_peft_model(backbone, LoraConfig(r=rank, target_modules=layers, init_lora_weights=False))


def concatenation(backbone: nn.Module, paths: Sequence[str], x: Tensor) -> nn.Module:
    """A linear head on the mean activations of the taps, concatenated: what their static use costs."""
    with torch.no_grad(), tapped(backbone, paths, None) as seen:
        backbone(x[:1])
    width = sum(seen[path].shape[2 if seen[path].ndim == 3 else 1] for path in paths)
    return TapProbe(backbone, paths, Head(width, find_classifier(backbone, None)[1].out_features)).to(x)
