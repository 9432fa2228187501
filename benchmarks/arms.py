"""The arms that are timed besides the bare backbone: resonance in its modes, and its rivals (see `rivals`)."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks import NETWORKS, Case
from benchmarks.rivals import FullSpaceLoop, RerunBackbone, concatenation, lora
from dynaxx import ResonanceError, ResonantModel, wrap_with_resonance

BARE = "bare backbone"
ITERATIONS = (1, 5, 20)


def explicit(T: int) -> str:
    """Name of the arm that runs `T` iterations of the anchored loop."""
    return f"explicit T={T}"


FOLDED = "explicit T=∞, folded"
IMPLICIT = "implicit"
REENTRANT = "reentrant T=5"
REENTRANT_LATE = "reentrant T=5, late taps"


def build(case: Case, backbone: nn.Module, x: Tensor) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Build all arms, the bare backbone first, and list those that cannot be built.

    >>> arms, skipped = build(QUICK, QUICK.backbone(), QUICK.images())

    Args:
        backbone: network that all arms share, except for LoRA, which changes its own copy.
        x: batch of the case's images.

    Returns:
        Name → model, and name → reason for each arm that cannot be built.
    """
    network = NETWORKS[case.network]

    def wrapped(**options: Any) -> ResonantModel:
        return resonant(backbone, x, **({"layers": network.layers, "rank": case.rank} | options))

    @cache
    def shared() -> ResonantModel:
        """The model of all arms that only read or run its couplings."""
        return wrapped(T=5)

    def folded() -> ResonantModel:
        model = wrapped(activation="identity", depthwise=False)
        model.fold()
        return model

    makers: dict[str, Callable[[], nn.Module]] = {BARE: lambda: backbone}
    makers |= {explicit(T): shared if T == 5 else partial(wrapped, T=T) for T in ITERATIONS}
    makers |= {FOLDED: folded, IMPLICIT: lambda: wrapped(mode="implicit")}
    makers[REENTRANT] = lambda: wrapped(dynamics="reentrant")
    if network.late is not None:
        makers[REENTRANT_LATE] = lambda: wrapped(layers=network.late, dynamics="reentrant")
    makers["full-space loop T=5"] = lambda: FullSpaceLoop(shared())
    makers["hooks re-running the backbone T=5"] = lambda: RerunBackbone(shared())
    makers["LoRA, peft, not merged"] = lambda: lora(backbone, count_trainable(shared())).to(x)
    makers["static concatenation"] = lambda: concatenation(backbone, shared().paths, x)

    arms: dict[str, nn.Module] = {}
    skipped: dict[str, str] = {}
    for name, make in makers.items():
        try:
            arms[name] = make().eval()
        except (ResonanceError, ImportError) as error:
            skipped[name] = str(error)
    return arms, skipped


def resonant(backbone: nn.Module, x: Tensor, **options: Any) -> ResonantModel:
    """`backbone` wrapped and standardised on `x`, with random non-zero couplings in place of trained ones."""
    torch.manual_seed(0)
    model = wrap_with_resonance(backbone, example_input=x[:1], **options)
    model.fit_statistics([x])
    resonator = model.require_built()
    for U in resonator.exchange.couplings.U:
        nn.init.normal_(U, std=0.02)  # ‖G‖ stays well below 1: the loop settles, and fold() does not refuse it
    if resonator.exchange.phi.kernel is not None:
        nn.init.normal_(resonator.exchange.phi.kernel, std=0.1)
    if resonator.student is not None:
        nn.init.normal_(resonator.student.out.weight, std=0.1)
    return model.to(x)


def count_trainable(model: ResonantModel) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.trainable_parameters())
