"""Tables about predictions on test images: recall per class, quality under corruption, agreement of two arms."""

import numpy as np

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.formatting import gained, in_points, number, points, titled, unit_of_gain
from dynaxx.evaluation.report.table import Table, p_or_dash
from dynaxx.evaluation.results import ArmResult, Evaluation


def class_gains_table(evaluation: Evaluation) -> Table:
    """One row per class, the rarest first: test recall of `explicit` minus test recall of the probe."""
    return Table(
        headers=["class", "training images", "test images", "gain in recall, points", "interval", "Holm p"],
        rows=[
            [
                gain.name,
                f"{gain.trained:,}",
                f"{gain.images:,}",
                points(gain.difference.estimate),
                f"{points(gain.difference.low)} to {points(gain.difference.high)}",
                p_or_dash(gain.holm_p),
            ]
            for gain in evaluation.class_gains
        ],
        note=(
            f"Recall of explicit minus that of {BASELINE}; interval: paired bootstrap over the class's images. p: "
            "sign flips over seeds, adjusted by Holm over all classes; it takes at least six seeds."
        ),
    )


def corruptions_table(evaluation: Evaluation) -> Table:
    """Two rows per corruption: the metric of every arm over all strengths, and the gain of `explicit` over the arm."""
    names, metric = [arm.name for arm in evaluation.arms], evaluation.task.metric
    rows = []
    for result in evaluation.corruptions:
        means = [float(np.mean(result.values[arm])) for arm in names]
        cells = [f"{100 * mean:.1f}" if in_points(metric) else number(mean) for mean in means]
        rows.append([f"{result.name}: {titled(metric)}", *cells])
        gains = [result.explicit_gain.get(arm) for arm in names]
        told = [
            "–" if g is None else "{} [{}, {}]".format(
                *(gained(value, metric, unit=False) for value in (g.estimate, g.low, g.high))
            )
            for g in gains
        ]  # fmt: skip
        rows.append([f"{result.name}: explicit − arm", *told])
    unit = f" in {unit_of_gain(metric)}" if unit_of_gain(metric) else ""
    return Table(
        headers=["corruption", *names],
        rows=rows,
        note=(
            "Mean over strengths 1 to 5 and seeds, on some of the test images; below, the gain of explicit over the "
            f"arm{unit}, with its paired interval."
        ),
    )


def agreements_table(evaluation: Evaluation) -> Table:
    """One row and one column per arm: share of test images to which both arms assign the same class."""
    names = [arm.name for arm in evaluation.arms]
    share = {frozenset((result.a, result.b)): result.share for result in evaluation.agreements}
    return Table(
        headers=["arm", *names],
        rows=[
            [a, *("–" if a == b else f"{100 * share[frozenset((a, b))]:.1f}" for b in names)]
            for a in names
            if evaluation.agreements
        ],
        note="Per cent of the test images that two arms answer alike, right or wrong; mean over seeds.",
    )


def recall_table(evaluation: Evaluation) -> Table:
    """One row per class, one column per arm: recall on the test images, mean over seeds."""
    return Table(
        headers=["class", *(f"{arm.name} %" for arm in evaluation.arms)],
        rows=[
            [name, *(_recall(arm, name) for arm in evaluation.arms)]
            for name in evaluation.task.classes
            if any(arm.recall_per_class for arm in evaluation.arms)
        ],
        note="The fraction of each class's test images that was recognised, mean over seeds.",
    )


def _recall(arm: ArmResult, name: str) -> str:
    return f"{100 * arm.recall_per_class[name]:.1f}" if name in arm.recall_per_class else "–"
