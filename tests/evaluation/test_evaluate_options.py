"""Options of the evaluation that mean nothing are refused before anything is judged."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.evaluate import EvaluateOptions

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
