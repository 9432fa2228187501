"""One job of the suite: the setting of a case, the tuning of an arm, or one fit with its scores on the test samples."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from omegaconf import DictConfig

from dynaxx.evaluation import Judge, Reading, Stores
from dynaxx.evaluation.arms import (
    ARMS,
    BASELINE,
    EXPLICIT,
    IMPLICIT,
    ArmRecord,
    Run,
    Task,
    implicit,
    is_trained,
    load_arm,
)
from dynaxx.evaluation.arms.linear import READ_SECONDS
from dynaxx.evaluation.arms.readout import with_readout
from dynaxx.evaluation.cost import hardware
from dynaxx.evaluation.statistics import Bootstrap
from dynaxx.evaluation.validation import SETTINGS, chosen, read_tuned, tune, with_settings, write_tuned
from dynaxx.spent import BACKBONE, FITTING, TRAINING, seconds
from experiments.setting import build_setting
from experiments.suite import cases, components, elsewhere
from experiments.suite.cases import COMPONENTS, TUNING_SEED, Case
from experiments.suite.results import FOLDER, Fit, write_about
from pipelines.common.source import open_source
from pipelines.common.task import build_task

SETTING, TUNING = "setting", "tuned"
"""What is built once for a case, and what is tuned for an arm; the other jobs are fits."""
PATHS = ("data.root", "model.weights", "train.pretrained")
"""Settings that are paths of a machine, and are not told in results."""


@dataclass(frozen=True)
class SuiteJob:
    """One job of a case; a fit is complete when its file of results is there, whichever machine wrote it.

    >>> SuiteJob(CASES["digits-600"], "explicit", 3).name
    'digits-600/explicit/seed-3'

    Attributes:
        case: the case.
        arm: the arm, or `SETTING`.
        seed: its seed; None tunes the arm.
        data: folder of the packs.
        results: folder of the results.
    """

    case: Case
    arm: str
    seed: int | None = None
    data: Path | None = None
    results: Path = FOLDER

    @property
    def name(self) -> str:
        if self.arm == SETTING:
            return f"{self.case.name}/{SETTING}"
        return (
            f"{self.case.name}/{TUNING}/{self.arm}"
            if self.seed is None
            else f"{self.case.name}/{self.arm}/seed-{self.seed}"
        )

    @property
    def path(self) -> Path:
        """The file of results."""
        return self.results / f"{self.name}.{'json' if self.seed is None else 'safetensors'}"

    def done(self, root: Path) -> bool:
        """Whether the job is complete; the setting lies below `root`."""
        if self.arm == SETTING:
            return (setting_of(root, self.case) / "complete").exists() and (
                self.results / self.case.name / "case.json"
            ).exists()
        return self.path.exists()

    def needs(self) -> list[str]:
        """Names of the jobs that must be complete first."""
        if self.arm == SETTING:
            return []
        found = [f"{self.case.name}/{SETTING}"]
        if self.seed is None:
            return found + [f"{self.case.name}/{TUNING}/{EXPLICIT}"] * (self.arm == IMPLICIT)
        if not _is_tuned(self.arm):
            return found
        return [*found, f"{self.case.name}/{TUNING}/{self.arm}"] + [f"{self.case.name}/{EXPLICIT}/seed-{self.seed}"] * (
            self.arm == IMPLICIT
        )


def jobs(case: Case, data: Path | None, results: Path = FOLDER) -> list[SuiteJob]:
    """All jobs of a case, seed by seed, so that a suite that is stopped has all readings with some seeds."""
    tuned = [arm for arm in (*case.readings, *case.rivals) if _is_tuned(arm)]
    order = sorted(tuned, key=lambda arm: (arm in case.rivals, arm == IMPLICIT))
    found = [SuiteJob(case, SETTING, None, data, results)]
    found += [SuiteJob(case, arm, None, data, results) for arm in order if arm not in case.rivals]
    found += [SuiteJob(case, arm, seed, data, results) for seed in range(cases.SEEDS) for arm in case.readings]
    found += [SuiteJob(case, arm, None, data, results) for arm in case.rivals]
    return found + [
        SuiteJob(case, arm, seed, data, results) for seed in range(cases.RIVAL_SEEDS) for arm in case.rivals
    ]


def _is_tuned(arm: str) -> bool:
    return arm != COMPONENTS and not ARMS[arm].converged


def run_suite_job(job: SuiteJob, params: DictConfig | None, root: Path) -> str:
    """Run a job and return its result in one line; `params` is not read, a case has its own."""
    del params
    settings = _params(job.case, job.data)
    place = setting_of(root, job.case)
    if job.arm == SETTING:
        return _build(job, settings, place, root)
    task = replace(build_task(settings, root=place, cache=root / "features"), probes=place / "fits" / BASELINE)
    if job.seed is None:
        return _tune(job, task, settings, place)
    return _fit(job, task, settings, place, root)


def setting_of(root: Path, case: Case) -> Path:
    """The folder of a case's prepared data, backbone and taps below `root`."""
    return root / "suite" / case.name


@lru_cache
def _params(case: Case, data: Path | None) -> DictConfig:
    return case.params(data)


def _build(job: SuiteJob, params: DictConfig, place: Path, root: Path) -> str:
    build_setting(params, place, root / "features", build_task)
    task = build_task(params, root=place, cache=root / "features")
    test = open_source(params.data).test()
    write_about(
        job.case.name,
        {
            "overrides": [word for word in job.case.overrides if word.partition("=")[0] not in PATHS],
            "kind": task.kind.name,
            "metric": asdict(task.kind.metric),
            "options": params.task.options and dict(params.task.options),
            "taps": list(task.taps),
            "train": len(task.split(0)[0]),
            "validation": task.n_val,
            "test": len(test),
            "groups": list(test.groups),
            "classes": list(test.classes),
            "labels": test.labels.tolist() if task.kind.labels == "classes" else [],
            "fingerprint": task.fingerprint,
        }
        | ({"elsewhere": elsewhere.about(job.case, job.data)} if job.case.elsewhere else {}),
        job.results,
    )
    (place / "complete").touch()
    return f"{job.name}: {', '.join(task.taps)}"


# ---- tuning ---------------------------------------------------------------------------------------------------------


def _tune(job: SuiteJob, task: Task, params: DictConfig, place: Path) -> str:
    """Choose the learning rate and the epochs of one arm on validation, with a seed that is not evaluated."""
    work = place / "tuning"
    task = replace(task, probes=work / BASELINE)
    _trained(BASELINE, task, TUNING_SEED, work / BASELINE / f"seed-{TUNING_SEED}", work)
    tried: Mapping[str, Any] = {setting: list(params.tune[setting] or []) for setting in SETTINGS}
    if job.arm in job.case.rivals:  # they train through the backbone
        tried = dict(tried) | {"epochs": []}
    train = ARMS[job.arm].train
    if job.arm == IMPLICIT:
        teacher_task = with_settings(task, _chosen(job, EXPLICIT))
        teacher = _trained(EXPLICIT, teacher_task, TUNING_SEED, work / "teacher" / f"seed-{TUNING_SEED}", work)
        options = implicit.DistillOptions(**params.distill)

        def train(task: Task, run: Run) -> None:
            budget = replace(options, lr=task.train.lr, epochs=task.train.epochs)
            implicit.train(task, run, teacher=teacher, options=budget)

        task = with_settings(task, {"lr": options.lr, "epochs": options.epochs})
    found = tune(job.arm, train, task, tried, TUNING_SEED, work)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    write_tuned(job.path, found, TUNING_SEED)
    return f"{job.name}: " + (", ".join(f"{t.setting} {t.chosen:g}" for t in found) or "nothing to tune")


def _chosen(job: SuiteJob, arm: str) -> dict[str, Any]:
    return dict(chosen(read_tuned(replace(job, arm=arm, seed=None).path), arm))


def _trained(arm: str, task: Task, seed: int, folder: Path, work: Path, **options: Any) -> Path:
    """The folder of a trained arm; it is trained if it is missing, by one process while others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not is_trained(folder):
            ARMS[arm].train(task, Run(seed, folder, work / "checkpoints" / f"{arm}-{seed}"), **options)
    return folder


# ---- fits -----------------------------------------------------------------------------------------------------------


def _fit(job: SuiteJob, task: Task, params: DictConfig, place: Path, root: Path) -> str:
    assert job.seed is not None
    fits = place / "fits"

    def folder(arm: str) -> Path:
        return fits / arm / f"seed-{job.seed}"

    def settings(arm: str) -> dict[str, Any]:
        return _chosen(job, arm) if _is_tuned(arm) else {}

    if job.arm != BASELINE:
        _trained(BASELINE, task, job.seed, folder(BASELINE), fits)  # new heads start from it
    before, mine, options = seconds(), settings(job.arm), {}
    if job.arm == IMPLICIT:
        tuned = with_settings(task, settings(EXPLICIT))
        teacher = _trained(EXPLICIT, tuned, job.seed, folder(EXPLICIT), fits)
        options = {"teacher": teacher, "options": implicit.DistillOptions(**(dict(params.distill) | mine))}
        before = seconds()
    if job.arm == COMPONENTS:
        components.train(
            task, Run(job.seed, folder(job.arm), fits / "checkpoints" / f"{job.arm}-{job.seed}"), params.data
        )
    else:
        _trained(job.arm, with_settings(task, mine), job.seed, folder(job.arm), fits, **options)
    spent = {name: value - before.get(name, 0.0) for name, value in seconds().items()}
    judge = _judge(params, task, root)
    if job.arm == COMPONENTS:
        output = components.answers(folder(job.arm), task, judge.data)
    else:
        model = load_arm(folder(job.arm), task.backbone())
        output = judge.outputs(model.cuda() if torch.cuda.is_available() else model)
    scores = judge.scores([output])
    record = ArmRecord.read(folder(job.arm))
    metric = task.kind.metric
    fitting = spent.get(TRAINING, 0.0) + spent.get(FITTING, 0.0)
    if (
        not _is_tuned(job.arm) and job.arm != COMPONENTS
    ):  # its fit may have been kept from before, with the seconds that it took
        fitting = record.train_seconds - float(record.notes.get(READ_SECONDS, 0.0))
    test_elsewhere = components.elsewhere if job.arm == COMPONENTS else elsewhere.scored
    there = dict(test_elsewhere(folder(job.arm), task, job.case, judge, job.data))
    fit = Fit(
        job.arm,
        job.seed,
        judge.values(scores)[0],
        record.val_score,
        dict(judge.kind.measures(output, judge.data)),
        record.trained_parameters,
        record.live_parameters,
        fitting,
        mine,
        dict(record.notes) | {"backbone seconds": spent.get(BACKBONE, 0.0)},
        hardware(),
        {name: float(values.mean()) for name, values in there.items()},
    )
    fit.write(job.path, scores, there)
    if job.arm not in (BASELINE, EXPLICIT):  # which others start from
        shutil.rmtree(folder(job.arm))
    return f"{job.name}: {metric.name} {fit.test:.4f} on test, {fit.validation:.4f} on validation"


_judges: dict[str, Judge] = {}
"""Settings → judge of the test samples, once in a process."""


def _judge(params: DictConfig, task: Task, root: Path) -> Judge:
    key = json.dumps([str(params.data), task.fingerprint])
    if key not in _judges:
        test = open_source(params.data).test()
        layers = list(task.candidates or task.taps)
        options = with_readout(replace(task, taps=layers), task.resonance)
        stores = Stores(root / "features", task.train.cache_limit_gb)
        store = stores.kept(task.backbone(), Reading(layers, options), test.images, task.normalisation)
        _judges[key] = Judge(
            task.kind, test, task.normalisation, Bootstrap(resamples=1000, confidence=0.95, seed=0), store
        )
    return _judges[key]
