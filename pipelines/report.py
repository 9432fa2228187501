"""Stage `report`: a report page, an MLflow parent run for comparisons, and a registered model."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from dynaxx.data import LabelledImages, Prepared, load_prepared
from dynaxx.deployment import IMAGES, write_deployment
from dynaxx.evaluation import ArmResult, Evaluation
from dynaxx.evaluation.arms import ARMS, EXPLICIT, IMPLICIT
from dynaxx.evaluation.report import Choices, write_one_pager, write_plots, write_report
from dynaxx.evaluation.validation import read_label_curve, read_size_curve, read_tuned
from dynaxx.files import write_text
from dynaxx.tracking import (
    CHAMPION,
    ChildRecord,
    names,
    pipeline_key,
    reconcile,
    register,
    tracking_uri,
    write_environment,
)
from dynaxx.training.pretrained import load_backbone
from pipelines.common.stage import OUTPUTS, Stage, run, stage_key
from pipelines.common.subject import subject
from pipelines.common.task import BY_LABELS, LOGGED, TUNED, VARIED, kind_of_task
from pipelines.common.trained import trained_arm

PAGES = (
    "params.yaml",
    "environment.txt",
    "report.html",
    "report.md",
    "decision.html",
    "decision.json",
    "evaluation.json",
)
FOLDERS = ("plots", "pictures")

REGISTERED = "registered.txt"
"""File of the URI by which the registered model is served."""


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    evaluation = Evaluation.from_json(OUTPUTS / "evaluate" / "evaluation.json")
    selection = json.loads((OUTPUTS / "select_layers" / "selection.json").read_text())
    params: Any = OmegaConf.to_container(stage.params)
    drawn = OUTPUTS / "evaluate" / "pictures"
    choices = Choices(read_tuned(TUNED), read_size_curve(VARIED), read_label_curve(BY_LABELS))
    pictures = {file.stem: file.read_bytes() for file in sorted(drawn.glob("*.png"))}
    write_report(evaluation, selection, params, stage.out, choices, pictures)
    write_plots(evaluation, stage.out / "plots", choices)
    shutil.copytree(drawn, stage.out / "pictures", dirs_exist_ok=True)
    write_one_pager(evaluation, stage.out)
    shutil.copyfile("params.yaml", stage.out / "params.yaml")
    shutil.copyfile(OUTPUTS / "evaluate" / "evaluation.json", stage.out / "evaluation.json")
    text = Path("params.yaml").read_text()
    if not (locked := Path("dvc.lock")).exists():
        raise ValueError("dvc.lock is missing, by which a pipeline is known in MLflow; run `dvc repro`")
    lock = yaml.safe_load(locked.read_text())
    first = evaluation.task.seeds[0]
    modes = [arm.name for arm in evaluation.arms if arm.name in (EXPLICIT, IMPLICIT)]
    for mode in modes:
        shutil.copytree(trained_arm(mode, first), stage.out / "model" / mode, dirs_exist_ok=True)
    write_environment(stage.out / "environment.txt")
    prepared = load_prepared(OUTPUTS / "prepare")
    uri, key, task = tracking_uri(params["tracking"]["uri"]), pipeline_key(text, lock), evaluation.task
    description = f"{task.n_train} images to train on, {task.n_val} to validate, {task.n_test} to test"
    parent = reconcile(
        params["tracking"]["experiment"],
        uri=uri,
        key=key,
        children=[record for arm in evaluation.arms for record in _records(arm, evaluation, params)],
        parent_metrics=_parent_metrics(evaluation),
        params=params,
        artifacts=[
            *(stage.out / name for name in (*PAGES, *FOLDERS)),
            *(stage.out / "model" / mode for mode in modes),
        ],
        tags={names.TAG_DATA: task.data, "dynaxx.verdict": evaluation.decision.verdict},
        subject=subject(stage.params),
        data=(task.data, prepared.fingerprint(), description),
    )
    model = _register(stage, evaluation, prepared, uri, key, parent)
    write_text(stage.out / REGISTERED, model + "\n")
    decision = evaluation.decision
    return f"{decision.verdict} {decision.arm}: {decision.answers[0].reasons[0]} Registered as {model}."


def _register(stage: Stage, evaluation: Evaluation, prepared: Prepared, uri: str, key: str, parent: str) -> str:
    """Register the arm to deploy, with the alias champion if it is to be adopted; where nothing is, it is the probe.

    Returns:
        URI by which the model is served: the alias if it is to be adopted, else the version.
    """
    decision, first = evaluation.decision, evaluation.task.seeds[0]
    trained = trained_arm(decision.arm, first)
    folder = stage.out / "deployment"
    shutil.rmtree(folder, ignore_errors=True)
    backbone = load_backbone(stage.params.model, OUTPUTS / "pretrain", prepared.manifest.image_shape[0])
    images = prepared.task()
    write_deployment(folder, stage.params.model, backbone, trained, images, kind_of_task(stage.params))
    promote = decision.verdict == "adopt"
    version = register(
        uri,
        parent,
        key,
        decision.arm,
        folder,
        _example(images),
        promote=promote,
        tags={"verdict": decision.verdict, "report": f"runs:/{parent}/report.html"},
        model=stage.params.tracking.get("model"),
    )
    return f"{version.rpartition('/')[0]}@{CHAMPION}" if promote else version


def _example(data: LabelledImages) -> Any:
    """Two images with their sources, as the registered model is asked for them."""
    images = data.images[:2].numpy()
    if not data.sources:
        return images
    return {IMAGES: images} | {name: given[:2].float().numpy() for name, given in data.sources.items()}


def _records(arm: ArmResult, evaluation: Evaluation, params: dict[str, Any]) -> list[ChildRecord]:
    key = stage_key(ARMS[arm.name].stage)
    return [
        ChildRecord(
            arm.name,
            seed,
            key,
            {names.on_test(name): values[n] for name, values in _measures(arm, evaluation).items()}
            | _costs(arm)
            | {names.COST_TRAIN_SECONDS: arm.train_seconds_per_seed[n]},
            {section: params[section] for section in LOGGED},
        )
        for n, seed in enumerate(evaluation.task.seeds)
    ]


def _costs(arm: ArmResult) -> dict[str, float]:
    return {
        names.COST_GFLOPS: arm.gflops,
        names.COST_LATENCY_P50_MS: arm.latency.p50_ms,
        names.COST_LATENCY_P90_MS: arm.latency.p90_ms,
        names.COST_LATENCY_P99_MS: arm.latency.p99_ms,
        names.COST_LATENCY_RATIO: arm.latency.ratio,
        names.COST_PEAK_MEMORY_MB: arm.peak_memory_mb,
        names.COST_THROUGHPUT_PER_S: arm.throughput_per_s,
        names.COST_TRAIN_SECONDS: arm.train_seconds,
        names.COST_TRAINED_PARAMETERS: float(arm.trained_parameters),
    }


def _measures(arm: ArmResult, evaluation: Evaluation) -> dict[str, list[float]]:
    """Name → the metric, and the other measures, per seed."""
    return arm.measures_per_seed | {evaluation.task.metric.name: arm.value_per_seed}


def _parent_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Metrics of the parent run: those of the best reading, so that MLflow's UI compares pipelines."""
    arm = next(arm for arm in evaluation.arms if arm.name == evaluation.decision.best)
    means = {names.on_test(name): sum(values) / len(values) for name, values in _measures(arm, evaluation).items()}
    return means | _costs(arm)


if __name__ == "__main__":
    run("report", body)
