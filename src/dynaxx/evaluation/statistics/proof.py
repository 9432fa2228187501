"""When a difference between two arms (competitors) counts as proven: two rules.

1. One evaluation (`contradiction`, used by `Comparison.better`): the bootstrap interval over images excludes zero.
   The sign flips over images and those over seeds, if there are enough seeds, are significant as well. Where
   images come in groups, both count groups.
2. Many tasks (`verdict_over_tasks`, used by the experiments): the interval excludes zero. The p-value over seeds is
   below `LEVEL` after Holm's correction over all tasks. A win is also at least one point or 2 % of the rival's score.
"""

from dynaxx.evaluation.statistics.paired import Interval

LEVEL = 0.05
"""Significance level for all tasks together, after Holm's correction."""
LARGE_GAIN, LARGE_RELATIVE_GAIN = 0.01, 0.02
"""Smallest large gain: 0.01 as a difference of scores, or 0.02 as a fraction of the rival's score; either suffices."""


def contradiction(interval: Interval, image_p: float, sign_flip_p: float | None) -> str:
    """Reason why an interval that excludes zero is no proof of a difference; empty if both tests confirm it.

    The interval covers the draw of test images, but not the randomness of training. It is too narrow if the arms
    differ on few images.

    Example: with a 95 % interval, `image_p=0.2` gives "too few images tell them apart (p = 0.2 by sign flips)".
    """
    level = 1 - interval.confidence
    if not image_p < level:
        return f"too few images tell them apart (p = {image_p:.2g} by sign flips)"
    if sign_flip_p is not None and not sign_flip_p < level:
        return f"the seeds disagree (p = {sign_flip_p:.2g} by sign flips)"
    return ""


def verdict_over_tasks(interval: Interval, rival_score: float, p: float | None) -> str:
    """Verdict on `explicit` against one rival arm on one task: "won", "lost", "tie", or a weaker result.

    Example: an interval of 0.02 to 0.04 with `p=0.01` is "won", with `p=0.3` "ahead, uncertain over seeds".

    Args:
        interval: score of `explicit` minus score of the rival, with its confidence interval.
        rival_score: score of the rival, a fraction such as accuracy.
        p: p-value over seeds, after Holm's correction over all tasks; None with fewer than six seeds.
    """
    if interval.low <= 0 <= interval.high:
        return "tie"
    side = "ahead" if interval.low > 0 else "behind"
    if p is None:
        return f"{side}, on too few seeds"
    if p >= LEVEL:
        return f"{side}, uncertain over seeds"
    if side == "behind":
        return "lost"
    large = interval.estimate >= LARGE_GAIN or interval.estimate >= LARGE_RELATIVE_GAIN * rival_score
    return "won" if large else "ahead by less than a point"
