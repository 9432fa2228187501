"""The A/B: every trained arm on the test images, and what each costs. Trains nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaxx.data import LabelledImages, normalise
from dynaxx.data.progress import track
from dynaxx.evaluation.arms.facts import ArmFacts, load_arm
from dynaxx.evaluation.cost import gflops, peak_memory_mb
from dynaxx.evaluation.decision import decide
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.gates import gate_openings
from dynaxx.evaluation.hardware import hardware
from dynaxx.evaluation.metrics import accuracy, macro_recall, per_class_recall
from dynaxx.evaluation.residuals import residual_curves, settled_shares
from dynaxx.evaluation.results import ArmResult, Comparison, Evaluation, Iterations
from dynaxx.evaluation.results import Task as TaskSummary
from dynaxx.evaluation.statistics import paired_bootstrap
from dynaxx.evaluation.timing import interleaved_seconds, latency
from dynaxx.resonance import ResonantModel
from dynaxx.resonance.solve import STEPS

PAIRS = (
    ("explicit", "baseline"),
    ("explicit", "concat_probe"),
    ("explicit", "explicit_T1"),
    ("explicit", "direct"),
    ("implicit", "explicit"),
    ("implicit", "baseline"),
    ("implicit", "concat_probe"),
    ("implicit", "direct"),
    ("concat_probe", "baseline"),
    ("explicit_T1", "baseline"),
    ("direct", "baseline"),
    ("explicit", "explicit_monitored"),
    ("explicit_certified", "explicit"),
)
"""Which arms are compared, where both are there."""

BACKBONE = "backbone"
"""The bare backbone among the timed models: what ratios are to."""


@dataclass(frozen=True)
class EvaluateOptions:
    """How the evaluation measures."""

    confidence: float
    """Of the intervals."""
    resamples: int
    """Of each bootstrap."""
    seed: int
    """Of the bootstrap and of the order of timing."""
    latency_batch: int
    """Images a pass when latency is measured."""
    throughput_batch: int
    """Images a pass when throughput is measured."""
    rounds: int
    """Timed rounds; each times every arm once."""
    latency_budget: float
    """Largest slowdown over the backbone that the decision accepts."""
    minimum_relative_gain: float
    """Smallest relative gain worth having."""
    residual_iterations: int
    """Iterations up to which residuals are followed."""
    T: list[int]
    """Numbers of iterations that explicit is run with, besides its own."""
    settled_at: float
    """Relative residual at which an image counts as settled."""


def evaluate(
    folders: Mapping[str, Mapping[int, Path]],
    backbone: Callable[[], nn.Module],
    test: LabelledImages,
    mean: Sequence[float],
    std: Sequence[float],
    summary: TaskSummary,
    options: EvaluateOptions,
) -> tuple[Evaluation, dict[str, Tensor]]:
    """Judge the arms.

    Args:
        folders: arm → seed → folder of the trained arm; the same seeds for all.
        backbone: makes a fresh copy of the frozen backbone.
        test: labelled test images, opened here and nowhere before.

    Returns:
        (evaluation, predictions): predictions are (seeds, N) int64 by arm.

    Raises:
        EvaluationError: no arm, a missing seed, or damaged files.
    """
    if not folders:
        raise EvaluationError("folders: no trained arm to evaluate; run the training stages first")
    device = next(backbone().parameters()).device
    images = normalise(test.images, mean, std)
    labels = test.labels.numpy()
    predictions: dict[str, Tensor] = {}
    models: dict[str, nn.Module] = {BACKBONE: backbone()}
    for arm, by_seed in track(list(folders.items()), "judging arms"):
        rows = []
        for number, folder in enumerate(by_seed.values()):
            model = load_arm(folder, backbone())
            rows.append(predict(model, images, device))
            if number == 0:
                models[arm] = model
        predictions[arm] = torch.stack(rows)

    one = images[: options.latency_batch].to(device)
    many = images[: options.throughput_batch].to(device)
    times = latency(models, one, reference=BACKBONE, rounds=options.rounds, seed=options.seed)
    rates = interleaved_seconds(models, many, rounds=max(3, options.rounds // 5), seed=options.seed)
    arms = []
    for arm, by_seed in folders.items():
        facts = [ArmFacts.read(folder) for folder in by_seed.values()]
        found = predictions[arm].numpy()
        recalls = [per_class_recall(row, labels, test.classes) for row in found]
        arms.append(
            ArmResult(
                name=arm,
                accuracy_per_seed=[accuracy(row, labels) for row in found],
                macro_recall_per_seed=[macro_recall(row, labels, test.classes) for row in found],
                recall_per_class={name: float(np.mean([r[name] for r in recalls])) for name in test.classes},
                trained_parameters=facts[0].trained_parameters,
                live_parameters=facts[0].live_parameters,
                train_seconds=float(np.mean([fact.train_seconds for fact in facts])),
                train_seconds_per_seed=[fact.train_seconds for fact in facts],
                gflops=gflops(models[arm], one),
                latency=times[arm],
                throughput_per_s=len(many) / float(np.median(rates[arm])),
                peak_memory_mb=peak_memory_mb(models[arm], one),
            )
        )
    comparisons = compare({arm: rows.numpy() == labels for arm, rows in predictions.items()}, options)
    explicit = models.get("explicit")
    curves, gates, iterations = [], [], []
    if isinstance(explicit, ResonantModel):
        some = images[:1000].to(device)
        curves = residual_curves(explicit, some, options.residual_iterations)
        settled = {
            solver: settled_shares(explicit, images, max(options.T), options.settled_at, solver)
            for solver in (STEPS if not explicit.built().causal else ["picard"])
        }
        loops = [load_arm(folder, backbone()) for folder in folders["explicit"].values()]
        iterations = iterations_compared(loops, images, labels, settled, options)
        gates = gate_openings(explicit, some, test.labels[:1000], test.classes)
    decision = decide(
        arms,
        comparisons,
        latency_budget=options.latency_budget,
        minimum_relative_gain=options.minimum_relative_gain,
    )
    evaluation = Evaluation(summary, hardware(), arms, comparisons, curves, iterations, gates, decision)
    return evaluation, predictions


def iterations_compared(
    loops: Sequence[nn.Module],
    images: Tensor,
    labels: NDArray[np.int64],
    settled: Mapping[str, Sequence[float]],
    options: EvaluateOptions,
) -> list[Iterations]:
    """Each T of the options, against the one that the loops, one a seed, were trained with."""
    device = next(loops[0].parameters()).device
    correct = {}
    for T in track([None, *options.T], "running longer and shorter"):
        rows = []
        for loop in loops:
            assert isinstance(loop, ResonantModel)
            trained, loop.T = loop.T, T or loop.T
            rows.append(predict(loop, images, device).numpy() == labels)
            loop.T = trained
        correct[T] = np.stack(rows)
    own = correct.pop(None)
    bootstrap = partial(paired_bootstrap, resamples=options.resamples, confidence=options.confidence, seed=options.seed)
    return [
        Iterations(
            T,
            {solver: shares[T - 1] for solver, shares in settled.items()},
            [float(row.mean()) for row in rows],
            bootstrap(rows, own),
        )
        for T, rows in correct.items()
        if T is not None
    ]


def compare(correct: Mapping[str, NDArray[np.bool_]], options: EvaluateOptions) -> list[Comparison]:
    """The comparisons of `PAIRS` from which images each arm answers correctly, (seeds, N) of bool."""
    return [
        Comparison.measure(
            a,
            b,
            correct[a],
            correct[b],
            seed=options.seed,
            resamples=options.resamples,
            confidence=options.confidence,
        )
        for a, b in PAIRS
        if a in correct and b in correct
    ]


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Class of each normalised image, int64 (N,)."""
    return torch.cat([model(batch.to(device)).argmax(1).cpu() for batch in images.split(256)])
