"""A whole training at equal epochs: the feature cache and all steps of resonance, against LoRA and full fine-tuning."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.arms import count_trainable, resonant
from benchmarks.bars import Bar, Spread, ratio
from benchmarks.measure import judged, timed
from benchmarks.networks import NETWORKS, Case
from benchmarks.results import ArmResult, Section
from benchmarks.rivals import lora
from benchmarks.training_step import LORA, RESIDUAL_SHARE, Step, lora_step
from dynaxx import ResonantModel
from dynaxx.training.cache.features import FeatureCache

READ = "a batch into the cache"
CACHED = "resonance, a step from the cache"
FINETUNE = "full fine-tuning, a step"
EPOCHS, VIEWS = 30, 18
"""Epochs and views of the experiment cifar10, with the views of shift_flip."""
BAR = 0.30
STEP_GOAL, WHOLE_GOAL = 0.1, 0.2
"""Goals for a step from the cache, and for a whole training, against LoRA of equal size."""


class Read(nn.Module):
    """The work of building the feature cache, on one batch."""

    def __init__(self, model: ResonantModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        return [pooled.contiguous() for pooled in self.model.read(x).pooled]


def cached_step(model: ResonantModel, x: Tensor, labels: Tensor) -> Step:
    """The pipeline's training step, including the reading of its anchors from a cache."""
    tail, anchors = model.tail(x), model.read(x)
    seen = [(tap, own[None]) for tap, own in zip(model.require_built().exchange.outputs, anchors.outputs, strict=True)]
    pooled = [tap[None] for tap in anchors.pooled]
    cache = FeatureCache(pooled, list(seen), frozenset(), tuple(anchors.grid), [], 0.0)
    share = max(1, round(RESIDUAL_SHARE * len(x)))

    def loss(x: Tensor) -> Tensor:
        order = torch.randperm(len(x))
        agreed, agreement = model.refine(cache.anchors(torch.zeros_like(order), order))
        assert agreement.residual is not None
        return F.cross_entropy(model.run_tail(agreed, tail), labels[order]) + agreement.residual(share).mean()

    model.train()
    return Step(loss, model.trainable_parameters())


def training_time(case: Case, budget: float, views: int = VIEWS, epochs: int = EPOCHS) -> Section:
    """Time all of them in turn, and compute the time of a whole training; for `budget` see `measure.timed`."""
    x, backbone = case.images(), case.backbone()
    tuned, labels = copy.deepcopy(backbone), torch.zeros(case.batch, dtype=torch.long, device=x.device)
    model = resonant(copy.deepcopy(backbone), x, layers=NETWORKS[case.network].layers, rank=case.rank)
    reader = resonant(copy.deepcopy(backbone), x, layers=NETWORKS[case.network].layers, rank=case.rank)
    parts: dict[str, nn.Module] = {
        FINETUNE: Step(lambda x: F.cross_entropy(tuned(x), labels), list(tuned.parameters())).eval(),
        CACHED: cached_step(model, x, labels).eval(),
        READ: Read(reader).eval(),
    }
    skipped: dict[str, str] = {}
    try:
        parts[LORA] = lora_step(lora(copy.deepcopy(backbone), count_trainable(model)).to(x), labels).eval()
    except ImportError as error:
        skipped[LORA] = str(error)
    seconds = timed(parts, x, budget)

    def whole(rival: str, most: float, goal: bool = False) -> Bar:
        return Bar(
            f"resonance, {views} views cached and {epochs} epochs / {rival.removesuffix(', a step')}, {epochs} epochs",
            most,
            (CACHED, rival, READ),
            lambda s: (views * s[READ] + epochs * s[CACHED]) / (epochs * s[rival]),
            goal,
        )

    bars = [whole(FINETUNE, BAR)]
    if LORA in parts:
        bars += [ratio(CACHED, LORA, STEP_GOAL, goal=True), whole(LORA, WHOLE_GOAL, goal=True)]
    verdicts, profiles = judged(bars, seconds, parts, x)
    rows = [
        ArmResult(name, Spread.of(1e3 * times), Spread.of(times / seconds[FINETUNE])) for name, times in seconds.items()
    ]
    title = f"training as a whole, {case.title}"
    return Section(title, FINETUNE, len(seconds[FINETUNE]), rows, verdicts, skipped, profiles)
