"""What one arm answers on the test samples, with every seed.

Shape legend: S seeds, N test samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaxx.evaluation.arms import load_arm
from dynaxx.evaluation.costs import ArmCosts
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.pricing import Pricing
from dynaxx.evaluation.statistics.scores import Scores


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one arm.

    Attributes:
        model: the model of the first seed.
        first: its outputs, float32 (N, …).
        scores: scores of all seeds.
        measures: other metrics by name, one number per seed.
        predictions: what is answered, (S, N, …); of masks those of the first seed, (1, N, H, W).
        classes: class numbers, (S, N); None if answers are no classes.
        costs: cost of 1,000 requests like each sample, (S, N); None if errors have no prices.
        priced: what these costs come to; None as well.
    """

    model: nn.Module
    first: Tensor
    scores: Scores
    measures: dict[str, list[float]]
    predictions: Tensor
    classes: Tensor | None
    costs: NDArray[np.float64] | None
    priced: ArmCosts | None


def answers_of(
    judge: Judge, pricing: Pricing | None, by_seed: Mapping[int, Path], backbone: Callable[[], nn.Module]
) -> Answers:
    """Run one arm over the test samples, once for each seed.

    >>> answers_of(judge, None, {0: Path("outputs/explicit/explicit/seed-0")}, backbone).scores.values.shape
    (1, 360)

    Args:
        judge: judge of the test samples.
        pricing: prices of errors; None if they have none.
        by_seed: seed → folder of the trained arm.
        backbone: function that makes a new copy of the frozen backbone.

    Raises:
        EvaluationError: no seed, or a file of the arm is damaged.
    """
    if not by_seed:
        raise EvaluationError("folders: an arm has no seed; run the training stages first")
    kind = judge.kind
    models: list[nn.Module] = []
    outputs: list[Tensor] = []
    scores: list[Scores] = []
    classes: list[Tensor] = []
    predictions: list[Tensor] = []
    measures: dict[str, list[float]] = {}
    costs: list[NDArray[np.float64]] = []
    plain: list[NDArray[np.float64]] = []
    chosen: list[tuple[NDArray[np.float64], float]] = []
    for seed, folder in by_seed.items():
        model = load_arm(folder, backbone())
        output = judge.outputs(model)
        if not models:  # of the others the scores are enough
            models, outputs = [model], [output]
        scores.append(judge.scores([output]))
        for name, value in kind.measures(output, judge.data).items():
            measures.setdefault(name, []).append(value)
        if (answer := kind.answers(output)) is not None:
            classes.append(answer)
        predicted = kind.predictions(output)
        if not predictions or predicted.ndim <= 2:  # masks are large: of the first seed alone
            predictions.append(predicted)
        if pricing:
            asked, on_validation = pricing.thresholds(seed, model)
            chosen.append((asked, on_validation))
            costs.append(pricing.costs(output, asked))
            plain.append(pricing.costs(output, np.zeros_like(asked)))
    return Answers(
        model=models[0],
        first=outputs[0],
        scores=Scores.joined(scores),
        measures=measures,
        predictions=torch.stack(predictions),
        classes=torch.stack(classes) if classes else None,
        costs=np.stack(costs) if pricing else None,
        priced=pricing.result(np.stack(costs), np.stack(plain), chosen) if pricing else None,
    )
