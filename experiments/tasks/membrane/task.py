"""A dense task: membranes, pixel by pixel, on a backbone that was trained on how many of them are nearby."""

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
from dynaxx.data import DataError, LabelledImages, Normalisation, normalise
from dynaxx.data.normalise import pixel_statistics
from dynaxx.evaluation.arms import ArmRecord, Task, TrainOptions
from dynaxx.files import write_text
from dynaxx.training.classifier_module import ClassifierModule
from dynaxx.training.fit import fit
from experiments.job import ANSWERS, WORLD, Job
from experiments.setting import changed
from experiments.tasks.membrane.arms import Enlarged, probe_dense, train_dense
from experiments.tasks.membrane.segmenter import SmallSegmenter
from experiments.tasks.membrane.slices import SliceData, density, read_slices

CLASSES = ("cell", "membrane")
TAPS = ("layer1", "layer2", "layer4")
PRETRAIN, POOL, TEST = range(10), range(10, 20), range(20, 30)
"""Slices lie behind one another in the tissue: parts of the stack, so that no neighbour of a test slice is trained on
but at the border."""
VAL = 2
CROP, CROPS, BATCH = 128, 256, 16


def run_membrane(job: Job, params: DictConfig, root: Path) -> str:
    """Run one job of the dense task; see `experiments.fit.run_job`."""
    changes = {key: value for key, value in job.changes.items() if key != "labels"}
    images, labels = slices(params.slices)
    params = changed(params, changes)
    if job.arm == WORLD:
        return _train_backbone(params, images, labels, job.folder(root))
    folder = job.folder(root)
    task = dense_task(params, images, root / job.world, root / job.world / (job.probes or job.regime) / "baseline")
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
    found = answers(model, images[chosen], task)
    save_file({"membrane": found}, folder / ANSWERS)
    score = intersection_over_union(found, labels[chosen]).mean()
    ArmRecord(job.arm, seed, "network", list(TAPS), count, count, 0.0, accuracy, {"iou": float(score)}).write(folder)
    return f"{job.name}: validation accuracy {accuracy:.4f}, IoU {float(score):.4f}" + " (test)" * job.tested


@torch.no_grad()
def answers(model: nn.Module, images: Tensor, task: Task) -> Tensor:
    """Whether each pixel is taken for membrane, bool as uint8 (N, H, W)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Enlarged(model).to(device).eval()
    return torch.cat([model(normalise(x[None], task.normalisation).to(device)).argmax(1).byte().cpu() for x in images])


def intersection_over_union(found: Tensor, labels: Tensor) -> Tensor:
    """Of the membrane, an image, (N,)."""
    both, either = (found.bool() & labels.bool()).sum((1, 2)), (found.bool() | labels.bool()).sum((1, 2))
    return both / either


@lru_cache
def slices(path: str) -> tuple[Tensor, Tensor]:
    """`read_slices`, once a process.

    Raises:
        DataError: see there, or fewer slices than the parts of the stack have.
    """
    images, labels = read_slices(Path(path))
    if len(images) < TEST.stop:
        raise DataError(f"{path}: {len(images)} slices; the dense task takes {TEST.stop}")
    return images, labels


def dense_task(params: DictConfig, images: Tensor, world: Path, probes: Path) -> Task:
    """What the dense arms are trained from; of the images it holds a part of one, for its shape."""
    facts = json.loads((world / "world" / "world.json").read_text())
    network = SmallSegmenter(num_classes=3)
    network.load_state_dict(load_file(world / "world" / "backbone.safetensors"))
    network.eval().requires_grad_(False)
    options: Any = OmegaConf.to_container(params.resonance)

    def backbone() -> nn.Module:
        return copy.deepcopy(network)

    return Task(
        backbone=backbone,
        fingerprint="",
        images=LabelledImages(images[:1, :, :64, :64], torch.zeros(1, dtype=torch.int64), CLASSES),
        normalisation=Normalisation(tuple(facts["mean"]), tuple(facts["std"])),
        n_train=None,
        n_val=VAL,
        taps=TAPS,
        resonance=options,
        train=TrainOptions(**params.train),
        trainer=lambda **more: instantiate(params.trainer)(**more),
        probes=probes,
        cache=world,
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
        ClassifierModule(Enlarged(network), 3, 0.05, params.model.pretrain.weight_decay),
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
