"""When timing ends, on a clock whose noise is known."""

import numpy as np
import pytest
import torch
from torch import nn

from dynaxx.evaluation.cost.latency import FEWEST_ROUNDS, latency, timed

X = torch.zeros(3, 2)


class Clock:
    """Passes take seconds that it draws, and time goes by as they say; no real time is looked at."""

    def __init__(self, seconds: dict[str, float], noise: float, seed: int = 0) -> None:
        self.models = {name: nn.Identity().eval() for name in seconds}
        self.seconds = {id(self.models[name]): value for name, value in seconds.items()}
        self.noise, self.generator = noise, np.random.default_rng(seed)
        self.now, self.passes = 0.0, 0

    def time_pass(self, model: nn.Module, x: torch.Tensor) -> float:
        taken = self.seconds[id(model)] * float(self.generator.lognormal(0.0, self.noise))
        self.now += 2 * taken  # one pass is not timed
        self.passes += 1
        return taken

    def run(self, precision: float, budget: float):
        return timed(
            self.models,
            X,
            reference="probe",
            precision=precision,
            budget=budget,
            time_pass=self.time_pass,
            clock=lambda: self.now,
        )


TWO = {"probe": 0.010, "loop": 0.0115}


def test_a_quiet_machine_needs_the_fewest_rounds_and_a_noisy_one_more():
    rounds = []
    for noise in (0.0, 0.05, 0.2):
        clock = Clock(TWO, noise)
        seconds, timing = clock.run(precision=0.02, budget=1000.0)
        rounds.append(timing.rounds)
        assert timing.imprecise == {}
        assert timing.batch == 3
        assert clock.passes == 2 * (timing.rounds + 1)  # each model once a round, and once to warm up
        assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys(TWO, timing.rounds)
        assert timing.seconds == pytest.approx(clock.now)
        assert latency(seconds, "probe")["loop"].ratio == pytest.approx(1.15, rel=0.04)
    assert rounds[0] == FEWEST_ROUNDS
    assert rounds[0] < rounds[1] < rounds[2]
    # the interval of a median narrows with the root of the rounds: four times the noise takes 16 times as many
    assert rounds[2] / rounds[1] == pytest.approx(16, rel=0.6)


def test_the_interval_of_the_median_covers_the_true_ratio_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        seconds, timing = Clock(TWO, 0.1, seed).run(precision=0.05, budget=1000.0)
        assert timing.rounds >= FEWEST_ROUNDS
        covered += abs(latency(seconds, "probe")["loop"].ratio / 1.15 - 1) <= 0.05
    assert covered >= 90  # 95 % of each interval; rounds that end as soon as it is narrow take a little of that


def test_the_budget_ends_it_and_what_was_not_reached_is_told():
    clock = Clock(TWO | {"twin": 0.010}, 0.3)
    _, timing = clock.run(precision=0.001, budget=4.0)
    assert timing.seconds <= 4.0
    assert timing.rounds > FEWEST_ROUNDS
    assert set(timing.imprecise) == {"loop", "twin"}  # the reference is known, by definition
    assert all(half > 0.001 for half in timing.imprecise.values())


def test_one_round_is_run_whatever_it_takes_and_few_rounds_are_not_called_precise():
    _, timing = Clock(TWO, 0.0).run(precision=0.02, budget=0.0)
    assert timing.rounds == 1
    assert set(timing.imprecise) == {"loop"}
    _, timing = Clock(TWO, 0.0).run(precision=0.02, budget=0.25)
    assert 1 < timing.rounds < FEWEST_ROUNDS
    assert set(timing.imprecise) == {"loop"}


def test_a_real_model_is_timed():
    models = {"probe": nn.Linear(2, 2).eval(), "same": nn.Linear(2, 2).eval()}
    seconds, timing = timed(models, X, reference="probe", precision=0.5, budget=0.2)
    assert timing.rounds == len(seconds["probe"]) >= 1
    assert all((times > 0).all() for times in seconds.values())
    assert latency(seconds, "probe")["probe"].ratio == 1.0
