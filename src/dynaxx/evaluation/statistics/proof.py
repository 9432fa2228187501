"""When a difference counts as proven: the two rules of the project, side by side.

1. One evaluation (`contradiction`, used by `Comparison.better`): the interval over images excludes zero, and neither
   the exact test over images nor the sign flips over seeds contradict it.
2. Many tasks (`verdict_over_tasks`, used by the experiments): the interval excludes zero, the p-value over seeds stays
   below `LEVEL` after Holm's correction over all tasks, and a win is at least one point or 2 % of the rival's score.
"""

from dynaxx.evaluation.statistics.paired import Interval

LEVEL = 0.05
"""Significance level over all tasks together."""
LARGE_GAIN, LARGE_RELATIVE_GAIN = 0.01, 0.02
"""A gain is large if it reaches one of the two: a fraction, or a share of the rival's score."""


def contradiction(interval: Interval, image_p: float, sign_flip_p: float | None) -> str:
    """Reason why an interval that excludes zero proves nothing; empty if the two tests agree with it.

    The interval covers other images, not other trainings. It is too narrow if few images differ.

    Example: with a 95 % interval, `image_p=0.2` gives "too few images tell them apart (exact p = 0.2)".
    """
    level = 1 - interval.confidence
    if not image_p < level:
        return f"too few images tell them apart (exact p = {image_p:.2g})"
    if sign_flip_p is not None and not sign_flip_p < level:
        return f"the seeds disagree (p = {sign_flip_p:.2g} by sign flips)"
    return ""


def verdict_over_tasks(interval: Interval, rival_score: float, p: float | None) -> str:
    """Verdict on explicit minus one rival: "won", "lost", "tie", or an advantage that is small or uncertain.

    Example: an interval of 0.02 to 0.04 with `p=0.01` is "won", with `p=0.3` "ahead, uncertain over seeds".

    Args:
        interval: interval of explicit's score minus the rival's.
        p: p-value over seeds, adjusted for all tasks that are judged together; None with fewer than six seeds.
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
