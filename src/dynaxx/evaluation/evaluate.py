"""From trained arms to results: every arm answers the test samples, and its cost is measured.

An arm is a competitor of the comparison: a trained model on top of the same backbone. This module trains nothing.

Shape legend: S seeds, N test samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dynaxx.data import LabelledImages, Normalisation, track
from dynaxx.evaluation.answers import Answers, answers_of
from dynaxx.evaluation.arms import BASELINE, EXPLICIT, ArmRecord, load_arm
from dynaxx.evaluation.business_value import with_value
from dynaxx.evaluation.cost.flops_memory import gflops, peak_memory_mb
from dynaxx.evaluation.cost.hardware import hardware
from dynaxx.evaluation.costs import COST
from dynaxx.evaluation.decision import decide, questioned
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.inside.look import look_inside
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.options import EvaluateOptions
from dynaxx.evaluation.pricing import Pricing
from dynaxx.evaluation.results import ArmResult, Corruption, Evaluation, TaskSummary
from dynaxx.evaluation.robustness.accuracy import robustness
from dynaxx.evaluation.shown import Answered, shown
from dynaxx.evaluation.statistics.comparisons import agreements, class_gains, compare, pairs
from dynaxx.evaluation.statistics.metrics import per_class_recall
from dynaxx.evaluation.statistics.scores import Scores
from dynaxx.evaluation.stores import Stores, reading_of
from dynaxx.evaluation.timings import Example, timings
from dynaxx.spent import LOOKING, TIMING, spent
from dynaxx.tasks import Kind
from dynaxx.training.cache.store import AnchorStore


@dataclass(frozen=True)
class Found:
    """What `evaluate` returns: the results, and what is too large for a JSON file."""

    evaluation: Evaluation
    predictions: dict[str, Tensor]
    """Arm → what it answers, (S, N, …); of masks those of the first seed alone, (1, N, H, W)."""
    pictures: dict[str, Tensor]
    """Name → picture, uint8 (H, W, 3)."""


def evaluate(
    kind: Kind,
    folders: Mapping[str, Mapping[int, Path]],
    backbone: Callable[[], nn.Module],
    test: LabelledImages,
    normalisation: Normalisation,
    summary: TaskSummary,
    options: EvaluateOptions,
    validation: Callable[[int], LabelledImages] | None = None,
    stores: Stores | None = None,
) -> Found:
    """Measure quality and cost of every arm on the test samples, and decide which arm to deploy.

    >>> folders = {"baseline": {0: Path("outputs/baseline/baseline/seed-0")}, "explicit": {0: …}}
    >>> evaluate(Classification(), folders, backbone, test, normalisation, summary, options).evaluation.decision.verdict
    'adopt'

    Args:
        kind: the task kind, which scores answers and says what is to be shown.
        folders: name of the arm → seed → folder of the trained arm; all arms have the same seeds.
        backbone: function that makes a new copy of the frozen backbone.
        test: labelled test samples; no training or tuning has used them.
        normalisation: mean and standard deviation per channel, with which images are normalised.
        summary: description of the task, copied into the results.
        options: what is measured, and how the decision is made.
        validation: seed → its validation samples, on which the thresholds of `options.costs` are chosen.
        stores: opens stores of anchors, so that the backbone reads each image once for all arms that leave it as it is;
            None: each arm reads by itself.

    Raises:
        EvaluationError: `folders` is empty, a file of an arm is damaged, or `options.costs` does not fit the task.
    """
    if not folders:
        raise EvaluationError("folders: no trained arm to evaluate; run the training stages first")
    store = None
    if stores is not None:
        store = stores.kept(backbone(), reading_of(folders, backbone), test.images, normalisation)
    judge = Judge(kind, test, normalisation, options.bootstrap, store)

    def anchors(images: Tensor) -> AnchorStore | None:
        if stores is None:
            return None
        return stores.passing(backbone(), reading_of(folders, backbone), images, normalisation)

    pricing = Pricing.open(options.costs, judge, validation, anchors)
    answers: dict[str, Answers] = {}
    for arm, by_seed in track(list(folders.items()), "judging arms"):
        answers[arm] = answers_of(judge, pricing, by_seed, backbone)
    models = {arm: found.model for arm, found in answers.items()}
    device = next(backbone().parameters()).device
    with spent(TIMING):
        times, rates, told = timings(models, judge, options, device)
    example = Example(judge, options.latency_batch, device)
    arms = []
    for arm, by_seed in folders.items():
        records = [ArmRecord.read(folder) for folder in by_seed.values()]
        model = example.bound(models[arm])
        arms.append(
            ArmResult(
                name=arm,
                value_per_seed=judge.values(answers[arm].scores),
                val_score_per_seed=[kind.metric.oriented(record.val_score) for record in records],
                measures_per_seed=answers[arm].measures,
                recall_per_class=_recalls(answers[arm].classes, test),
                trained_parameters=records[0].trained_parameters,
                live_parameters=records[0].live_parameters,
                train_seconds=float(np.mean([record.train_seconds for record in records])),
                train_seconds_per_seed=[record.train_seconds for record in records],
                gflops=gflops(model, example.x),
                latency=times[arm],
                throughput_per_s=rates[arm],
                peak_memory_mb=peak_memory_mb(model, example.x),
                costs=answers[arm].priced,
            )
        )
    asked = pairs(list(folders), questioned(list(folders)))
    scores = {arm: found.scores for arm, found in answers.items()}
    comparisons = compare(scores, kind.metric, judge.groups, options.bootstrap, asked)
    costs = {arm: Scores.of(found.costs) for arm, found in answers.items() if found.costs is not None}
    cost_comparisons = compare(costs, COST, judge.groups, options.bootstrap, asked if costs else [])
    decision = decide(
        arms,
        cost_comparisons or comparisons,
        COST if costs else kind.metric,
        latency_budget=options.latency_budget,
        minimum_relative_gain=options.minimum_relative_gain,
    )
    loops = [load_arm(folder, backbone()) for folder in folders.get(EXPLICIT, {}).values()]
    with spent(LOOKING):
        inside, pictures = look_inside(loops, models.get(BASELINE), judge, options.look)
    names = (BASELINE, decision.best)
    probe, best = (Answered(answers[arm].scores, answers[arm].first, answers[arm].classes) for arm in names)
    single, drawn = shown(judge, probe, best, names, options.gallery)
    classes = {arm: found.classes.numpy() for arm, found in answers.items() if found.classes is not None}
    labels = test.labels.numpy()
    return Found(
        Evaluation(
            task=summary,
            hardware=hardware(),
            timings=told,
            arms=arms,
            comparisons=comparisons,
            cost_comparisons=cost_comparisons,
            class_gains=class_gains(
                {arm: rows == labels for arm, rows in classes.items()},
                labels,
                test.classes,
                summary.train_per_class,
                options.bootstrap,
                judge.groups,
            ),
            agreements=agreements(classes),
            corruptions=corrupted(folders, backbone, judge, options, stores),
            shown=single,
            inside=inside,
            decision=with_value(decision, cost_comparisons, options.requests_per_day),
        ),
        {arm: found.predictions for arm, found in answers.items()},
        pictures | drawn,
    )


def corrupted(
    folders: Mapping[str, Mapping[int, Path]],
    backbone: Callable[[], nn.Module],
    judge: Judge,
    options: EvaluateOptions,
    stores: Stores | None = None,
) -> list[Corruption]:
    """The metric of all arms on corrupted test images; empty if none are requested or channels are neither 1 nor 3."""
    if options.corrupted_images == 0 or judge.data.images.shape[1] not in (1, 3):
        return []
    # the test images come class by class
    drawn = torch.randperm(len(judge.data), generator=torch.Generator().manual_seed(options.seed))
    models = {arm: [load_arm(f, backbone()) for f in by_seed.values()] for arm, by_seed in folders.items()}
    some = judge.subset(drawn[: options.corrupted_images])
    if stores is None:
        return robustness(models, some)
    reading, reads = reading_of(folders, backbone), backbone()
    return robustness(models, some, lambda images: stores.passing(reads, reading, images, judge.normalisation))


def _recalls(classes: Tensor | None, test: LabelledImages) -> dict[str, float]:
    """Class → recall, mean over seeds; empty if answers are no classes."""
    if classes is None:
        return {}
    recalls = [per_class_recall(row, test.labels.numpy(), test.classes) for row in classes.numpy()]
    return {name: float(np.mean([recall[name] for recall in recalls])) for name in test.classes}
