"""Tuning, curves and trials of tasks whose labels are no classes: real trainings, as small as they get."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from dynaxx.data import LabelledImages, Normalisation
from dynaxx.evaluation.arms import ARMS, ArmRecord, Task, TrainOptions, load_arm
from dynaxx.evaluation.predict import Samples
from dynaxx.evaluation.validation import CURVE_ARMS, measure_label_curve, measure_size_curve, tune
from dynaxx.evaluation.validation.trial import run_trial
from dynaxx.tasks import Kind, Regression, Segmentation
from dynaxx.training.small_resnet import SmallResNet

KINDS: dict[str, Kind] = {"numbers": Regression("mm"), "masks": Segmentation()}
NORMALISATION = Normalisation((0.5,), (0.25,))
COUNT, SIDE = 48, 16


def data_of(name: str) -> LabelledImages:
    """A bright square of another size in each image: its side in tenths of a pixel, or its mask."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 90, (COUNT, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    sides = torch.randint(3, 13, (COUNT,), generator=generator)
    masks = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.uint8)
    for mask, side in zip(masks, sides.tolist(), strict=True):
        mask[2 : 2 + side, 2 : 2 + side] = 1
    images += 150 * masks[:, None]
    if name == "numbers":
        groups = tuple(f"group {number // 4}" for number in range(COUNT))
        return LabelledImages(images, 10.0 * sides[:, None], ("side",), groups=groups)
    return LabelledImages(images, masks, ("background", "square"))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return SmallResNet(3, 1, (4, 8, 8), 1).eval().requires_grad_(False)


@pytest.fixture
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    train = TrainOptions(
        epochs=2, lr=1e-2, batch_size=16, weight_decay=0.0, residual_penalty=0.0, residual_share=1.0, warmup=0.0,
        augmentation="none", patience=2, checkpoint_every=2, cache_limit_gb=0.0,
    )  # fmt: skip
    return Task(
        backbone=network, fingerprint="net", images=data_of(request.param), normalisation=NORMALISATION, n_train=32,
        n_val=12, taps=["layer2", "layer3"], resonance={"T": 2, "rank": 2, "damping": 0.9}, train=train,
        trainer=partial(pl.Trainer, accelerator="cpu", devices=1), probes=tmp_path / "baseline",
        cache=tmp_path / "cache", head="probe", penalties=[1.0], kind=KINDS[request.param],
    )  # fmt: skip


def judged(task: Task, folder: Path, seed: int) -> float:
    """The metric of a trained arm on its validation images, by passes of the model that was saved."""
    _, val = task.split(seed)
    found = Samples(task.images.images[val], NORMALISATION).outputs(load_arm(folder, network()))
    return task.kind.value(found, task.images.labels[val])


@pytest.mark.slow
@pytest.mark.parametrize("task", list(KINDS), indirect=True)
def test_a_label_curve_holds_the_metric_of_each_arm(task: Task, tmp_path: Path) -> None:
    points = measure_label_curve(dict.fromkeys(CURVE_ARMS, task), [8, 32], 100, tmp_path)
    assert [(point.arm, point.labels) for point in points] == [(arm, n) for n in (8, 32) for arm in CURVE_ARMS]
    for point in points:
        folder = tmp_path / f"labels-{point.labels}" / point.arm / "seed-100"
        assert point.score == pytest.approx(judged(replace(task, n_train=point.labels), folder, 100), rel=1e-3)
    if task.kind.name == "regression":
        assert min(point.score for point in points) > 1  # tenths of pixels, and no share of anything


@pytest.mark.slow
@pytest.mark.parametrize("task", list(KINDS), indirect=True)
def test_sizes_and_trials_hold_the_metric(task: Task, tmp_path: Path) -> None:
    (point,) = measure_size_curve(task, [1], {}, 100, tmp_path / "sizes")
    assert point.score == pytest.approx(judged(task, tmp_path / "sizes" / "rank-1", 100), rel=1e-3)
    tried = run_trial(task, [100], tmp_path / "trial")
    record = ArmRecord.read(tmp_path / "trial" / "explicit" / "seed-100")
    assert tried.score == record.val_score
    # the curve is of the same metric: its best epoch is the one that was kept
    best = min if not task.kind.metric.higher_is_better else max
    assert best(tried.curve) == pytest.approx(record.val_score, rel=1e-3)
    assert len(tried.curve) == task.train.epochs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::dynaxx.ResonanceWarning")  # the loop says that it runs away
@pytest.mark.parametrize("task", ["numbers"], indirect=True)
def test_a_rate_with_which_an_error_overflows_is_not_chosen(task: Task, tmp_path: Path) -> None:
    task = replace(task, train=replace(task.train, epochs=1))
    (found,) = tune("explicit", ARMS["explicit"].train, task, {"lr": [1e-3, 1e30]}, 100, tmp_path)
    assert found.scores[1] is None
    assert found.chosen == 1e-3
