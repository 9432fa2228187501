"""Options of the evaluation that mean nothing are refused before anything is judged."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.options import EvaluateOptions

DEFAULT = Path(__file__).parents[2] / "conf" / "evaluate" / "default.yaml"


def options(**changes):
    return EvaluateOptions(**OmegaConf.merge(OmegaConf.load(DEFAULT), changes))


def test_the_defaults_are_accepted():
    assert min(options().T) >= 1


@pytest.mark.parametrize("T", [0, 5, [], [0, 2], [2.5], ["all"], [True]])
def test_numbers_of_iterations_are_whole_numbers_in_a_list(T):
    with pytest.raises(EvaluationError, match=r"evaluate\.T=.*: give a list of whole numbers from 1 on"):
        options(T=T)


@pytest.mark.parametrize(
    ("name", "value"),
    [("residual_iterations", 0), ("corrupted_images", -1), ("attributed_images", 1.5), ("gallery", "few")],
)
def test_counts_are_whole_numbers(name, value):
    with pytest.raises(EvaluationError, match=rf"evaluate\.{name}=.*: give a whole number from [01] on"):
        options(**{name: value})


@pytest.mark.parametrize("name", ["timing_precision", "timing_seconds"])
@pytest.mark.parametrize("value", [0, -1, "fast", True, float("inf")])
def test_timing_has_limits_above_zero(name, value):
    with pytest.raises(EvaluationError, match=rf"evaluate\.{name}=.*: give a number above 0"):
        options(**{name: value})


def test_prices_are_judged_before_any_work():
    assert options(costs={"polyp": {"missed": 100, "false_alarm": 1}}, requests_per_day=10).costs
    with pytest.raises(EvaluationError, match=r"evaluate\.costs\.polyp\.missed=-1"):
        options(costs={"polyp": {"missed": -1}})
    with pytest.raises(EvaluationError, match=r"evaluate\.requests_per_day=10: gives a yearly value"):
        options(requests_per_day=10)


def test_what_there_was_before_is_no_option():
    with pytest.raises(TypeError, match="rounds"):
        options(rounds=50)
