"""What is no list and no arm is one line, before anything is trained; and options that were tuned are taken."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from omegaconf import OmegaConf

from dynaxx.evaluation.arms import ArmRecord, Run, Task, TrainOptions
from dynaxx.evaluation.validation import Tuned, write_tuned
from dynaxx.tasks import Classification, Regression
from pipelines import distill, tune as tune_stage
from pipelines.common.options import listed, rivals


def test_what_is_listed():
    params = OmegaConf.create({"tune": {"lr": [0.1, 0.2], "epochs": None}, "train_arms": {"arms": ["direct"]}})
    assert listed(params, "tune.lr") == [0.1, 0.2]
    assert listed(params, "tune.epochs") == []
    assert rivals(params) == ["direct"]


@pytest.mark.parametrize("value", [0.005, "fast", {"a": 1}])
def test_what_is_no_list_is_named(value):
    with pytest.raises(ValueError, match="tune.lr=.*: give a list, as .*, or null"):
        listed(OmegaConf.create({"tune": {"lr": value}}), "tune.lr")


@pytest.mark.parametrize("arms", [["direct", "concat_prob"], ["implicit"], [3]])
def test_an_unknown_arm_is_named_beside_those_that_are(arms):
    with pytest.raises(ValueError, match="train_arms.arms: no arm .*; known are layer_probe, concat_probe"):
        rivals(OmegaConf.create({"train_arms": {"arms": arms}}))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], (0.02, 5)),
        ([Tuned("implicit", "lr", [0.1, 0.2], [0.5, 0.6], 0.2)], (0.2, 5)),
        ([Tuned("implicit", "epochs", [7, 9], [0.6, 0.5], 7), Tuned("explicit", "lr", [0.3], [0.5], 0.3)], (0.02, 7)),
    ],
)
def test_the_student_is_trained_as_was_chosen_for_it(found, expected, tmp_path, monkeypatch):
    write_tuned(tmp_path / "tuned.json", found, 100)
    seen = []
    monkeypatch.setattr(distill, "TUNED", tmp_path / "tuned.json")
    monkeypatch.setattr(distill, "build_task", lambda params: SimpleNamespace(kind=Classification()))
    monkeypatch.setattr(distill, "each_seed", lambda stage, arm, train: [train(Run(0, tmp_path, tmp_path))][:0])
    monkeypatch.setattr(distill.implicit, "train", lambda *args, options, **more: seen.append(options))
    budget = {"epochs": 5, "lr": 0.02, "kl_weight": 1.0, "states_weight": 1.0}
    distill.body(SimpleNamespace(params=OmegaConf.create({"distill": budget})))
    assert [(options.lr, options.epochs) for options in seen] == [expected]


def test_the_student_is_tried_with_each_rate_and_otherwise_as_distill_says(tmp_path, monkeypatch):
    anything = cast("Any", None)
    train = TrainOptions(epochs=9, lr=1.0, batch_size=8, weight_decay=0.0, residual_penalty=0.0, residual_share=1.0,
                         warmup=0.0, augmentation="none", patience=9, checkpoint_every=1,
                         cache_limit_gb=0.0)  # fmt: skip
    task = Task(anything, "", anything, anything, None, 0, [], {}, train, anything, anything, anything, "probe", [])
    seen = []

    def distilled(task, run, *, teacher, options):
        seen.append((options, teacher))
        ArmRecord("implicit", run.seed, "network", [], 1, 1, 0.0, options.lr, {}).write(run.out)

    monkeypatch.setattr(tune_stage.implicit, "train", distilled)
    budget = {"epochs": 5, "lr": 0.02, "kl_weight": 1.0, "states_weight": 1.0}
    params = OmegaConf.create({"distill": budget, "tune": {"seed": 100}})
    stage = cast("Any", SimpleNamespace(params=params, checkpoints=tmp_path))
    found = tune_stage._student(stage, task, {"lr": [0.1, 0.2], "epochs": []}, tmp_path / "teacher")
    whole = distill.implicit.DistillOptions(**budget)
    assert seen == [(replace(whole, lr=lr), tmp_path / "teacher") for lr in (0.1, 0.2)]
    assert [(t.arm, t.setting, t.chosen) for t in found] == [("implicit", "lr", 0.2)]
    # the same trials as errors: the smaller one is chosen
    (smaller,) = tune_stage._student(stage, replace(task, kind=Regression()), {"lr": [0.1, 0.2]}, tmp_path / "teacher")
    assert (smaller.chosen, smaller.scores) == (0.1, [0.1, 0.2])
