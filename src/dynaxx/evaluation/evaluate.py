"""From trained arms to results: every arm predicts the test images, and its cost is measured.

An arm is a competitor of the comparison: a trained model on top of the same backbone. This module trains nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dynaxx.data import LabelledImages, Normalisation, normalise, track
from dynaxx.evaluation.arms import BASELINE, EXPLICIT, ArmRecord, load_arm
from dynaxx.evaluation.business_value import Prices, with_value
from dynaxx.evaluation.cost.flops_memory import gflops, peak_memory_mb
from dynaxx.evaluation.cost.hardware import hardware
from dynaxx.evaluation.cost.latency import interleaved_seconds, latency
from dynaxx.evaluation.decision import decide
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.inside.look import LookOptions, look_inside
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.results import ArmResult, Corruption, Evaluation, TaskSummary
from dynaxx.evaluation.robustness.accuracy import robustness
from dynaxx.evaluation.statistics.comparisons import agreements, class_gains, compare
from dynaxx.evaluation.statistics.metrics import accuracy, calibration_error, macro_recall, per_class_recall
from dynaxx.evaluation.statistics.paired import Bootstrap

BACKBONE = "backbone"
"""Name of the bare backbone among the timed models; its latency is the denominator of all latency ratios."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of the evaluation, read from the section `evaluate` of params.yaml."""

    confidence: float
    """Confidence level of all confidence intervals, such as 0.95."""
    resamples: int
    """Number of resamples per bootstrap interval."""
    seed: int
    """Seed of the bootstrap, of the order in which arms are timed, and of the draw of images to corrupt."""
    latency_batch: int
    """Number of images per forward pass when latency is measured."""
    throughput_batch: int
    """Number of images per forward pass when throughput is measured."""
    rounds: int
    """Number of rounds when latency is measured; each round times every arm once."""
    latency_budget: float
    """Largest added latency that the decision accepts, as a fraction of the latency of the bare backbone."""
    minimum_relative_gain: float
    """Smallest gain in accuracy that the decision accepts, as a fraction of the accuracy of `baseline`."""
    residual_iterations: int
    """Number of loop iterations of `explicit` over which its residuals are recorded."""
    T: list[int]
    """Numbers of loop iterations at which the accuracy of the trained `explicit` is measured as well."""
    settled_at: float
    """Relative residual of the loop at or below which an image counts as converged."""
    attributed_images: int = 0
    """Number of test images whose predictions are attributed to pixels; 0 skips the attributions."""
    gallery: int = 0
    """Number of images in the gallery that only `explicit` gets right, and same for `baseline`; 0 skips the gallery."""
    corrupted_images: int = 0
    """Number of test images that receive every corruption at every strength; 0 skips the corruptions."""
    value_per_error: float | None = None
    """Value of one avoided classification error, in any currency; None skips the yearly value."""
    requests_per_day: float | None = None
    """Number of images that the model classifies per day; None skips the yearly value."""

    def __post_init__(self) -> None:
        # check before any work is done
        Prices(self.value_per_error, self.requests_per_day)
        for name, least in (
            ("residual_iterations", 1),
            ("attributed_images", 0),
            ("gallery", 0),
            ("corrupted_images", 0),
        ):
            if not _is_count(getattr(self, name), least):
                raise EvaluationError(f"evaluate.{name}={getattr(self, name)!r}: give a whole number from {least} on")
        if not isinstance(self.T, Sequence) or not all(_is_count(steps, 1) for steps in self.T) or not self.T:
            raise EvaluationError(f"evaluate.T={self.T!r}: give a list of whole numbers from 1 on")

    @property
    def bootstrap(self) -> Bootstrap:
        """Keyword arguments of every bootstrap interval."""
        return Bootstrap(resamples=self.resamples, confidence=self.confidence, seed=self.seed)

    @property
    def look(self) -> LookOptions:
        """Options of `look_inside`, which measures the loop of `explicit`."""
        return LookOptions(self.residual_iterations, self.T, self.settled_at, self.attributed_images, self.gallery)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def evaluate(
    folders: Mapping[str, Mapping[int, Path]],
    backbone: Callable[[], nn.Module],
    test: LabelledImages,
    normalisation: Normalisation,
    summary: TaskSummary,
    options: EvaluateOptions,
) -> tuple[Evaluation, dict[str, Tensor], dict[str, Tensor]]:
    """Measure accuracy and cost of every arm on the test images, and decide which arm to adopt.

    >>> folders = {"baseline": {0: Path("outputs/baseline/baseline/seed-0")}}
    >>> evaluation, predictions, pictures = evaluate(folders, backbone, test, normalisation, summary, options)

    Args:
        folders: name of the arm → seed → folder of the trained arm; all arms have the same seeds.
        backbone: function that makes a new copy of the frozen backbone.
        test: labelled test images; no training or tuning has used them.
        normalisation: mean and standard deviation per channel, with which images are normalised.
        summary: description of the data, copied into the results.

    Returns:
        (evaluation, predictions, pictures): `predictions` maps each arm to class indices, int64 (seeds, N) for N test
            images; `pictures` maps each name to an image, uint8 (H, W, 3).

    Raises:
        EvaluationError: `folders` is empty, a seed of an arm is missing, or a file of an arm is damaged.
    """
    if not folders:
        raise EvaluationError("folders: no trained arm to evaluate; run the training stages first")
    device = next(backbone().parameters()).device
    images = normalise(test.images, normalisation)
    labels = test.labels.numpy()
    predictions: dict[str, Tensor] = {}
    calibration: dict[str, list[float]] = {}
    models: dict[str, nn.Module] = {BACKBONE: backbone()}
    for arm, by_seed in track(list(folders.items()), "judging arms"):
        rows = []
        for number, folder in enumerate(by_seed.values()):
            model = load_arm(folder, backbone())
            class_logits = logits(model, images)
            rows.append(class_logits.argmax(1))
            calibration.setdefault(arm, []).append(calibration_error(class_logits.softmax(1).numpy(), labels))
            if number == 0:
                models[arm] = model
        predictions[arm] = torch.stack(rows)

    one = images[: options.latency_batch].to(device)
    many = images[: options.throughput_batch].to(device)
    times = latency(models, one, reference=BACKBONE, rounds=options.rounds, seed=options.seed)
    rates = interleaved_seconds(models, many, rounds=max(3, options.rounds // 5), seed=options.seed)
    arms = []
    for arm, by_seed in folders.items():
        records = [ArmRecord.read(folder) for folder in by_seed.values()]
        predicted = predictions[arm].numpy()
        recalls = [per_class_recall(row, labels, test.classes) for row in predicted]
        arms.append(
            ArmResult(
                name=arm,
                accuracy_per_seed=[accuracy(row, labels) for row in predicted],
                macro_recall_per_seed=[macro_recall(row, labels, test.classes) for row in predicted],
                recall_per_class={name: float(np.mean([r[name] for r in recalls])) for name in test.classes},
                calibration_error_per_seed=calibration[arm],
                trained_parameters=records[0].trained_parameters,
                live_parameters=records[0].live_parameters,
                train_seconds=float(np.mean([record.train_seconds for record in records])),
                train_seconds_per_seed=[record.train_seconds for record in records],
                gflops=gflops(models[arm], one),
                latency=times[arm],
                throughput_per_s=len(many) / float(np.median(rates[arm])),
                peak_memory_mb=peak_memory_mb(models[arm], one),
            )
        )
    correct = {arm: rows.numpy() == labels for arm, rows in predictions.items()}
    comparisons = compare(correct, options.bootstrap)
    loops = [load_arm(folder, backbone()) for folder in folders.get(EXPLICIT, {}).values()]
    inside, pictures = look_inside(
        loops, models.get(BASELINE), test, predictions, normalisation, options.look, options.bootstrap
    )
    decision = decide(
        arms,
        comparisons,
        latency_budget=options.latency_budget,
        minimum_relative_gain=options.minimum_relative_gain,
    )
    decision = with_value(decision, comparisons, Prices(options.value_per_error, options.requests_per_day))
    return (
        Evaluation(
            task=summary,
            hardware=hardware(),
            arms=arms,
            comparisons=comparisons,
            class_gains=class_gains(correct, labels, test.classes, summary.train_per_class, options.bootstrap),
            agreements=agreements({arm: rows.numpy() for arm, rows in predictions.items()}),
            corruptions=corrupted(folders, backbone, test, normalisation, options),
            inside=inside,
            decision=decision,
        ),
        predictions,
        pictures,
    )


def corrupted(
    folders: Mapping[str, Mapping[int, Path]],
    backbone: Callable[[], nn.Module],
    test: LabelledImages,
    normalisation: Normalisation,
    options: EvaluateOptions,
) -> list[Corruption]:
    """Accuracy of all arms on corrupted test images; empty if none are requested or channels are neither 1 nor 3."""
    if options.corrupted_images == 0 or test.images.shape[1] not in (1, 3):
        return []
    # the test images come class by class
    drawn = torch.randperm(len(test), generator=torch.Generator().manual_seed(options.seed))
    models = {arm: [load_arm(f, backbone()) for f in by_seed.values()] for arm, by_seed in folders.items()}
    return robustness(models, test.subset(drawn[: options.corrupted_images]), normalisation, options.bootstrap)
