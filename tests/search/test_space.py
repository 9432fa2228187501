"""What a sweep may change, in Hydra's words."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dynaxx.search import SearchError, draw, read_space


def test_hydras_sweeps_become_optunas_distributions():
    space = read_space(
        {
            "resonance": {
                "T": "int(interval(1, 10))",
                "rank": "tag(log, int(interval(2, 64)))",
                "damping": "interval(0.3, 1)",
                "gate": "choice(none, 'mutual_information')",
            },
            "select": {"taps": "range(2, 5)"},
            "train": {"lr": "tag(log, interval(1e-3, 0.1))"},
        }
    )
    assert space == {
        "resonance.T": IntDistribution(1, 10),
        "resonance.rank": IntDistribution(2, 64, log=True),
        "resonance.damping": FloatDistribution(0.3, 1),
        "resonance.gate": CategoricalDistribution(("none", "mutual_information")),
        "select.taps": CategoricalDistribution((2, 3, 4)),  # as in Python, 5 is no longer one of them
        "train.lr": FloatDistribution(1e-3, 0.1, log=True),
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [draw(study.ask(), space) for _ in range(30)]
    assert {values["resonance.gate"] for values in drawn} == {"none", "mutual_information"}
    assert all(type(values["resonance.rank"]) is int and 2 <= values["resonance.rank"] <= 64 for values in drawn)
    assert all(0.3 <= values["resonance.damping"] <= 1 for values in drawn)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({}, "sweep.space is empty"),
        ({"resonance": {}}, "sweep.space is empty"),
        ({"resonance": {"T": 4}}, "sweep.space.resonance.T=4: is one value"),
        ({"resonance": {"T": "interval(1"}}, r"sweep.space.resonance.T=interval\(1: .*write int\(interval"),
        ({"resonance": {"rank": "tag(log, int(interval(0, 8)))"}}, "sweep.space.resonance.rank=.*write int"),
        ({"resonance": {"T": "int(interval(5, 2))"}}, "sweep.space.resonance.T="),
        ({"task": {"n_val": "range(50, 90)"}}, "sweep.space.task.n_val: a sweep tunes resonance.*, train.*, select.*"),
        ({"evaluate": {"seed": "range(0, 9)"}}, "sweep.space.evaluate.seed: a sweep tunes"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(described, said):
    with pytest.raises(SearchError, match=said) as error:
        read_space(described)
    assert "\n" not in str(error.value)
