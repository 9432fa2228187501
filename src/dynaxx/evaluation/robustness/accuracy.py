"""How good the arms (competitors of the comparison) are on corrupted test images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from dynaxx.data import track
from dynaxx.evaluation.arms import EXPLICIT
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.results import Corruption
from dynaxx.evaluation.robustness.corruptions import CORRUPTIONS, STRENGTHS
from dynaxx.evaluation.statistics import Scores
from dynaxx.training.cache.store import AnchorStore


def robustness(
    models: Mapping[str, Sequence[nn.Module]],
    judge: Judge,
    store: Callable[[Tensor], AnchorStore | None] = lambda images: None,
) -> list[Corruption]:
    """The metric of every arm per corruption and strength, and the gain of `explicit` over the other arms.

    >>> [corruption.name for corruption in robustness({"explicit": [model]}, judge)]
    ['noise', 'blur', 'contrast', 'jpeg']

    Args:
        models: name of the arm → one trained model per seed.
        judge: judge of the test images to corrupt.
        store: function from corrupted images to their anchors, which are read once for all models; None: by each model.
    """
    metric, corruptions = judge.kind.metric, []
    for name, corrupt in track(list(CORRUPTIONS.items()), "corrupting"):
        scores: dict[str, list[Scores]] = {arm: [] for arm in models}
        for strength in STRENGTHS:
            images = corrupt(judge.data.images, strength)
            corrupted = judge.of(replace(judge.data, images=images), store(images))
            for arm, by_seed in models.items():
                scores[arm].append(corrupted.scores([corrupted.outputs(model) for model in by_seed]))
        # an image keeps its column at all strengths
        joined = {arm: Scores.joined(per_strength) for arm, per_strength in scores.items()}
        rivals = [arm for arm in models if arm != EXPLICIT] if EXPLICIT in models else []
        corruptions.append(
            Corruption(
                name,
                {arm: [metric.of(s.values) for s in per_strength] for arm, per_strength in scores.items()},
                {rival: judge.gain(joined[EXPLICIT], joined[rival]) for rival in rivals},
            )
        )
    return corruptions
