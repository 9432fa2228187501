"""Stage `evaluate`: evaluate the trained arms on the test samples, which no other stage decodes."""

import copy
import json

import torch
from safetensors.torch import save_file
from torch import Tensor

from dynaxx.data import LabelledImages, draw_images, load_prepared, remarks
from dynaxx.evaluation import EvaluateOptions, Stores, TaskSummary, evaluate, titled
from dynaxx.evaluation.inside import png
from dynaxx.training.pretrained import load_backbone
from pipelines.common.adapt import validation_images
from pipelines.common.source import open_source
from pipelines.common.stage import FEATURES, OUTPUTS, Stage, run
from pipelines.common.task import kind_of_task
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
    kind = kind_of_task(params)

    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        return draw_images(images, params.task.n_train, n_val, seed, params.task.imbalance, params.task.rare)

    train, _ = drawn(seeds[0])
    strata = kind.strata(labels[train])
    task = TaskSummary(
        data=params.data.name,
        kind=kind.name,
        metric=kind.metric,
        classes=list(test.classes),
        n_train=len(train),
        n_val=n_val,
        n_test=len(test),
        seeds=seeds,
        train_per_class=[] if strata is None else torch.bincount(strata, minlength=len(test.classes)).tolist(),
        groups=len(set(test.groups)),
        remarks=remarks(prepared, test, getattr(source, "skipped", {})),
    )

    def validation(seed: int) -> LabelledImages:
        return images.subset(drawn(seed)[1])

    found = evaluate(
        kind,
        trained_arms(kind, task.seeds, list(params.train_arms.arms)),
        lambda: copy.deepcopy(backbone.network),
        test,
        backbone.normalisation,
        task,
        EvaluateOptions(**params.evaluate),
        validation,
        Stores(FEATURES, params.train.cache_limit_gb),
    )
    evaluation = found.evaluation
    evaluation.to_json(stage.out / "evaluation.json")
    (stage.out / "pictures").mkdir(exist_ok=True)
    for name, picture in found.pictures.items():
        (stage.out / "pictures" / f"{name}.png").write_bytes(png(picture))
    save_file(
        {name: rows.contiguous() for name, rows in found.predictions.items()} | {"labels": test.labels},
        stage.out / "predictions.safetensors",
    )
    values = {arm.name: arm.mean for arm in evaluation.arms}
    (stage.out / "metrics.json").write_text(json.dumps({f"test_{kind.metric.name}": values}, indent=2) + "\n")
    best = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    return f"{evaluation.decision.verdict} {evaluation.decision.arm} (test {titled(kind.metric, plain=True)}: {best})"


if __name__ == "__main__":
    run("evaluate", body)
