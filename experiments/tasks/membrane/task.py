"""A dense task: segmentation of membranes, on a backbone trained on the density of membranes."""

import copy
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.data import DataError, LabelledImages, Normalisation, normalise, pixel_statistics
from dynaxx.evaluation.arms import ArmRecord, Task, TrainOptions
from dynaxx.files import write_text
from dynaxx.training.classifier_module import ClassifierModule
from dynaxx.training.fit import fit
from experiments.job import BACKBONE_ARM, PREDICTIONS, Job
from experiments.published import READOUT
from experiments.setting import changed
from experiments.tasks.membrane.arms import Enlarged, Pixels, probe_dense, train_dense
from experiments.tasks.membrane.segmenter import SmallSegmenter
from experiments.tasks.membrane.slices import SliceData, density, read_slices

CLASSES = ("cell", "membrane")
TAPS = ("layer1", "layer2", "layer4")
PRETRAIN, POOL, TEST = range(10), range(10, 20), range(20, 30)
"""Contiguous parts of the stack of slices, so that only at a border a neighbour of a test slice is trained on."""
VAL = 2
CROP, CROPS, BATCH = 128, 256, 16


def run_membrane(job: Job, params: DictConfig, root: Path) -> str:
    """Run one job of the dense task; see `experiments.run.dispatch`."""
    changes = {key: value for key, value in job.changes.items() if key != "labels"}
    images, labels = slices(params.slices)
    params = changed(params, changes)
    if job.arm == BACKBONE_ARM:
        return _train_backbone(params, images, labels, job.folder(root))
    folder = job.folder(root)
    task = dense_task(
        params, images, root / job.setting, root / job.setting / (job.probes or job.condition) / "baseline"
    )
    seed, kept = job.seed, int(job.changes.get("labels", 8))
    order = torch.randperm(len(POOL), generator=torch.Generator().manual_seed(seed)) + POOL[0]
    train, val = order[VAL:][:kept], order[:VAL]
    parts = [(images[index], labels[index]) for index in (train, val)]
    data = SliceData(parts[0], parts[1], task.normalisation, size=CROP, count=CROPS, batch=BATCH, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = folder / "checkpoints"
    if job.arm == "baseline":
        model, accuracy = probe_dense(task, parts[0], parts[1], folder), 0.0
        count = sum(p.numel() for p in model.fc.parameters())
    else:
        model, accuracy, count = train_dense(job.arm, task, seed, data, checkpoints)
        if isinstance(model, ResonantModel):
            model.save_pretrained(folder)
    test = torch.tensor(list(TEST))
    chosen = test if job.tested else val
    found = predict(model, images[chosen], task)
    save_file({"membrane": found}, folder / PREDICTIONS)
    score = intersection_over_union(found, labels[chosen]).mean()
    ArmRecord(job.arm, seed, "network", list(TAPS), count, count, 0.0, accuracy, {"iou": float(score)}).write(folder)
    return f"{job.name}: validation accuracy {accuracy:.4f}, IoU {float(score):.4f}" + " (test)" * job.tested


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, task: Task) -> Tensor:
    """Predicted masks: 1 for membrane, uint8 (N, H, W)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Enlarged(model).to(device).eval()
    return torch.cat([model(normalise(x[None], task.normalisation).to(device)).argmax(1).byte().cpu() for x in images])


def intersection_over_union(found: Tensor, labels: Tensor) -> Tensor:
    """Intersection over union of the membrane per image, (N,)."""
    both, either = (found.bool() & labels.bool()).sum((1, 2)), (found.bool() | labels.bool()).sum((1, 2))
    return both / either


@lru_cache
def slices(path: str) -> tuple[Tensor, Tensor]:
    """The slices of `read_slices`, read once per process.

    >>> images, labels = slices("slices.zip")

    Raises:
        DataError: an unusable file, or fewer slices than the parts of the stack need.
    """
    images, labels = read_slices(Path(path))
    if len(images) < TEST.stop:
        raise DataError(f"{path}: {len(images)} slices; the dense task takes {TEST.stop}")
    return images, labels


def dense_task(params: DictConfig, images: Tensor, setting: Path, probes: Path) -> Task:
    """The task of the dense arms; its only image is a part of one slice and serves for the shape."""
    facts = json.loads((setting / BACKBONE_ARM / "world.json").read_text())
    network = SmallSegmenter(num_classes=3)
    network.load_state_dict(load_file(setting / BACKBONE_ARM / "backbone.safetensors"))
    network.eval().requires_grad_(False)
    options: Any = OmegaConf.to_container(params.resonance)

    def backbone() -> nn.Module:
        return copy.deepcopy(network)

    return Task(
        kind=Pixels(),
        backbone=backbone,
        fingerprint="",
        images=LabelledImages(images[:1, :, :64, :64], torch.zeros(1, dtype=torch.int64), CLASSES),
        normalisation=Normalisation(tuple(facts["mean"]), tuple(facts["std"])),
        n_train=None,
        n_val=VAL,
        taps=TAPS,
        resonance=options | {"readout": READOUT},
        train=TrainOptions(**params.train),
        trainer=lambda **more: instantiate(params.trainer)(**more),
        probes=probes,
        cache=setting,
        head="probe",
        penalties=list(params.baseline.C),
    )


def _train_backbone(params: DictConfig, images: Tensor, labels: Tensor, folder: Path) -> str:
    index = torch.tensor(list(PRETRAIN))
    normalisation = pixel_statistics(images[index])
    coarse = density(labels)
    data = SliceData(
        (images[index[:8]], coarse[index[:8]]),
        (images[index[8:]], coarse[index[8:]]),
        normalisation,
        size=CROP,
        count=CROPS,
        batch=BATCH,
        seed=0,
    )
    torch.manual_seed(0)
    network = SmallSegmenter(num_classes=3)
    epochs = params.model.pretrain.epochs
    accuracy, _ = fit(
        ClassifierModule(Enlarged(network), 0.05, params.model.pretrain.weight_decay, Pixels()),
        data,
        trainer=instantiate(params.trainer),
        checkpoints=folder / "checkpoints",
        epochs=epochs,
        patience=epochs,
        seed=0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in network.state_dict().items()}, folder / "backbone.safetensors")
    write_text(folder / "world.json", json.dumps(normalisation._asdict() | {"accuracy": accuracy}) + "\n")
    return f"membrane: backbone trained on thirds of density, validation accuracy {accuracy:.3f}"
