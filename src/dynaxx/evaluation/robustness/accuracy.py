"""Accuracy of the arms (competitors of the comparison) on corrupted test images.

Shape legend: S seeds, N test images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dynaxx.data import LabelledImages, Normalisation, normalise, track
from dynaxx.evaluation.arms import EXPLICIT
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.results import Corruption
from dynaxx.evaluation.robustness.corruptions import CORRUPTIONS, STRENGTHS
from dynaxx.evaluation.statistics import Bootstrap, paired_bootstrap


def robustness(
    models: Mapping[str, Sequence[nn.Module]],
    test: LabelledImages,
    normalisation: Normalisation,
    bootstrap: Bootstrap,
) -> list[Corruption]:
    """Test accuracy of every arm per corruption and strength, and the gap from `explicit` to other arms.

    >>> [corruption.name for corruption in robustness({"explicit": [model]}, test, normalisation, bootstrap)]
    ['noise', 'blur', 'contrast', 'jpeg']

    Args:
        models: name of the arm → one trained model per seed.
        test: labelled test images to corrupt.
    """
    labels, corruptions = test.labels.numpy(), []
    for name, corrupt in track(list(CORRUPTIONS.items()), "corrupting"):
        correct: dict[str, list[NDArray[np.bool_]]] = {arm: [] for arm in models}
        for strength in STRENGTHS:
            images = normalise(corrupt(test.images, strength), normalisation)
            for arm, by_seed in models.items():
                predicted = torch.stack([logits(model, images).argmax(1) for model in by_seed])
                correct[arm].append(predicted.numpy() == labels)
        joined = {arm: np.concatenate(rows) for arm, rows in correct.items()}  # an image keeps its column throughout
        rivals = [arm for arm in models if arm != EXPLICIT] if EXPLICIT in models else []
        corruptions.append(
            Corruption(
                name,
                {arm: [float(rows.mean()) for rows in per_strength] for arm, per_strength in correct.items()},
                {rival: paired_bootstrap(joined[EXPLICIT], joined[rival], **bootstrap) for rival in rivals},
            )
        )
    return corruptions
