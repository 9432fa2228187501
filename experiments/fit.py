"""One job: training of its arm, and its predictions for the test images."""

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
from experiments.job import BACKBONE_ARM, CACHE, PREDICTIONS, Job
from experiments.published import published_task
from experiments.setting import build_cache, build_setting, changed
from pipelines.common.source import open_source

CORRUPTED = 1000
"""Number of test images of which corrupted versions are predicted."""


def run_job(job: Job, params: DictConfig, root: Path) -> str:
    """Run a job of the classification tasks and return its result in one line."""
    params, features = changed(params, job.changes), root / "features"
    folder = job.folder(root)
    if job.arm in (BACKBONE_ARM, CACHE):
        build = build_setting if job.arm == BACKBONE_ARM else build_cache
        build(params, root / job.setting, features)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{job.arm}.json", "{}\n")
        return f"{job.name}: built"
    task = published_task(params, taps=list(job.taps) or None, root=root / job.setting, cache=features)
    task = replace(task, probes=root / job.setting / (job.probes or job.condition) / "baseline")
    aside, checkpoints = (folder.with_name(f".{folder.name}{end}") for end in ("", "-checkpoints"))
    shutil.rmtree(aside, ignore_errors=True)
    score = _train(job, task, params, aside, checkpoints)
    if job.tested:
        _predict_test(job, task, params, aside)
    if not job.keep:
        (aside / BACKBONE).unlink(missing_ok=True)
    aside.rename(folder)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return f"{job.name}: validation accuracy {score:.3f}"


def _train(job: Job, task: Task, params: DictConfig, out: Path, checkpoints: Path) -> float:
    run = Run(job.seed, out, checkpoints)
    if job.arm == IMPLICIT:
        options = implicit.DistillOptions(**params.distill)
        teacher = out.parents[1] / EXPLICIT / f"seed-{job.seed}"
        implicit.train(task, run, teacher=teacher, options=options)
    else:
        ARMS[job.arm].train(task, run)
    return ArmRecord.read(out).val_score


def _predict_test(job: Job, task: Task, params: DictConfig, folder: Path) -> None:
    """Write the predicted classes of the test images, (N,), and of corrupted ones, (corruption · strength, M)."""
    test = _test_images(params)
    model: nn.Module = load_arm(folder, task.backbone())
    if torch.cuda.is_available():
        model = model.cuda()

    def classes(images: Tensor) -> Tensor:
        return logits(model, normalise(images, task.normalisation)).argmax(1).to(torch.uint8)

    found = {"clean": classes(test.images)}
    if job.corrupted:
        found["corrupted"] = torch.stack([classes(images) for images in _corrupted(params)])
    save_file(found, folder / PREDICTIONS)


_opened: dict[str, LabelledImages] = {}


def _test_images(params: DictConfig) -> LabelledImages:
    key = str(params.data)
    if key not in _opened:
        _opened[key] = open_source(params.data).test()
    return _opened[key]


_spoilt: dict[str, list[Tensor]] = {}


def _corrupted(params: DictConfig) -> list[Tensor]:
    """The first `CORRUPTED` test images in a fixed random order, under every corruption at every strength."""
    key = str(params.data)
    if key not in _spoilt:
        test = _test_images(params)
        images = test.images[corrupted_index(len(test))]
        _spoilt[key] = [corrupt(images, strength) for corrupt in CORRUPTIONS.values() for strength in STRENGTHS]
    return _spoilt[key]


@lru_cache
def corrupted_index(images: int) -> Tensor:
    """Numbers of the test images that are corrupted."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(0))[:CORRUPTED]
