"""Train one job's arm and write down what it answers to the test images."""

import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from dynaxx.data import LabelledImages, normalise
from dynaxx.evaluation import logits
from dynaxx.evaluation.arms import ARMS, BACKBONE, EXPLICIT, IMPLICIT, ArmRecord, Run, Task, implicit, load_arm
from dynaxx.evaluation.robustness import CORRUPTIONS, STRENGTHS
from dynaxx.files import write_text
from experiments.job import ANSWERS, CACHE, MEMBRANE, WORLD, Job
from experiments.setting import build_cache, build_world, changed
from experiments.tasks.membrane.task import run_membrane
from pipelines.common.source import open_source
from pipelines.common.task import build_task

CORRUPTED = 1000
"""Test images of which corrupted versions are answered."""


def run_job(job: Job, params: DictConfig, root: Path) -> str:
    """Run it and return one line that says what came of it."""
    if job.world == MEMBRANE:
        return run_membrane(job, params, root)
    params, features = changed(params, job.changes), root / "features"
    folder = job.folder(root)
    if job.arm in (WORLD, CACHE):
        build = build_world if job.arm == WORLD else build_cache
        build(params, root / job.world, features)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{job.arm}.json", "{}\n")
        return f"{job.name}: built"
    task = build_task(params, taps=list(job.taps) or None, root=root / job.world, cache=features)
    task = replace(task, probes=root / job.world / (job.probes or job.regime) / "baseline")
    aside, checkpoints = (folder.with_name(f".{folder.name}{end}") for end in ("", "-checkpoints"))
    shutil.rmtree(aside, ignore_errors=True)
    accuracy = _train(job, task, params, aside, checkpoints)
    if job.tested:
        _answer(job, task, params, aside)
    if not job.keep:
        (aside / BACKBONE).unlink(missing_ok=True)
    aside.rename(folder)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return f"{job.name}: validation accuracy {accuracy:.3f}"


def _train(job: Job, task: Task, params: DictConfig, out: Path, checkpoints: Path) -> float:
    run = Run(job.seed, out, checkpoints)
    if job.arm == IMPLICIT:
        options = implicit.DistillOptions(**params.distill)
        teacher = out.parents[1] / EXPLICIT / f"seed-{job.seed}"
        implicit.train(task, run, teacher=teacher, options=options)
    else:
        ARMS[job.arm].train(task, run)
    return ArmRecord.read(out).val_accuracy


def _answer(job: Job, task: Task, params: DictConfig, folder: Path) -> None:
    """Classes given to the test images, (N,), and to corrupted ones, (corruption · strength, M), as bytes."""
    test = _test_images(params)
    model: nn.Module = load_arm(folder, task.backbone())
    if torch.cuda.is_available():
        model = model.cuda()

    def classes(images: Tensor) -> Tensor:
        return logits(model, normalise(images, task.normalisation)).argmax(1).to(torch.uint8)

    found = {"clean": classes(test.images)}
    if job.corrupted:
        found["corrupted"] = torch.stack([classes(images) for images in _corrupted(params)])
    save_file(found, folder / ANSWERS)


_opened: dict[str, LabelledImages] = {}


def _test_images(params: DictConfig) -> LabelledImages:
    key = str(params.data)
    if key not in _opened:
        _opened[key] = open_source(params.data).test()
    return _opened[key]


_spoilt: dict[str, list[Tensor]] = {}


def _corrupted(params: DictConfig) -> list[Tensor]:
    """The first `CORRUPTED` test images of a fixed shuffle, under every corruption at every strength."""
    key = str(params.data)
    if key not in _spoilt:
        test = _test_images(params)
        images = test.images[corrupted_index(len(test))]
        _spoilt[key] = [corrupt(images, strength) for corrupt in CORRUPTIONS.values() for strength in STRENGTHS]
    return _spoilt[key]


@lru_cache
def corrupted_index(images: int) -> Tensor:
    """Which test images are corrupted."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(0))[:CORRUPTED]
