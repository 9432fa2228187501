"""The front against its definition, by brute force."""

from hypothesis import given, strategies as st

from dynaxx.evaluation.statistics.pareto import front

POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8)


@given(POINTS)
def test_who_is_on_the_front_is_beaten_by_nobody_and_who_is_not_by_somebody(points):
    for (cost, value), on in zip(points, front(points), strict=True):
        beaten = any((c <= cost and v > value) or (c < cost and v >= value) for c, v in points)
        assert on != beaten


@given(POINTS)
def test_the_best_and_the_cheapest_are_on_it(points):
    on = front(points)
    assert on[points.index(max(points, key=lambda p: (p[1], -p[0])))]
    assert on[points.index(min(points, key=lambda p: (p[0], -p[1])))]
