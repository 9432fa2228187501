"""Training of all resonance adapters: on cached activations if the augmentation permits, else on live ones."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from dynaxx import ResonanceError, ResonantModel, wrap_with_resonance
from dynaxx.backbone import Tail, moments
from dynaxx.config import LINEAR
from dynaxx.data import ImageData, views
from dynaxx.data.shares import processes
from dynaxx.evaluation.arms.anchors import store_of, tell
from dynaxx.evaluation.arms.readout import tapped, with_readout
from dynaxx.evaluation.arms.recipe import fit_arm, image_data
from dynaxx.evaluation.arms.record import ArmRecord, save_backbone
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.model import anchor_parts
from dynaxx.training.cache.batches import CachedData
from dynaxx.training.cache.features import FeatureCache, cache_key, open_cache
from dynaxx.training.distributed import rank_zero
from dynaxx.training.resonance_module import ResonanceModule

ANCHORED = {"dynamics": "anchored", "order": "gauss_seidel"}
"""Adapter options of single-pass arms, whatever the options of `explicit`: no backbone part runs twice."""


@dataclass(frozen=True)
class Source:
    """Training batches of one seed.

    Attributes:
        data: yields (`Anchors`, labels) or (images, labels); `Anchors` are the backbone's own tapped activations.
        tail: the part of the backbone behind the tapped layers; None if the batches are images.
        read_seconds: seconds to measure mean and deviation of the tapped activations; 0 with a cache.
    """

    data: CachedData | ImageData
    tail: Tail | None
    read_seconds: float

    @property
    def seconds(self) -> float:
        """Seconds to run the backbone for the feature cache and for the activation statistics.

        These seconds count as training time of every arm, whichever arm built the cache.
        The value is complete only after training has begun.
        """
        return self.read_seconds + (self.data.seconds if isinstance(self.data, CachedData) else 0.0)


def wrapped(task: Task, seed: int, **changes: Any) -> ResonantModel:
    """The task's backbone with a new resonance adapter; its head is not trained yet."""
    pl.seed_everything(seed, verbose=False)
    layers = tapped(task)
    options = with_readout(task, task.resonance | changes)
    linear = options.get("mode") in LINEAR
    if linear:
        options["rank"] = 1  # it sends no messages, and one layer may have fewer channels than the loop has ranks
    else:
        options["sources"] = {name: given.shape[1] for name, given in task.images.sources.items()}
    return wrap_with_resonance(
        task.backbone(),
        layers,
        # a linear reading is a head, also where the others keep the backbone's own
        num_classes=task.outputs if linear or task.head == "probe" else None,
        example_input=task.example(),
        **options,
    )


def source(task: Task, seed: int, model: ResonantModel, *, fit_statistics: bool = True) -> Source:
    """Batches to train `model` on; activation mean and deviation are fitted to the training images."""
    train, val = task.split(seed)
    started = time.perf_counter()
    known = views(task.train.augmentation, min(task.images.images.shape[-2:]))
    if model.config.dynamics == "reentrant" or task.train.backbone_lr is not None:
        known = None  # what runs the backbone again needs more of it than a cache holds; what trains it, needs it anew
    if task.train.cache_limit_gb == 0:
        known = None
    tail = None
    if known is not None:
        try:
            tail = model.tail(task.example())
            tell(f"training from cached activations; behind the tapped layers runs {tail.way}")
        except ResonanceError as error:
            tell(f"training from live activations: {error}")
    if known is None or tail is None:
        images = image_data(task, seed)
        if fit_statistics:
            model.fit_statistics(images.train_dataloader())
        return Source(images, None, time.perf_counter() - started)
    key = cache_key(model, of=f"{task.fingerprint}, {task.variant}", views=task.train.augmentation)

    def opened(device: torch.device) -> FeatureCache:
        store = store_of(task, device)
        if store is not None and store.serves(model, tail):
            return store.cache(model)
        home = next(model.parameters()).device
        model.to(device)  # where it is not built yet, it is built there
        limit = task.train.cache_limit_gb
        try:
            return open_cache(task.cache, key, model, task.images.images, task.normalisation, known, limit, tail)
        finally:
            model.to(home)  # Lightning moves it in its own time

    def then(data: CachedData) -> None:
        if fit_statistics:
            parts = (anchor_parts(anchors) for anchors, _ in data.training_batches())
            model.require_built().exchange.statistics.set(moments(parts))

    data = CachedData(
        model,
        opened,
        task.images,
        train,
        val,
        augmentation=task.train.augmentation,
        batch_size=task.train.batch_size,
        seed=seed,
        then=then,
    )
    return Source(data, tail, 0.0)


def train_resonant(
    task: Task,
    run: Run,
    model: ResonantModel,
    module: Callable[[Tail | None], ResonanceModule],
    *,
    arm: str,
    epochs: int,
    callbacks: list[Callback],
    before: float,
    teacher: ArmRecord | None = None,
    keep_statistics: bool = False,
    notes: Notes | None = None,
) -> None:
    """Train `model` with a LightningModule and save the trained arm to `run.out`.

    >>> module = lambda tail: ResonanceModule(model, Classification(), lr=1e-3, tail=tail)
    >>> train_resonant(task, run, model, module, arm="explicit", epochs=20, callbacks=[], before=0.0)

    Args:
        module: function from the backbone part behind the tapped layers (or None) to the LightningModule.
        before: seconds of training that `model` has had, such as those in which its head was fitted.
        teacher: record of the trained arm that `model` starts from; activation mean and deviation are kept.
        keep_statistics: whether activation mean and deviation stay, because the couplings were trained with them.
    """
    batches = source(task, run.seed, model, fit_statistics=teacher is None and not keep_statistics)
    lightning_module = module(batches.tail)
    trained = sum(parameter.numel() for parameter in model.trainable_parameters())
    score, seconds = fit_arm(task, run, lightning_module, batches.data, epochs=epochs, callbacks=callbacks)
    model.eval()
    if not rank_zero():
        return
    spoilt = next((n for n, p in model.named_parameters() if not torch.isfinite(p).all()), None)
    if spoilt is not None:
        raise FloatingPointError(f"{arm}, seed {run.seed}: {spoilt} is not finite after training; lower train.lr")
    model.save_pretrained(run.out)
    if task.train.backbone_lr is not None:
        save_backbone(run.out, model.backbone)
    # `implicit` starts from a trained `explicit`: add the teacher's training time, but not the feature cache again
    total = before + seconds + (batches.seconds if teacher is None else teacher.train_seconds)
    trained += 0 if teacher is None else teacher.trained_parameters
    all_notes = (notes or {}) | {"processes": processes()}
    live = live_parameters(model)
    ArmRecord(arm, run.seed, "resonance", list(model.paths), trained, live, total, score, all_notes).write(run.out)


def live_parameters(model: ResonantModel) -> int:
    """Number of adapter and head parameters that affect the output in the current mode of the model."""
    resonator = model.require_built()
    head = sum(p.numel() for p in model.head.parameters()) if model.head is not None else 0
    head += sum(p.numel() for p in model.backbone.parameters() if p.requires_grad)
    way = model.config.way(training=False)
    if way == "linear":
        return head
    everything = sum(p.numel() for p in resonator.parameters())
    student = sum(p.numel() for p in resonator.student.parameters()) if resonator.student is not None else 0
    if way == "loop":
        return head + everything - student  # a coupling that cannot reach the output was never made
    exchange = resonator.exchange
    loop = sum(p.numel() for p in exchange.phi.parameters())
    unread = sum(U.numel() for tap, U in enumerate(exchange.couplings.U) if tap not in exchange.outputs)
    return head + everything - loop - unread
