"""The choice of a learning rate and of epochs, and how it is kept."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from dynaxx.evaluation.arms import ArmRecord, Task, TrainOptions
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.validation.tuning import Tuned, chosen, read_tuned, tune, with_settings, write_tuned
from dynaxx.tasks import Classification, Kind, Metric, Regression

BUDGET = TrainOptions(epochs=10, lr=1.0, batch_size=8, weight_decay=0.0, residual_penalty=0.0, residual_share=1.0,
                      warmup=0.0, augmentation="none", patience=10, checkpoint_every=1,
                      cache_limit_gb=0.0)  # fmt: skip


ACCURACY, ERROR = Metric("accuracy"), Metric("rmse", higher_is_better=False, root=True, unit="mm")


def task_of(train: TrainOptions, kind: Kind | None = None) -> Task:
    """Of a task's parts tuning looks at the budget alone."""
    anything = cast("Any", None)
    return Task(anything, "", anything, anything, None, 0, [], {}, train, anything, anything, anything, "probe", [],
                kind=kind or Classification())  # fmt: skip


def test_the_best_on_validation_is_chosen_and_the_smallest_of_equals():
    assert Tuned.of("lora", "lr", [1, 2, 3], [0.5, 0.7, 0.6], ACCURACY).chosen == 2
    assert Tuned.of("lora", "lr", [1, 2, 3], [0.5, 0.7, 0.7], ACCURACY).chosen == 2


def test_an_edge_and_a_peak_are_told_from_what_is_flat():
    assert Tuned.of("a", "lr", [1, 2, 3], [0.7, 0.6, 0.5], ACCURACY).at_the_edge
    assert not Tuned.of("a", "lr", [1, 2, 3], [0.7, 0.6, 0.5], ACCURACY).flat
    peak = Tuned.of("a", "lr", [1, 2, 3], [0.6, 0.7, 0.695], ACCURACY)
    assert not peak.at_the_edge
    assert not peak.flat
    assert Tuned.of("a", "lr", [1, 2, 3], [0.695, 0.7, 0.695], ACCURACY).flat


def test_the_smallest_error_is_chosen_and_a_diverged_training_never():
    assert Tuned.of("lora", "lr", [1, 2, 3], [5.0, 0.7, 0.7], ERROR).chosen == 2
    assert Tuned.of("lora", "lr", [1, 2, 3], [None, 1e9, None], ERROR).chosen == 2
    assert Tuned.of("lora", "lr", [1, 2, 3], [None, 0.0, 0.0], ACCURACY).chosen == 2
    assert Tuned.of("lora", "lr", [1, 2], [None, None], ERROR).chosen == 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_the_choice_by_an_error_is_that_by_its_negation(scores):
    values = list(range(len(scores)))
    by_error = Tuned.of("a", "lr", values, scores, ERROR)
    by_gain = Tuned.of("a", "lr", values, [-score for score in scores], ACCURACY)
    assert by_error.chosen == by_gain.chosen == scores.index(min(scores))
    assert by_error.flat == by_gain.flat


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_flatness_does_not_depend_on_the_unit(scale):
    def found(*scores: float | None) -> bool:
        scaled = [None if score is None else scale * score for score in scores]
        return Tuned.of("a", "lr", [1, 2, 3], scaled, ERROR).flat

    assert found(2.015, 2.0, 2.015)
    assert not found(2.03, 2.0, 2.0)
    assert not found(None, 2.0, 2.0)  # what diverges beside it is no flat ground


def test_what_is_written_is_read_again_and_damage_is_named(tmp_path):
    found = [Tuned.of("a", "lr", [0.1, 0.2, 0.4], [0.5, 0.6, None], ACCURACY)]
    write_tuned(tmp_path / "tuned.json", found, 100)
    assert read_tuned(tmp_path / "tuned.json") == found
    json.loads((tmp_path / "tuned.json").read_text(), parse_constant=pytest.fail)  # JSON has no infinities
    (tmp_path / "tuned.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"tuned.json: cannot be read .* `dvc repro -f tune`"):
        read_tuned(tmp_path / "tuned.json")


def counted(trials):
    """An arm that does best with a rate of 2 in 20 epochs, overflows with 4, and counts how often it is trained."""

    def train(task, run):
        lr, epochs = task.train.lr, task.train.epochs
        trials.append((lr, epochs))
        if lr == 4:
            raise FloatingPointError("the loss is not finite")
        accuracy = 1 - 0.1 * abs(lr - 2) - 0.01 * abs(epochs - 20)
        ArmRecord("a", run.seed, "probe", [], 1, 1, 0.0, accuracy, {}).write(run.out)

    return train


def test_epochs_are_tried_with_the_rate_that_was_chosen_and_no_trial_is_run_twice(tmp_path):
    trials: list[tuple[float, int]] = []
    options = {"lr": [4, 1, 2], "epochs": [40, 10, 20]}
    found = tune("a", counted(trials), task_of(BUDGET), options, 100, tmp_path)
    assert [(t.setting, t.values, t.chosen) for t in found] == [("lr", [1, 2, 4], 2), ("epochs", [10, 20, 40], 20)]
    assert found[0].scores[-1] is None  # what overflows has no score, and ends nothing
    assert trials == [(1, 10), (2, 10), (4, 10), (2, 20), (2, 40)]
    assert tune("a", counted(trials), task_of(BUDGET), options, 100, tmp_path) == found
    assert len(trials) == 5
    assert chosen([*found, Tuned.of("b", "lr", [3], [0.1], ACCURACY)], "a") == {"lr": 2, "epochs": 20}


def test_epochs_alone_are_tried_with_the_rate_of_the_task(tmp_path):
    trials: list[tuple[float, int]] = []
    (found,) = tune("a", counted(trials), task_of(BUDGET), {"lr": None, "epochs": [10, 20]}, 100, tmp_path)
    assert (found.setting, found.chosen) == ("epochs", 20)
    assert trials == [(1.0, 10), (1.0, 20)]
    assert tune("a", counted(trials), task_of(BUDGET), {}, 100, tmp_path) == []


def test_a_task_that_is_judged_by_an_error_takes_the_settings_with_the_smallest(tmp_path):
    trials: list[tuple[float, int]] = []
    task = task_of(BUDGET, Regression("mm"))
    found = tune("a", counted(trials), task, {"lr": [4, 1, 2], "epochs": [20, 40]}, 100, tmp_path)
    # what an accuracy would praise is the largest error here; what overflows is worse still
    assert [(t.setting, t.chosen) for t in found] == [("lr", 1), ("epochs", 40)]
    assert found[0].scores == [pytest.approx(0.8), pytest.approx(0.9), None]


def test_longer_training_does_not_begin_to_lose_its_patience():
    assert with_settings(task_of(BUDGET), {"epochs": 20}).train.patience == 20
    assert with_settings(task_of(replace(BUDGET, patience=3)), {"epochs": 20}).train.patience == 3
    assert with_settings(task_of(BUDGET), {"lr": 2.0}).train == replace(BUDGET, lr=2.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": [1.0], "epochs": [0, 5]}, r"tune.epochs=\[0, 5\]: give whole numbers from 1 on"),
        ({"epochs": [2.5]}, r"tune.epochs=\[2.5\]: give whole numbers from 1 on"),
        ({"lr": [0.0, 1.0]}, r"tune.lr=\[0.0, 1.0\]: give numbers above 0"),
        ({"lr": [1.0, "fast"]}, r"tune.lr=\[1.0, 'fast'\]: give a list of numbers above 0"),
    ],
)
def test_what_cannot_be_trained_with_is_refused_before_any_training(options, said, tmp_path):
    trials: list[tuple[float, int]] = []
    with pytest.raises(EvaluationError, match=said):
        tune("a", counted(trials), task_of(BUDGET), options, 100, tmp_path)
    assert not trials
