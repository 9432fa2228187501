"""Rotated digits: angles are those that were drawn, probes are scikit-learn's, and all arms predict the same images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchvision.transforms.functional import rotate

from dynaxx.data import normalise
from dynaxx.evaluation.arms import TapProbe
from dynaxx.training.pooled_features import pooled_features
from experiments.job import BACKBONE_ARM, Job
from experiments.published import published_task
from experiments.tasks.digits import train
from experiments.tasks.rotation import run as regression, task as rotation
from experiments.tasks.rotation.task import MAX_DEGREES, RotatedImages, errors, ridge, trained
from pipelines.compose import compose_all


def test_each_image_is_turned_by_its_own_angle():
    square = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    square[..., 3:6, 6:] = 200
    found = RotatedImages.of(square.repeat(40, 1, 1, 1), seed=3)
    assert found.angles.abs().max() <= 1
    assert found.angles.min() < -0.5
    assert found.angles.max() > 0.5
    again = RotatedImages.of(square.repeat(40, 1, 1, 1), seed=3)
    assert torch.equal(found.images, again.images)
    assert torch.equal(found.angles, again.angles)
    # turned back, the bar lies where it was: the angle is the image's own, and its sign and unit are right
    for image, angle in zip(found.images, found.angles.tolist(), strict=True):
        back = rotate(image, -MAX_DEGREES * angle)
        assert (back * (square[0] > 0)).sum() > 0.5 * back.sum()
    assert torch.equal(found.part(torch.tensor([7])).angles, found.angles[[7]])


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = OmegaConf.create(compose_all(["experiment=smoke"]))
    train([Job("digits", "", BACKBONE_ARM, 0)], params, tmp_path, "")
    task = published_task(params, root=tmp_path / "digits", cache=tmp_path / "features")
    return params, replace(task, probes=tmp_path / "probes")


@pytest.mark.slow
def test_a_probe_is_the_cross_validated_ridge_on_pooled_taps(task):
    _, task = task
    seen = RotatedImages.of(task.images.images[:120], seed=0)
    head = ridge(task, seen, task.taps)
    read = pooled_features(task.backbone(), list(task.taps), None, seen.images, task.normalisation)
    x = torch.cat([read[tap] for tap in task.taps], 1)
    naive = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 15))).fit(x.numpy(), seen.angles.numpy())
    assert head(x)[:, 0].detach().numpy() == pytest.approx(naive.predict(x.numpy()), abs=1e-4)


@pytest.mark.slow
def test_the_arms_learn_angles_and_explicit_is_compared_with_each(task, tmp_path, monkeypatch):
    params, task = task
    monkeypatch.setattr(rotation, "EPOCHS", 3)
    found = regression.found(params, tmp_path, seeds=(0, 1), rates=(5e-3, 1e-6))
    assert found["seeds"] == 2
    assert set(found["degrees"]) == {"baseline", "concat_probe", "explicit", "direct"}
    assert set(found["against"]) == {"baseline", "concat_probe", "direct"}
    # guessing the middle errs by a quarter of the range; nobody who has learnt does
    assert max(found["degrees"].values()) < MAX_DEGREES / 2
    validation = found["validation"]
    for arm in ("explicit", "direct"):
        assert f"{found['rates'][arm]:g}" == min(validation, key=lambda rate: validation[rate][arm])
    for arm, entry in found["against"].items():
        relative = (found["degrees"]["explicit"] - found["degrees"][arm]) / found["degrees"][arm]
        assert entry["relative"]["estimate"] == pytest.approx(relative, rel=1e-4)


@pytest.mark.slow
def test_training_starts_from_the_probe_and_lowers_the_error(task, monkeypatch):
    _, task = task
    every = RotatedImages.of(task.images.images, seed=0)
    index, _ = task.split(0)
    seen = every.part(index)
    head = ridge(task, seen, ())
    rotation_task = regression.with_one_output(task, 0, head)
    monkeypatch.setattr(rotation, "EPOCHS", 0)
    start = errors(trained(rotation_task, "explicit", 0, seen, 5e-3), seen, task).mean()
    assert start == pytest.approx(float(errors(TapProbe(task.backbone(), (), head), seen, task).mean()), rel=1e-3)
    monkeypatch.setattr(rotation, "EPOCHS", 10)
    assert errors(trained(rotation_task, "explicit", 0, seen, 5e-3), seen, task).mean() < start


@pytest.mark.slow
def test_the_residual_penalty_teaches_the_loop_to_settle(task, monkeypatch):
    _, task = task
    seen = RotatedImages.of(task.images.images[:200], seed=0)
    angle = regression.with_one_output(task, 0, ridge(task, seen, ()))
    monkeypatch.setattr(rotation, "EPOCHS", 40)
    left = []
    for penalty in (0.0, 10.0):
        model = trained(replace(angle, train=replace(task.train, residual_penalty=penalty)), "explicit", 0, seen, 1e-2)
        with model.observed() as agreements:
            model(normalise(seen.images, task.normalisation))
        left.append(agreements[0].residual(len(seen.images)).mean().item())
    assert left[1] < 0.8 * left[0]
