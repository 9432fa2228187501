"""The arms of the dense task: a probe, one-pass rivals, the loop, LoRA and full fine-tuning, on batches of crops."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from dynaxx import ResonanceOutput, ResonantModel
from dynaxx.backbone import Head
from dynaxx.data import normalise
from dynaxx.evaluation.arms import Task, direct, explicit, load_probe, save_probe
from dynaxx.evaluation.arms.linear import start_head
from dynaxx.evaluation.arms.lora import adapt
from dynaxx.evaluation.arms.matching import explicit_parameters
from dynaxx.evaluation.arms.resonant import ANCHORED, live_parameters, wrapped
from dynaxx.tasks import Classification, Examples, fit_logistic
from dynaxx.training.callbacks import ResidualGuard, StrengthWarmup
from dynaxx.training.finetune_module import FinetuneModule
from dynaxx.training.fit import fit
from dynaxx.training.kind_module import KindModule
from dynaxx.training.resonance_module import ResonanceModule
from experiments.tasks.membrane.segmenter import enlarged
from experiments.tasks.membrane.slices import Batch, SliceData

PIXELS = 40_000
"""Number of pixels that a probe is fitted on."""


@dataclass(frozen=True)
class Pixels(Classification):
    """A class per pixel, by cross-entropy; the accuracy is the share of right pixels.

    >>> logits, labels = torch.tensor([[[[3.0, 3.0]], [[0.0, 0.0]]]]), torch.tensor([[[0, 1]]])
    >>> Pixels().value(logits, labels)
    0.5
    """

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        """The share of right pixels of each image, (N,)."""
        return super().scores(output, target).flatten(1).mean(1)


class Enlarged(nn.Module):
    """A network with its logits enlarged to the resolution of its input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return enlarged(self.network(x), (x.shape[2], x.shape[3]))


class DenseResonance(ResonanceModule):
    """`ResonanceModule` whose logits are enlarged to the resolution of the labels."""

    def forward(self, batch: Any, sources: Mapping[str, Tensor] | None = None) -> tuple[Tensor, ResonanceOutput]:
        logits, agreement = super().forward(batch, sources)
        return enlarged(logits, (batch.shape[2], batch.shape[3])), agreement


def probe_dense(task: Task, train: Batch, val: Batch, folder: Path) -> Any:
    """Fit a converged probe on the input of the backbone's classifier, per pixel."""
    network: Any = task.backbone()
    read: list[Tensor] = []
    handle = network.fc.register_forward_pre_hook(lambda module, args: read.append(args[0].flatten(0, 2)))
    generator = torch.Generator().manual_seed(0)
    parts = []
    for images, labels in (train, val):
        read.clear()
        with torch.no_grad():
            network(normalise(images, task.normalisation))
        chosen = torch.randperm(len(read[0]), generator=generator)[:PIXELS]
        parts += [read[0][chosen], labels[:, ::2, ::2].flatten()[chosen]]
    handle.remove()
    train_part, val_part = Examples(parts[0], parts[1]), Examples(parts[2], parts[3])
    probe = fit_logistic(train_part, val_part, classes=task.outputs, penalties=task.penalties)
    head = Head(parts[0].shape[1], task.outputs)
    head.load_state_dict({"weight": probe.weight, "bias": probe.bias, "mean": probe.mean, "std": probe.std})
    save_probe(folder, head)
    network.fc = head
    return network


def train_dense(arm: str, task: Task, seed: int, data: SliceData, checkpoints: Path) -> tuple[nn.Module, float, int]:
    """Train one arm on the labelled slices; return the model, its best validation accuracy and its live parameters."""
    budget = task.train
    callbacks: list[pl.Callback] = []
    if arm in ("full_finetune", "lora"):
        pl.seed_everything(seed, verbose=False)
        model: Any = task.backbone()
        model.fc = load_probe(task.probes / f"seed-{seed}")
        if arm == "lora":
            head = model.fc
            model, _ = adapt(model, explicit_parameters(task, seed) - sum(p.numel() for p in head.parameters()))
            head.requires_grad_(True)
        else:
            model.requires_grad_(True)
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        module: KindModule = FinetuneModule(
            Enlarged(model), task.kind, lr=budget.lr, weight_decay=budget.weight_decay, freeze_norm=arm == "lora"
        )
    else:
        resonantly = _build(arm, task, seed)
        start_head(task, seed, resonantly)
        resonantly.fit_statistics(SliceData.val_dataloader(_all_of(data)))
        count, model = live_parameters(resonantly), resonantly
        penalty = 0.0 if arm == "explicit_T1" else budget.residual_penalty
        module = DenseResonance(
            resonantly, task.kind, lr=budget.lr, weight_decay=budget.weight_decay, residual_penalty=penalty
        )
        callbacks = [ResidualGuard(), StrengthWarmup(budget.warmup)]
    accuracy, _ = fit(
        module,
        data,
        trainer=task.trainer,
        checkpoints=checkpoints,
        epochs=budget.epochs,
        patience=budget.epochs,
        seed=seed,
        callbacks=callbacks,
        checkpoint_every=budget.epochs,
    )
    return model, accuracy, count


def _build(arm: str, task: Task, seed: int) -> ResonantModel:
    if arm == "explicit":
        return wrapped(task, seed, mode="explicit")
    if arm == "direct":
        return direct.build(task, seed, direct.sized_rank(task, seed))
    if arm == "explicit_T1":
        rank = explicit.one_iteration_rank(task, seed)
        return wrapped(task, seed, mode="explicit", T=1, rank=rank, **ANCHORED)
    raise ValueError(f"{arm}: no such arm in the dense task")


def _all_of(data: SliceData) -> SliceData:
    """The whole training slices, for the statistics."""
    whole = copy.copy(data)
    whole.val = (data.crops.images, data.crops.labels)
    return whole
