"""One pass of the backbone over each view of each image serves all arms and seeds, and changes no number of theirs."""

import copy
from dataclasses import replace
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from dynaxx.data import LabelledImages, Normalisation
from dynaxx.evaluation import Judge, Reading, Stores
from dynaxx.evaluation.arms import ARMS, ArmRecord, Run, Task, TrainOptions, explicit, load_arm, network
from dynaxx.evaluation.arms.anchors import store_of, tell
from dynaxx.evaluation.arms.linear import concatenated, examples, fit_head, probe, start_head
from dynaxx.evaluation.arms.readout import with_readout
from dynaxx.evaluation.arms.resonant import source, wrapped
from dynaxx.evaluation.pricing import Pricing
from dynaxx.evaluation.statistics import Bootstrap
from dynaxx.tasks import Classification, Regression, Segmentation
from dynaxx.training.small_resnet import SmallResNet

LAYERS = ["layer1", "layer2", "layer3"]
COUNT, VAL = 48, 12

KINDS = {"classification": Classification(), "regression": Regression(), "segmentation": Segmentation()}


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Numbers of images of all passes from the first layer on, of more than the examples that reveal shapes."""
    read: list[int] = []
    forward = nn.Conv2d.forward

    def counting(self, x):
        if self.in_channels == 3 and len(x) > 4:
            read.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", counting)
    return read


def task_of(folder, kind="classification", augmentation="flip", limit=1.0, **changes) -> Task:
    torch.manual_seed(0)
    network = SmallResNet(3, 3, (4, 6, 8), 1).eval().requires_grad_(False)
    pixels = torch.randint(256, (COUNT, 3, 16, 16), dtype=torch.uint8)
    labels = {
        "classification": torch.arange(COUNT) % 3,
        "regression": pixels.float().mean((1, 2, 3))[:, None] / 100,
        "segmentation": (pixels[:, 0] > 128).to(torch.uint8),
    }[kind]
    names = {"classification": ("a", "b", "c"), "regression": ("size",), "segmentation": ("background", "cell")}[kind]
    train = TrainOptions(
        epochs=2,
        lr=0.01,
        batch_size=8,
        weight_decay=0.0,
        residual_penalty=1.0,
        residual_share=0.5,
        warmup=0.5,
        augmentation=augmentation,
        patience=9,
        checkpoint_every=9,
        cache_limit_gb=limit,
    )
    options = {
        "kind": KINDS[kind],
        "backbone": lambda: copy.deepcopy(network),
        "fingerprint": f"{kind} of {folder}",
        "images": LabelledImages(pixels, labels, names),
        "normalisation": Normalisation((0.4, 0.5, 0.6), (0.2, 0.2, 0.2)),
        "n_train": None,
        "n_val": VAL,
        "taps": ["layer1", "layer3"],
        "candidates": LAYERS,
        "resonance": {"T": 2, "rank": 2, "student_hidden": 4},
        "train": train,
        "trainer": partial(pl.Trainer, accelerator="cpu", devices=1),
        "probes": folder / "baseline",
        "cache": folder / "features",
        "head": "probe",
        "penalties": [0.1, 1.0],
    }
    return Task(**(options | changes))


def train(task: Task, folder, arm: str, seed: int = 0):
    """An arm after training, and its record."""
    out = task.probes / f"seed-{seed}" if arm == "baseline" else folder / arm / f"seed-{seed}"
    ARMS[arm].train(task, Run(seed, out, folder / "work" / arm / f"seed-{seed}"))
    return load_arm(out, task.backbone()), ArmRecord.read(out)


@pytest.mark.parametrize("kind", KINDS)
def test_all_arms_and_seeds_are_trained_from_one_pass_over_each_view(tmp_path, passes, kind):
    task = task_of(tmp_path, kind)
    for seed in (0, 1):
        for arm in ("baseline", "layer_probe", "concat_probe", "direct", "explicit", "explicit_T1", "last_tap_only"):
            train(task, tmp_path, arm, seed)
    assert sum(passes) == 2 * COUNT


def test_other_taps_are_read_of_the_same_store(tmp_path, passes):
    task = task_of(tmp_path)
    for taps in (["layer1", "layer3"], ["layer2", "layer3"], LAYERS):
        other = replace(task, taps=taps)
        source(other, 0, wrapped(other, 0, mode="explicit")).data.cache  # noqa: B018
    assert sum(passes) == 2 * COUNT


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_from_the_store_is_what_is_trained_from_caches_and_from_images(tmp_path, kind):
    outputs = []
    x = torch.randn(5, 3, 16, 16)
    for name, limit in (("store", 1.0), ("caches", 1.0), ("images", 0.0)):
        task = task_of(tmp_path / name, kind, "none", limit)
        if name == "caches":
            task = replace(task, candidates=["layer1"])  # a store that serves no model
        for arm in ("baseline", "concat_probe"):
            train(task, tmp_path / name, arm)
        model, _ = train(task, tmp_path / name, "explicit")
        with torch.no_grad():
            outputs.append(model(x))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.allclose(outputs[0], outputs[2], atol=1e-3)


@pytest.mark.parametrize("augmentation", ["none", "flip", "shift_flip"])
def test_features_of_linear_readings_are_those_of_live_passes(tmp_path, augmentation):
    held = task_of(tmp_path / "held", "classification", augmentation)
    live = task_of(tmp_path / "live", "classification", augmentation, limit=0.0)
    for model in (probe, concatenated):
        found, expected = (examples(task, 0, model(task, 0)) for task in (held, live))
        assert torch.allclose(found.val.x, expected.val.x, atol=1e-5)
        assert torch.equal(found.val.y, expected.val.y)
        if model is probe:  # live batches of a loader are in random order
            assert torch.allclose(found.train.x, expected.train.x, atol=1e-5)
            assert torch.equal(found.train.y, expected.train.y)
        assert found.read_seconds > 0.0 == expected.read_seconds


def test_too_many_views_leave_the_image_as_it_is_in_the_store(tmp_path, passes):
    task = task_of(tmp_path, "classification", "crop_flip")
    store = store_of(task)
    assert (store.views, len(store)) == (1, COUNT)
    passes.clear()
    found = examples(task, 0, probe(task, 0))
    assert sum(passes) == 4 * (COUNT - VAL)  # the training images in random views, none of those to validate on
    assert torch.equal(
        found.val.x, store.features([], "classifier", torch.zeros(VAL, dtype=torch.long), task.split(0)[1])
    )


def test_seconds_of_the_backbone_count_once_in_every_arm(tmp_path):
    task = task_of(tmp_path)
    _, baseline = train(task, tmp_path, "baseline")
    read = baseline.notes["seconds of the backbone"]
    assert read == store_of(task).seconds > 0
    _, again = train(task, tmp_path, "baseline", seed=1)  # whichever arm or seed built the store
    assert again.notes["seconds of the backbone"] == read
    fitted = fit_head(task, 0, probe(task, 0))
    assert fitted.seconds == pytest.approx(baseline.train_seconds - read)
    _, explicit = train(task, tmp_path, "explicit")
    assert explicit.train_seconds > baseline.train_seconds


def test_a_store_beyond_the_limit_leaves_each_choice_of_taps_its_cache(tmp_path, passes, capsys):
    small = task_of(tmp_path, limit=1.0e-4)
    tell.cache_clear()
    assert store_of(small) is None
    passes.clear()
    for seed in (0, 1):
        model = wrapped(small, seed, mode="explicit", readout="mean")
        assert len(source(small, seed, model).data.cache.pooled) == 2
    assert sum(passes) == 2 * COUNT
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no anchors of all layers")]
    assert len(lines) == 1
    assert "train.cache_limit_gb=0.0001 allows less" in lines[0]


def test_no_cache_is_no_store(tmp_path):
    assert store_of(task_of(tmp_path, limit=0.0)) is None
    assert store_of(task_of(tmp_path, taps=[], candidates=[])) is None
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("arm", ["explicit", "direct", "full_finetune"])
def test_a_head_that_is_trained_on_keeps_the_penalty_of_its_fit(tmp_path, monkeypatch, arm):
    task, given = task_of(tmp_path, "regression"), []
    _, baseline = train(task, tmp_path, "baseline")
    place, name = (network, "FinetuneModule") if arm == "full_finetune" else (explicit, "ResonanceModule")

    class Noting(getattr(place, name)):
        def __init__(self, *args, **options):
            given.append(options["head_penalty"])
            super().__init__(*args, **options)

    monkeypatch.setattr(place, name, Noting)
    train(task, tmp_path, arm)
    of_taps = fit_head(task, 0, concatenated(task, 0)).fit
    assert baseline.notes["penalty of the head"] == pytest.approx(1 / (baseline.notes["C"] * 2 * (COUNT - VAL)))
    expected = baseline.notes["penalty of the head"] if arm == "full_finetune" else of_taps.penalty
    assert given == [pytest.approx(expected)]


@pytest.mark.parametrize(("arm", "drawn"), [("explicit", True), ("direct", False), ("explicit_T1", False)])
def test_only_what_iterates_draws_its_iterations(tmp_path, monkeypatch, arm, drawn):
    task, made = task_of(tmp_path), []
    task = replace(task, train=replace(task.train, iterations=[2, 5]))
    train(task, tmp_path, "baseline")

    class Noting(explicit.DrawnIterations):
        def __init__(self, *args):
            made.append(args)
            super().__init__(*args)

    monkeypatch.setattr(explicit, "DrawnIterations", Noting)
    model, _ = train(task, tmp_path, arm, seed=0)
    assert made == [(2, 5, 0)] * drawn
    assert (1 if arm == "explicit_T1" else 2) == model.T


def test_a_head_beside_a_click_keeps_no_penalty_of_a_fit_that_did_not_see_it(tmp_path):
    task = task_of(tmp_path, "segmentation")
    clicks = torch.zeros(COUNT, 1, 16, 16, dtype=torch.uint8)
    clicked = replace(task, images=replace(task.images, sources={"click": clicks}))
    train(task, tmp_path, "baseline")
    penalties = [start_head(one, 0, wrapped(one, 0, mode="explicit")).penalty for one in (task, clicked)]
    assert penalties[0] > 0
    assert penalties[1] == 0


def test_thresholds_of_all_arms_come_from_one_pass_over_the_validation_images(tmp_path, passes):
    task = task_of(tmp_path)
    models = [train(task, tmp_path, arm)[0] for arm in ("baseline", "concat_probe", "explicit")]
    data = task.images.subset(torch.arange(20))
    judge = Judge(task.kind, data, task.normalisation, Bootstrap(resamples=10, confidence=0.95, seed=0))
    costs, stores = {"a": {"missed": 5}}, Stores(None)
    reading = Reading(LAYERS, with_readout(task, task.resonance))

    def anchors(images):
        return stores.passing(task.backbone(), reading, images, task.normalisation)

    pricing = Pricing.open(costs, judge, lambda seed: data, anchors)
    passes.clear()
    found = [pricing.thresholds(0, model) for model in models]
    assert sum(passes) == len(data)
    alone = Pricing.open(costs, judge, lambda seed: data)
    for model, (asked, cost) in zip(models, found, strict=True):
        expected, expected_cost = alone.thresholds(0, model)
        assert asked == pytest.approx(expected, abs=1e-4)
        assert cost == pytest.approx(expected_cost)
