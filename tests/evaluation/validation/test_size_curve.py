"""What varying wrote is read again, and what cannot be read is said."""

from pathlib import Path

import pytest

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.report import arm_figures as plots
from dynaxx.evaluation.validation.size_curve import SizePoint, read_size_curve, write_size_curve
from dynaxx.tasks import Metric

FOUND = [
    SizePoint("rank", 8, ["a", "b"], 10, 0.5),
    SizePoint("rank", 2, ["a", "b"], 4, 0.4),
    SizePoint("taps", 2, ["b"], 9, 0.6),
]


def test_round_trip_and_damage(tmp_path: Path) -> None:
    write_size_curve(tmp_path / "varied.json", FOUND)
    assert read_size_curve(tmp_path / "varied.json") == FOUND
    with pytest.raises(EvaluationError, match="none.json: cannot be read"):
        read_size_curve(tmp_path / "none.json")
    (tmp_path / "varied.json").write_text('[{"what": "rank"}]')
    with pytest.raises(EvaluationError, match="dvc repro -f vary"):
        read_size_curve(tmp_path / "varied.json")


def test_the_plot_has_both_and_in_order() -> None:
    ranks, taps = plots.size_curve_figure(FOUND, Metric("accuracy")).data
    assert (list(ranks.x), list(ranks.y)) == ([2, 8], [40.0, 50.0])
    assert list(taps.x) == [2]
