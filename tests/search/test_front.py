"""What no trial beats, and the point to take."""

import optuna
import pytest
from hypothesis import given, strategies as st

from dynaxx.search import COST, FINITE, LIVE, SECONDS, Point, best, knee, points


def point(number: int, gflops: float, accuracy: float) -> Point:
    return Point(number, {"resonance.T": number}, accuracy, gflops, 100, 1.0)


def study_of(values, *, directions=("maximize", "minimize"), constraints=None) -> optuna.Study:
    study = optuna.create_study(directions=directions)
    for number, (accuracy, gflops) in enumerate(values):
        study.add_trial(
            optuna.create_trial(
                params={"T": number},
                distributions={"T": optuna.distributions.IntDistribution(0, 1000)},
                values=[accuracy, gflops][: len(directions)],
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
            q.accuracy >= p.accuracy and q.gflops <= p.gflops and (q.accuracy, q.gflops) != (p.accuracy, p.gflops)
            for q in everybody
        )
    for q in everybody:
        assert any(p.accuracy >= q.accuracy and p.gflops <= q.gflops for p in front)
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
    assert knee(front).number == 1
    assert knee(list(reversed(front))).number == 1
    assert knee(front[:1]).number == 0
    assert knee([front[0], front[3]]).number == 3  # a line has no knee: the more accurate end
    assert knee([point(0, 1, 0.1), point(1, 2, 0.2), point(2, 3, 0.3)]).number == 2
    with pytest.raises(ValueError, match="no knee"):
        knee([])


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 1)), min_size=1, max_size=12),
    st.floats(0.01, 100),
    st.floats(0.1, 1),
)
def test_the_knee_does_not_depend_on_units(values, scale, shrink):
    """Against a naive reference: the largest distance to the straight line, whatever the axes are measured in."""
    study = study_of([(a, g) for g, a in values])
    front = best(study)
    scaled = [Point(p.number, p.params, p.accuracy * shrink, p.gflops * scale, 1, 1.0) for p in front]
    first, last = front[0], front[-1]
    run, rise = last.gflops - first.gflops, last.accuracy - first.accuracy
    if run < 1e-3 or rise < 1e-3:
        return
    above = {p.number: (p.accuracy - first.accuracy) / rise - (p.gflops - first.gflops) / run for p in front}
    most = max(above.values())
    for chosen in (knee(front), knee(scaled)):
        assert above[chosen.number] == pytest.approx(most, abs=1e-6) or most < 1e-6
