"""What no trial beats, and the point to take."""

import optuna
import pytest
from hypothesis import given, strategies as st

from dynaxx.search import COST, FINITE, LIVE, SECONDS, Point, best, cells, knee, points, write_page
from dynaxx.tasks import Metric

ACCURACY, ERROR = Metric("accuracy"), Metric("rmse", higher_is_better=False, root=True, unit="mm")


def point(number: int, gflops: float, score: float) -> Point:
    return Point(number, {"resonance.T": number}, score, gflops, 100, 1.0)


def study_of(values, *, directions=("maximize", "minimize"), constraints=None) -> optuna.Study:
    study = optuna.create_study(directions=directions)
    for number, (score, gflops) in enumerate(values):
        study.add_trial(
            optuna.create_trial(
                params={"T": number},
                distributions={"T": optuna.distributions.IntDistribution(0, 1000)},
                values=[score, gflops][: len(directions)],
                user_attrs={COST: gflops, LIVE: 10, SECONDS: 1.0},
                constraints=constraints[number] if constraints else {FINITE: 0.0},
            )
        )
    return study


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=25))
def test_the_front_is_what_nobody_beats(values):
    study = study_of([(a / 20, g / 10) for a, g in values])
    front = best(study)
    everybody = points(study)
    for p in front:
        assert not any(
            q.score >= p.score and q.gflops <= p.gflops and (q.score, q.gflops) != (p.score, p.gflops)
            for q in everybody
        )
    for q in everybody:
        assert any(p.score >= q.score and p.gflops <= q.gflops for p in front)
    assert [p.gflops for p in front] == sorted(p.gflops for p in front)


def test_a_diverged_training_is_never_on_the_front():
    diverged = [{FINITE: 1.0}, {FINITE: 0.0}]
    study = study_of([(0.0, 0.1), (0.9, 1.0)], constraints=diverged)  # the cheapest, and worth nothing
    assert [p.number for p in best(study)] == [1]
    assert [p.number for p in points(study)] == [1]


def test_with_one_objective_the_limit_holds():
    limits = [{"cost limit": 0.2, FINITE: 0.0}, {"cost limit": -0.1, FINITE: 0.0}]
    study = study_of([(0.99, 2.0), (0.9, 1.0)], directions=("maximize",), constraints=limits)
    assert [p.number for p in best(study)] == [1]
    assert best(study_of([(0.99, 2.0)], directions=("maximize",), constraints=limits[:1])) == []


def test_the_knee_is_where_more_cost_stops_buying():
    front = [point(0, 1.0, 0.5), point(1, 1.5, 0.9), point(2, 3.0, 0.92), point(3, 9.0, 0.95)]
    assert knee(front, ACCURACY).number == 1
    assert knee(list(reversed(front)), ACCURACY).number == 1
    assert knee(front[:1], ACCURACY).number == 0
    assert knee([front[0], front[3]], ACCURACY).number == 3  # a line has no knee: the more accurate end
    assert knee([point(0, 1, 0.1), point(1, 2, 0.2), point(2, 3, 0.3)], ACCURACY).number == 2
    with pytest.raises(ValueError, match="no knee"):
        knee([], ACCURACY)


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 1)), min_size=1, max_size=12),
    st.floats(0.01, 100),
    st.floats(0.1, 1),
)
def test_the_knee_does_not_depend_on_units(values, scale, shrink):
    """Against a naive reference: the largest distance to the straight line, whatever the axes are measured in."""
    study = study_of([(a, g) for g, a in values])
    front = best(study)
    scaled = [Point(p.number, p.params, p.score * shrink, p.gflops * scale, 1, 1.0) for p in front]
    first, last = front[0], front[-1]
    run, rise = last.gflops - first.gflops, last.score - first.score
    if run < 1e-3 or rise < 1e-3:
        return
    above = {p.number: (p.score - first.score) / rise - (p.gflops - first.gflops) / run for p in front}
    most = max(above.values())
    for chosen in (knee(front, ACCURACY), knee(scaled, ACCURACY)):
        assert above[chosen.number] == pytest.approx(most, abs=1e-6) or most < 1e-6


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=25))
def test_front_and_knee_of_an_error_are_those_of_its_negation(values):
    """An error mirrors a gain: the same trials are on the front, in the same order, and the same one is chosen."""
    errors = best(study_of([(e / 20, g / 10) for e, g in values], directions=("minimize", "minimize")))
    gains = best(study_of([(-e / 20, g / 10) for e, g in values]))
    assert [p.number for p in errors] == [p.number for p in gains]
    assert [p.score for p in errors] == [-p.score for p in gains]
    assert knee(errors, ERROR).number == knee(gains, ACCURACY).number


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=25))
def test_the_front_of_an_error_is_what_nobody_beats(values):
    study = study_of([(e / 20, g / 10) for e, g in values], directions=("minimize", "minimize"))
    front, everybody = best(study), points(study)
    for q in everybody:
        assert any(p.score <= q.score and p.gflops <= q.gflops for p in front)
    for p in front:
        assert not any((q.score < p.score and q.gflops <= p.gflops) for q in everybody)


def test_the_knee_of_errors_is_where_more_cost_stops_buying():
    front = [point(0, 1.0, 9.0), point(1, 1.5, 3.0), point(2, 3.0, 2.9), point(3, 9.0, 2.5)]
    assert knee(front, ERROR).number == 1
    assert knee([front[0], front[3]], ERROR).number == 3
    assert knee([point(0, 1.0, 9.0), point(1, 1.0, 3.0)], ERROR).number == 1  # the better of two of one cost


@pytest.mark.parametrize(
    ("metric", "shown", "axis", "head"),
    [(ACCURACY, "25.00", "validation accuracy %", "accuracy 25.00 % on validation"),
     (ERROR, "0.250", "validation RMSE, mm", "RMSE 0.250 mm on validation")],
)  # fmt: skip
def test_the_page_names_the_metric_and_tells_it_in_its_own_unit(tmp_path, metric, shown, axis, head):
    directions = ("maximize" if metric.higher_is_better else "minimize", "minimize")
    study = study_of([(0.25, 1.0)], directions=directions)
    front = best(study)
    assert cells(front[0], metric)[2] == shown
    write_page(tmp_path / "sweep.html", study, metric, front, front[0], {"study": "s"})
    page = (tmp_path / "sweep.html").read_text()
    assert head in page
    assert axis in page
    assert f"{head.split()[0]} against cost" in page
    if metric is ERROR:
        assert "accuracy" not in page.split("</script>", 1)[1].split("<script")[0]
