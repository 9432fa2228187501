"""Whatever options, network and input meet: our own errors only, no NaN out of finite input, no sample in another."""

import pytest
from hypothesis import HealthCheck, given, settings
from support.random_models import cases, hold

pytestmark = [
    pytest.mark.filterwarnings("ignore::dynaxx.ResonanceWarning"),
    pytest.mark.filterwarnings("ignore:overflow"),
]

CALM = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=120, **CALM)
@given(case=cases())
def test_any_configuration_on_any_input(case):
    hold(case)


@pytest.mark.nightly
@settings(max_examples=10_000, **CALM)
@given(case=cases())
def test_ten_thousand_configurations(case):
    hold(case)
