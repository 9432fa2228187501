"""Run by test_distributed.py: `two_processes.py OUT WHAT PROCESSES`, one model on one, two or more gloo processes.

WHAT is `judge` (validate alone), `judge-unreduced` (the same with the reductions taken out) or `train`.
"""

import json
import os
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.core.module import LightningModule

from dynaxx import wrap_with_resonance
from dynaxx.data import ImageData, LabelledImages, Normalisation
from dynaxx.data.shares import processes
from dynaxx.tasks import Classification
from dynaxx.training.callbacks import BestWeights
from dynaxx.training.fit import quiet
from dynaxx.training.resonance_module import ResonanceModule
from dynaxx.training.small_resnet import SmallResNet


def images(count: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = (pixels.float().mean((1, 2, 3)) > 127).long()
    return LabelledImages(pixels, labels, ("dark", "bright"))


def main(out: Path, what: str, count: int) -> None:
    quiet()
    pl.seed_everything(3, verbose=False)
    backbone = SmallResNet(2, 1, (4, 6, 8), 1).eval()
    model = wrap_with_resonance(
        backbone, ["layer1", "layer2", "layer3"], rank=3, T=3, num_classes=2, example_input=torch.zeros(1, 1, 8, 8)
    )
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    # 37 to judge on: neither a multiple of 8, the batch, nor of the processes
    data = ImageData(
        images(48, 0),
        images(37, 1),
        normalisation=Normalisation((0.5,), (0.3,)),
        batch_size=8,
        augmentation="flip",
        seed=5,
    )
    model.fit_statistics(data.train_dataloader())
    module = ResonanceModule(
        model, Classification(), lr=0.02, weight_decay=0.0, residual_penalty=0.0, residual_share=1.0
    )
    best = BestWeights()
    trainer = pl.Trainer(
        accelerator="cpu", devices=count, strategy=strategy(count), max_epochs=3, logger=False, callbacks=[best],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    if what == "judge-unreduced":
        take_reductions_out(module)
    if what == "train":
        trainer.fit(module, data)
    else:
        trainer.validate(module, data, verbose=False)
    found = {
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "processes": processes(),
        "weights": [float(parameter.detach().double().sum()) for parameter in model.trainable_parameters()],
        "steps": trainer.global_step,
        "best": best.score,
    }
    (out / f"{trainer.global_rank}.json").write_text(json.dumps(found))


def strategy(count: int) -> str:
    return "ddp" if count > 1 else "auto"


def take_reductions_out(module: ResonanceModule) -> None:
    """Each process keeps to what it has seen itself."""
    for metric in (module.decides, module.score, module.val_loss, module.val_residual):
        metric.distributed_available_fn = lambda: False
    log = LightningModule.log
    LightningModule.log = lambda self, *args, **kwargs: log(self, *args, **(kwargs | {"sync_dist": False}))  # type: ignore[method-assign]


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
