"""The label-efficiency curve: what each point is trained on, and what is written of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dynaxx.data import Digits, Normalisation
from dynaxx.evaluation.arms import ArmRecord, Run, Task, TrainOptions, direct, explicit, linear
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.report import arm_figures as plots
from dynaxx.evaluation.report.validation_tables import label_curve_table
from dynaxx.evaluation.validation.label_curve import (
    CURVE_ARMS,
    LabelPoint,
    measure_label_curve,
    passes,
    read_label_curve,
    with_labels,
    write_label_curve,
)
from dynaxx.tasks import Metric

ACCURACY = Metric("accuracy")
FOUND = [LabelPoint("direct", 600, 0.9), LabelPoint("direct", 50, 0.5), LabelPoint("explicit", 600, 0.8)]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Digits; no backbone is ever asked for."""
    options = TrainOptions(15, 5e-3, 128, 1e-4, 1.0, 0.25, 0.2, "none", 15, 10, 64.0)
    images = Digits().train()
    return Task(
        backbone=torch.nn.Identity, fingerprint="", images=images, normalisation=Normalisation((0.0,), (1.0,)),
        n_train=None, n_val=100,
        taps=[], resonance={}, train=options, trainer=None, probes=tmp_path, cache=tmp_path, head="probe", penalties=[],
    )  # fmt: skip


def test_fewer_images_get_more_passes_but_fewer_steps():
    assert passes(30, 9000, 9000) == 30
    for some in (10, 100, 1000, 8999):
        assert passes(30, 9000, some) >= 30
        assert passes(30, 9000, some) * some <= 30 * 9000
    assert passes(1, 10, 1000) == 1


def test_a_point_is_trained_on_so_many_labels_and_judged_by_as_many_images_as_the_others(task):
    few = with_labels(task, 50)
    train, val = few.split(3)
    assert len(train) == 50
    assert len(val) == len(task.split(3)[1])
    whole = len(task.images) - task.n_val
    assert few.train.epochs == passes(task.train.epochs, whole, 50)
    assert with_labels(replace(task, n_train=200), 50).train.epochs == passes(task.train.epochs, 200, 50)


def test_each_arm_is_trained_with_each_number_on_the_probe_of_that_number(task, tmp_path, monkeypatch):
    seen: list[tuple[str, int, str]] = []

    def note(arm: str) -> Callable[..., None]:
        def train(task: Any, run: Run) -> None:
            seen.append((arm, len(task.split(run.seed)[0]), str(task.probes.relative_to(tmp_path))))
            ArmRecord(arm, run.seed, "explicit", [], 0, 0, 0.0, 0.5, {}).write(run.out)

        return train

    monkeypatch.setattr(explicit, "train", note("explicit"))
    monkeypatch.setattr(linear, "train_baseline", note("baseline"))
    monkeypatch.setattr(direct, "train", note("direct"))
    found = measure_label_curve(dict.fromkeys(CURVE_ARMS, task), [50, 100], 100, tmp_path)
    expected = [(arm, n, f"labels-{n}/baseline") for n in (50, 100) for arm in CURVE_ARMS]
    assert seen == expected
    assert [(p.arm, p.labels) for p in found] == [(arm, n) for arm, n, _ in expected]
    measure_label_curve(
        dict.fromkeys(CURVE_ARMS, task), [50, 100, 200], 100, tmp_path
    )  # what is finished is not run again
    assert seen[6:] == [(arm, 200, "labels-200/baseline") for arm in CURVE_ARMS]


def test_round_trip_and_damage(tmp_path):
    write_label_curve(tmp_path / "labels.json", FOUND)
    assert read_label_curve(tmp_path / "labels.json") == FOUND
    (tmp_path / "labels.json").write_text('[{"arm": "x"}]')
    with pytest.raises(EvaluationError, match="dvc repro -f vary"):
        read_label_curve(tmp_path / "labels.json")


def test_plot_and_table_have_every_point_in_order():
    direct, ours = plots.label_curve_figure(FOUND, {"direct": "#123456"}, ACCURACY).data
    assert (list(direct.x), list(direct.y), direct.line.color) == ([50, 600], [50.0, 90.0], "#123456")
    assert list(ours.x) == [600]
    assert label_curve_table(FOUND, ACCURACY).rows == [["50", "50.0", "–"], ["600", "90.0", "80.0"]]
