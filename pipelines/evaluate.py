"""Stage `evaluate`: evaluate the trained arms on the test images, which no other stage decodes."""

import copy
import json

import torch
from safetensors.torch import save_file

from dynaxx.data import draw_images, load_prepared, remarks
from dynaxx.evaluation import EvaluateOptions, TaskSummary, evaluate
from dynaxx.evaluation.inside import png
from dynaxx.training.pretrained import load_backbone
from pipelines.common.adapt import validation_images
from pipelines.common.source import open_source
from pipelines.common.stage import OUTPUTS, Stage, run
from pipelines.common.trained import trained_arms


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    params = stage.params
    prepared = load_prepared(OUTPUTS / "prepare")
    backbone = load_backbone(params.model, OUTPUTS / "pretrain", prepared.manifest.image_shape[0])
    source = open_source(params.data)
    test = source.test()
    prepared.manifest.check(test)
    images, seeds = prepared.task(), list(params.task.seeds)
    labels, n_val = images.labels, validation_images(params, images)
    train, _ = draw_images(images, params.task.n_train, n_val, seeds[0], params.task.imbalance, params.task.rare)
    task = TaskSummary(
        data=params.data.name,
        classes=list(test.classes),
        n_train=len(train),
        n_val=n_val,
        n_test=len(test),
        seeds=seeds,
        train_per_class=torch.bincount(labels[train], minlength=len(test.classes)).tolist(),
        remarks=remarks(prepared, test, getattr(source, "skipped", {})),
    )
    folders = trained_arms(task.seeds, list(params.train_arms.arms))
    evaluation, predictions, pictures = evaluate(
        folders,
        lambda: copy.deepcopy(backbone.network),
        test,
        backbone.normalisation,
        task,
        EvaluateOptions(**params.evaluate),
    )
    evaluation.to_json(stage.out / "evaluation.json")
    (stage.out / "pictures").mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (stage.out / "pictures" / f"{name}.png").write_bytes(png(picture))
    save_file(predictions | {"labels": test.labels}, stage.out / "predictions.safetensors")
    metrics = {arm.name: sum(arm.accuracy_per_seed) / len(arm.accuracy_per_seed) for arm in evaluation.arms}
    (stage.out / "metrics.json").write_text(json.dumps({"test_accuracy": metrics}, indent=2) + "\n")
    best = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    return f"{evaluation.decision.verdict} (test accuracy: {best})"


if __name__ == "__main__":
    run("evaluate", body)
