"""The choice of a learning rate and of epochs, and how it is kept."""

from dataclasses import replace
from typing import Any, cast

import pytest

from dynaxx.evaluation.arms import ArmRecord, Task, TrainOptions
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.validation.tuning import Tuned, chosen, read_tuned, tune, with_settings, write_tuned

BUDGET = TrainOptions(epochs=10, lr=1.0, batch_size=8, weight_decay=0.0, residual_penalty=0.0, residual_share=1.0,
                      label_smoothing=0.0, warmup=0.0, augmentation="none", patience=10, checkpoint_every=1,
                      cache_limit_gb=0.0)  # fmt: skip


def task_of(train: TrainOptions) -> Task:
    """Of a task's parts tuning looks at the budget alone."""
    anything = cast("Any", None)
    return Task(anything, "", anything, anything, None, 0, [], {}, train, anything, anything, anything, "probe", [])


def test_the_best_on_validation_is_chosen_and_the_smallest_of_equals():
    assert Tuned.of("lora", "lr", [1, 2, 3], [0.5, 0.7, 0.6]).chosen == 2
    assert Tuned.of("lora", "lr", [1, 2, 3], [0.5, 0.7, 0.7]).chosen == 2


def test_an_edge_and_a_peak_are_told_from_what_is_flat():
    assert Tuned.of("a", "lr", [1, 2, 3], [0.7, 0.6, 0.5]).at_the_edge
    assert not Tuned.of("a", "lr", [1, 2, 3], [0.7, 0.6, 0.5]).flat
    peak = Tuned.of("a", "lr", [1, 2, 3], [0.6, 0.7, 0.695])
    assert not peak.at_the_edge
    assert not peak.flat
    assert Tuned.of("a", "lr", [1, 2, 3], [0.695, 0.7, 0.695]).flat


def test_what_is_written_is_read_again_and_damage_is_named(tmp_path):
    found = [Tuned.of("a", "lr", [0.1, 0.2], [0.5, 0.6])]
    write_tuned(tmp_path / "tuned.json", found, 100)
    assert read_tuned(tmp_path / "tuned.json") == found
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
    assert found[0].accuracies[-1] == 0  # what overflows is worth nothing, and ends nothing
    assert trials == [(1, 10), (2, 10), (4, 10), (2, 20), (2, 40)]
    assert tune("a", counted(trials), task_of(BUDGET), options, 100, tmp_path) == found
    assert len(trials) == 5
    assert chosen([*found, Tuned.of("b", "lr", [3], [0.1])], "a") == {"lr": 2, "epochs": 20}


def test_epochs_alone_are_tried_with_the_rate_of_the_task(tmp_path):
    trials: list[tuple[float, int]] = []
    (found,) = tune("a", counted(trials), task_of(BUDGET), {"lr": None, "epochs": [10, 20]}, 100, tmp_path)
    assert (found.setting, found.chosen) == ("epochs", 20)
    assert trials == [(1.0, 10), (1.0, 20)]
    assert tune("a", counted(trials), task_of(BUDGET), {}, 100, tmp_path) == []


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
