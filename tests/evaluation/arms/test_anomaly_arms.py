"""Arms that learn from normal images: each finds a made-up defect, is saved as a folder and answers with maps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain
from torch.nn.functional import interpolate

from dynaxx.data import LabelledImages, Normalisation, normalise, pasted
from dynaxx.evaluation.arms import ArmRecord, Run, Task, TrainOptions, anomaly, load_arm
from dynaxx.evaluation.arms.anchors import store_of
from dynaxx.evaluation.arms.anomaly import container, of_task
from dynaxx.tasks import Anomaly

ARMS = {
    "baseline": anomaly.train_baseline,
    "layer_probe": anomaly.train_layer_probe,
    "concat_probe": anomaly.train_concat_probe,
    "direct": anomaly.train_direct,
    "explicit": anomaly.train_explicit,
}
NORMALISATION = Normalisation((0.5,) * 3, (0.25,) * 3)


def good(count: int, seed: int) -> torch.Tensor:
    """Smooth grey images with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    smooth = interpolate(torch.rand(count, 1, 4, 4, generator=generator), size=(16, 16), mode="bilinear")
    noisy = 60 + 120 * smooth + 6 * torch.randn(count, 3, 16, 16, generator=generator)
    return noisy.clamp(0, 255).to(torch.uint8)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return Plain().eval().requires_grad_(False)


def task_of(tmp_path: Path) -> Task:
    budget = {"batch_size": 32, "weight_decay": 0.0, "residual_penalty": 0.0, "residual_share": 1.0, "warmup": 0.0}
    train = TrainOptions(
        epochs=3,
        lr=1e-2,
        augmentation="none",
        patience=1,
        checkpoint_every=1,
        cache_limit_gb=0.0,
        **budget,
    )
    images = good(160, seed=0)
    return Task(
        backbone=network,
        fingerprint="plain",
        images=LabelledImages(images, torch.zeros(len(images), dtype=torch.int64), ("good", "hole")),
        normalisation=NORMALISATION,
        n_train=120,
        n_val=40,
        taps=PLAIN_TAPS,
        resonance={"T": 2, "rank": 4, "damping": 0.9, "grid": (8, 8)},
        train=train,
        trainer=lambda **options: None,
        probes=tmp_path,
        cache=tmp_path,
        head="probe",
        kind=Anomaly(),
        penalties=[1.0],
    )


def defective_images() -> tuple[torch.Tensor, torch.Tensor]:
    images = good(60, seed=1)
    images[30:, :, 5:9, 5:9] = torch.tensor([255, 0, 255], dtype=torch.uint8)[:, None, None]
    return normalise(images, NORMALISATION), torch.arange(60).ge(30).long()


@pytest.mark.parametrize("arm", ARMS)
def test_it_finds_defects_and_comes_back_from_its_folder(arm, tmp_path):
    task, (x, y) = task_of(tmp_path), defective_images()
    ARMS[arm](task, Run(seed=0, out=tmp_path / arm, checkpoints=tmp_path))
    record, model = ArmRecord.read(tmp_path / arm), load_arm(tmp_path / arm, network())
    assert (record.arm, record.kind, record.seed) == (arm, "disagreement", 0)
    assert 0.5 < record.val_score <= 1.0
    assert record.trained_parameters == record.live_parameters > 0
    maps = model(x)
    assert maps.shape == (60, 1, 16, 16)
    assert Anomaly().value(maps, y) > 0.8
    assert torch.equal(load_arm(tmp_path / arm, network())(x), maps)
    inside, outside = maps[30:, 0, 5:9, 5:9].mean(), maps[30:, 0, 12:, :4].mean()
    assert inside > outside
    assert (maps[:30].amax((1, 2, 3)) > 0).float().mean() < 0.3  # 0 is the threshold
    assert not any(path.suffix not in (".json", ".safetensors") for path in (tmp_path / arm).iterdir())


def test_arms_read_the_taps_that_their_records_name(tmp_path):
    task = task_of(tmp_path)
    for arm, train in ARMS.items():
        train(task, Run(seed=0, out=tmp_path / arm, checkpoints=tmp_path))
    taps = {arm: ArmRecord.read(tmp_path / arm).taps for arm in ARMS}
    assert taps["baseline"] == ["late"]
    assert len(taps["layer_probe"]) == 1
    assert all(taps[arm] == PLAIN_TAPS for arm in ("concat_probe", "direct", "explicit"))


@pytest.mark.parametrize("candidates", [(), ("entry", "early", "middle", "late")])
def test_the_single_tap_is_the_one_that_made_up_defects_choose(candidates, tmp_path):
    task = replace(task_of(tmp_path), candidates=candidates)
    anomaly.train_layer_probe(task, Run(seed=0, out=tmp_path / "arm", checkpoints=tmp_path))
    record = ArmRecord.read(tmp_path / "arm")
    train, val = task.split(0)
    values = {}
    for tap in candidates or PLAIN_TAPS:
        model = anomaly.container(task, [tap], seed=0)
        made_up = pasted(task.images.images[val], 0)[0]
        normal, held_out, defective = (
            anomaly.anchors(task, model, pixels)
            for pixels in (task.images.images[train], task.images.images[val], made_up)
        )
        model.fit_disagreement(normal, held_out, predictor="none")
        values[tap] = anomaly.score(task, model, held_out, defective)
    assert record.val_score == pytest.approx(max(values.values()))
    assert values[record.taps[0]] == pytest.approx(max(values.values()))
    model = load_arm(tmp_path / "arm", network())
    assert list(model.model.disagreement(defective_images()[0]).by_tap) == record.taps


def test_an_image_counts_by_the_share_of_its_map_that_the_task_names(tmp_path):
    values = []
    for top in (0.0, 0.3):
        task = replace(task_of(tmp_path), kind=Anomaly(top=top))
        anomaly.train_direct(task, Run(seed=0, out=tmp_path / "arm", checkpoints=tmp_path))
        model = load_arm(tmp_path / "arm", network())
        assert model.model.adapter.detector.options.top == top
        values.append(ArmRecord.read(tmp_path / "arm").val_score)
    assert values[0] != values[1]


def test_normal_images_are_read_once_for_all_arms_and_seeds(tmp_path):
    plain = task_of(tmp_path / "live")
    kept = replace(plain, cache=tmp_path / "kept", train=replace(plain.train, cache_limit_gb=1.0))
    store = store_of(kept)
    index, model = torch.tensor([3, 150, 7]), container(kept, PLAIN_TAPS[1:], seed=0)
    assert store.grid == model.config.grid == (8, 8)
    found, expected = (of_task(task, model, index) for task in (kept, plain))
    for one, other in zip(found[0].pooled, expected[0].pooled, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    model.read = None  # nothing is read again
    of_task(kept, model, index)
    finer = container(replace(kept, resonance=kept.resonance | {"grid": (4, 4)}), PLAIN_TAPS[1:], seed=0)
    assert of_task(kept, finer, index)[0].grid == (4, 4)
