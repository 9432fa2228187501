"""The choice of taps (tapped layers) by their scores: one tap from each part of the depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dynaxx import ResonanceError
from dynaxx.selection.scores import Score


@dataclass(frozen=True)
class Choice:
    """The chosen taps in depth order, and the reason for the choice."""

    chosen: list[str]
    reason: str


def choose(scores: Sequence[Score], taps: int) -> Choice:
    """Cut the depth of the backbone into `taps` equal parts and take the best candidate layer of each part.

    Within a part the candidate with the largest probe gain is best. Candidates within one standard error of this gain
    count as equal, and the least redundant of them is taken. The last part always gives its last candidate, because
    the output is read behind that layer.

    >>> choose(scores, taps=3).chosen
    ['layer1', 'layer3', 'layer4']

    Args:
        scores: scores of the candidates in depth order.
        taps: number of taps to choose, at least 2.

    Raises:
        ResonanceError: fewer candidates than taps, or fewer than two taps.
    """
    if taps < 2:
        raise ResonanceError(f"select.taps={taps}: give at least 2, one tap has nothing to couple to")
    if taps > len(scores):
        raise ResonanceError(f"select.taps={taps}: only {len(scores)} layers can be coupled; give at most that")
    bounds = [len(scores) * part // taps for part in range(taps + 1)]
    chosen: list[Score] = []
    reasons: list[str] = []
    for start, stop in pairwise(bounds[:-1]):
        part = scores[start:stop]
        best = max(part, key=lambda s: s.probe_gain)
        equal = [s for s in part if s.probe_gain >= best.probe_gain - best.standard_error]
        pick = min(equal, key=lambda s: s.redundancy)
        chosen.append(pick)
        among = f"best of {len(part)} in its part of the depth" if len(part) > 1 else "alone in its part of the depth"
        reasons.append(
            f"{pick.tap} ({among}: probe gain {100 * pick.probe_gain:+.1f} ± {100 * pick.standard_error:.1f} points, "
            f"redundancy {pick.redundancy:.2f})"
        )
    last = scores[-1]
    return Choice(
        [*(s.tap for s in chosen), last.tap],
        "; ".join([*reasons, f"{last.tap} (the output is read behind it)"]),
    )
