"""One step of training, forward, backward and AdamW: resonance from cached anchors against LoRA of equal size."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.arms import count_trainable, resonant
from benchmarks.bars import Spread, ratio
from benchmarks.measure import judged, timed
from benchmarks.networks import NETWORKS, Case
from benchmarks.results import ArmResult, Section
from benchmarks.rivals import lora
from dynaxx import ResonantModel
from dynaxx.evaluation.cost import peak_memory_mb

RESONANT = "resonance, from cached anchors"
LORA = "LoRA, peft"
BAR = 0.1
RESIDUAL_SHARE = 0.25
"""Share of the batch on which the residual penalty is computed, as in `ResonanceModule` by default."""


class Step(nn.Module):
    """A training step, called and timed like a forward pass.

    >>> step = Step(lambda x: F.cross_entropy(model(x), labels), list(model.parameters()))
    >>> loss = step(x)

    Args:
        loss: loss of a batch. Both rivals keep the backbone's head, so neither trains one.
        parameters: parameters that the step updates.
    """

    def __init__(self, loss: Callable[[Tensor], Tensor], parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.loss = loss
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        """Take one step on the images and return the loss before it."""
        with torch.enable_grad():
            loss = self.loss(x)
            loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def resonant_step(model: ResonantModel, x: Tensor, labels: Tensor) -> Step:
    """The pipeline's training step on a batch of anchors: cross-entropy and the residual of a part of the batch."""
    tail = model.tail(x)
    anchors = model.read(x)
    share = max(1, round(RESIDUAL_SHARE * len(x)))

    def loss(x: Tensor) -> Tensor:
        del x  # its anchors were read before: this is what the cache is for
        seen, agreement = model.refine(anchors)
        assert agreement.residual is not None
        return F.cross_entropy(model.run_tail(seen, tail), labels) + agreement.residual(share).mean()

    model.train()
    return Step(loss, model.trainable_parameters())


def lora_step(model: nn.Module, labels: Tensor) -> Step:
    """A step on the cross-entropy of the whole network, with frozen batch norms as in the resonant backbone."""
    return Step(lambda x: F.cross_entropy(model(x), labels), [p for p in model.parameters() if p.requires_grad])


def training(case: Case, budget: float) -> Section:
    """Time both steps in turn; for `budget` see `measure.timed`."""
    x, backbone = case.images(), case.backbone()
    labels = torch.arange(case.batch, device=x.device)
    model = resonant(copy.deepcopy(backbone), x, layers=NETWORKS[case.network].layers, rank=case.rank)
    steps: dict[str, nn.Module] = {RESONANT: resonant_step(model, x, labels).eval()}
    skipped: dict[str, str] = {}
    try:
        adapted = lora(backbone, count_trainable(model)).to(x)
    except ImportError as error:
        skipped[LORA] = str(error)
    else:
        steps[LORA] = lora_step(adapted, labels).eval()
    reference = LORA if LORA in steps else RESONANT
    peaks = {name: peak_memory_mb(step, x) for name, step in steps.items()}
    seconds = timed(steps, x, budget)
    verdicts, profiles = judged([ratio(RESONANT, LORA, BAR)], seconds, steps, x)
    rows = [
        ArmResult(name, Spread.of(1e3 * times), Spread.of(times / seconds[reference]), peaks[name])
        for name, times in seconds.items()
    ]
    return Section(
        f"training step, {case.title}", reference, len(seconds[reference]), rows, verdicts, skipped, profiles
    )
