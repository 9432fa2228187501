"""Outputs from anchors that one pass gave for all models are those of each model's own passes."""

import copy

import pytest
import torch
from support.nets import trained_like
from torch import nn

from dynaxx import wrap_with_resonance
from dynaxx.backbone import find_classifier
from dynaxx.data import LabelledImages, Normalisation, normalise
from dynaxx.evaluation import Judge, Stores, live
from dynaxx.evaluation.arms import ArmRecord, load_arm
from dynaxx.evaluation.arms.models import TapMLP
from dynaxx.evaluation.arms.record import save_backbone, save_mlp
from dynaxx.evaluation.arms.repeated_tap import REPEATED_TAP, repeat_tap
from dynaxx.evaluation.inside.ablation import ablations
from dynaxx.evaluation.inside.gates import gate_openings
from dynaxx.evaluation.inside.information import information
from dynaxx.evaluation.inside.iterations import iterations
from dynaxx.evaluation.inside.maps import feature_maps
from dynaxx.evaluation.inside.residuals import residual_curves
from dynaxx.evaluation.predict import Samples
from dynaxx.evaluation.robustness import CORRUPTIONS, STRENGTHS, robustness
from dynaxx.evaluation.statistics import Bootstrap
from dynaxx.evaluation.stores import Reading, reading_of
from dynaxx.tasks import Classification
from dynaxx.training.small_resnet import SmallResNet

NORMALISATION = Normalisation((0.4,), (0.2,))
COUNT = 70


def backbone() -> SmallResNet:
    torch.manual_seed(3)
    return SmallResNet(3, 1, (4, 6, 8), 1).eval().requires_grad_(False)


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Numbers of images of all passes from the first layer on."""
    read: list[int] = []
    forward = nn.Conv2d.forward

    def counting(self, x):
        if self.in_channels == 1:
            read.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", counting)
    return read


@pytest.fixture
def data() -> LabelledImages:
    pixels = torch.randint(256, (COUNT, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return LabelledImages(pixels, torch.arange(COUNT) % 3, ("a", "b", "c"))


ARMS = {
    "own": None,
    "probe": {"mode": "probe"},
    "layer_probe": {"mode": "layer_probe", "readout": "moments", "layers": [1]},
    "concat_probe": {"mode": "concat_probe", "readout": "moments"},
    "direct": {"mode": "direct"},
    "direct of moments": {"mode": "direct", "readout": "moments"},
    "explicit": {"mode": "explicit", "gate": "learned"},
    "explicit in every position": {"mode": "explicit", "readout": "map"},
    "explicit with the backbone's head": {"mode": "explicit", "num_classes": None},
    "implicit": {"mode": "implicit"},
    "hybrid": {"mode": "hybrid", "readout": "mean"},
    "last_tap_only": {"mode": "explicit", "layers": "repeated"},
    "disagreement": {"mode": "concat_probe", "readout": "map", "num_classes": 1},
    "reentrant": {"mode": "explicit", "dynamics": "reentrant"},
    "tuned with its backbone": {"mode": "explicit"},
    "network": "network",
    "mlp": "mlp",
}
"""Arm → how it is made; the last four read the images."""
LIVE = ("reentrant", "tuned with its backbone", "network", "mlp")


def trained(folder, name) -> ArmRecord:
    """An arm as training leaves it in `folder`, with weights that nobody trained."""
    options, network, notes = copy.copy(ARMS[name]), backbone(), {}
    torch.manual_seed(len(name))
    if options is None:
        record = ArmRecord(name, 0, "own", [], 0, 0, 0.0, 0.5, {})
    elif options == "network":
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        folder.mkdir(parents=True)
        save_backbone(folder, network)
        record = ArmRecord(name, 0, "network", [], 1, 1, 0.0, 0.5, {})
    elif options == "mlp":
        save_mlp(folder, TapMLP(network, ["layer1", "layer3"], 12, 5, 3))
        record = ArmRecord(name, 0, "mlp", ["layer1", "layer3"], 1, 1, 0.0, 0.5, {})
    else:
        layers = options.pop("layers", [3] if options["mode"] == "probe" else [1, 2, 3])
        if layers == "repeated":
            network, layers = repeat_tap(network, "layer3", 3)
            notes = {REPEATED_TAP: "layer3"}
        if "backbone" in name and "tuned" in name:
            for parameter in network.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        options = {"num_classes": 3, "T": 2, "rank": 2} | options
        model = wrap_with_resonance(network, layers, example_input=torch.zeros(2, 1, 8, 8), **options)
        trained_like(model)
        if name == "disagreement":
            normal = torch.randn(9, 1, 8, 8)
            model.fit_disagreement([normal], [normal], false_alarms=0.5)
        model.save_pretrained(folder)
        if "tuned" in name:
            save_backbone(folder, network)
        taps = list(model.paths) if model.config.reads_taps or options["mode"] != "probe" else []
        kind = "disagreement" if name == "disagreement" else "resonance"
        record = ArmRecord(name, 0, kind, taps, 1, 1, 0.0, 0.5, notes)
    record.write(folder)
    return record


def judge_of(data, store=None) -> Judge:
    bootstrap = Bootstrap(resamples=100, confidence=0.95, seed=0)
    return Judge(Classification(), data, NORMALISATION, bootstrap, store)


def store_of(data, folder=None):
    return Stores(folder).kept(backbone(), Reading(["layer1", "layer2", "layer3"], {}), data.images, NORMALISATION)


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_answers_from_the_store_as_from_the_images(tmp_path, data, passes, name):
    trained(tmp_path / "arm", name)
    model = load_arm(tmp_path / "arm", backbone())
    x = normalise(data.images, NORMALISATION)
    with torch.no_grad():
        expected = model(x)
    store = store_of(data, tmp_path / "features")
    found = judge_of(data, store).outputs(model)
    assert torch.allclose(found, expected, atol=1e-5)
    passes.clear()
    rows = torch.tensor([5, 0, 68])
    some = judge_of(data, store).subset(rows).subset(torch.tensor([2, 0]))
    assert torch.allclose(some.outputs(model), expected[[68, 5]], atol=1e-5)
    assert bool(passes) == (name in LIVE)


@pytest.mark.parametrize("name", ["probe", "explicit", "own"])
def test_a_model_on_a_changed_backbone_reads_the_images_itself(tmp_path, data, name):
    trained(tmp_path / "arm", name)
    store = store_of(data)
    model = load_arm(tmp_path / "arm", backbone())
    network = model if name == "own" else model.backbone
    with torch.no_grad():
        next(network.layer1.parameters()).mul_(1.1)
        expected = model(normalise(data.images, NORMALISATION))
    assert torch.allclose(judge_of(data, store).outputs(model), expected, atol=1e-5)


def test_a_network_with_a_new_classifier_is_not_taken_for_the_backbone(data):
    network = backbone()
    path, linear = find_classifier(network, None)
    network.set_submodule(path, nn.Linear(linear.in_features, 5))
    expected = network(normalise(data.images, NORMALISATION))
    assert torch.allclose(judge_of(data, store_of(data)).outputs(network), expected, atol=1e-5)


def test_what_is_changed_for_a_block_of_calls_changes_what_the_store_gives(tmp_path, data):
    trained(tmp_path / "arm", "explicit")
    model = load_arm(tmp_path / "arm", backbone())
    plain, held = judge_of(data), judge_of(data, store_of(data))
    outputs = [held.outputs(model)]
    for block in (model.override(T=1), model.ablated([0]), model.override(T=6, solver="anderson")):
        with block:
            outputs.append(held.outputs(model))
            assert torch.allclose(outputs[-1], plain.outputs(model), atol=1e-5)
    assert all(not torch.allclose(outputs[0], other, atol=1e-4) for other in outputs[1:])


def test_the_loop_is_looked_into_without_another_pass(tmp_path, data, passes):
    trained(tmp_path / "arm", "explicit")
    model = load_arm(tmp_path / "arm", backbone())
    plain, held = judge_of(data), judge_of(data, store_of(data))
    held.outputs(model)  # what lies behind the taps is found out once
    passes.clear()
    labels, few = data.labels, torch.arange(3)
    found = [
        residual_curves(model, held.samples.anchors, 4),
        gate_openings(model, held.samples.anchors, labels, data.classes),
        information(model, held.samples.anchors),
        iterations([model], held, [1, 3], {}),
        ablations([model], held),
        feature_maps(model, held.subset(few).samples.anchors, data.images[few]),
    ]
    assert not passes
    images = normalise(data.images, NORMALISATION)
    expected = [
        residual_curves(model, live(images), 4),
        gate_openings(model, plain.samples.anchors, labels, data.classes),
        information(model, plain.samples.anchors),
        iterations([model], plain, [1, 3], {}),
        ablations([model], plain),
        feature_maps(model, live(images[few]), data.images[few]),
    ]
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            for a, b in zip(vars(one).values(), vars(other).values(), strict=True):
                assert a == (b if isinstance(b, str) or b == [1, 2, 3, 4] else pytest.approx(b, rel=1e-3, abs=1e-5))
    assert found[3:5] == expected[3:5]
    assert torch.allclose(found[5].float(), expected[5].float(), atol=2)


def test_corrupted_images_are_read_once_for_all_models(tmp_path, data, passes):
    for name in ("probe", "explicit", "direct"):
        trained(tmp_path / name, name)
    names = ("probe", "explicit", "direct")
    models = {name: [load_arm(tmp_path / name, backbone()) for _ in range(2)] for name in names}
    judge, reads = judge_of(data).subset(torch.arange(6)), backbone()
    expected = robustness(models, judge)
    layers = Reading(["layer1", "layer2", "layer3"], {})
    for by_seed in models.values():  # what lies behind the taps is found out once
        for model in by_seed:
            judge_of(data, store_of(data)).outputs(model)
    stores, built = Stores(None), []

    passes.clear()

    def opened(images):
        assert not passes  # since the last store was built
        built.append(stores.passing(reads, layers, images, NORMALISATION))
        passes.clear()
        return built[-1]

    assert robustness(models, judge, opened) == expected
    assert not passes
    assert len(built) == len(CORRUPTIONS) * len(STRENGTHS)


def test_sources_are_given_with_anchors_of_the_store(data, passes):
    torch.manual_seed(5)
    model = wrap_with_resonance(
        backbone(), [1, 3], num_classes=1, readout="map", sources={"click": 1}, rank=2, T=2,
        example_input=torch.zeros(2, 1, 8, 8),
    )  # fmt: skip
    trained_like(model)
    clicks = {"click": (torch.rand(COUNT, 1, 8, 8) > 0.9).to(torch.uint8)}
    samples = Samples(data.images, NORMALISATION, clicks, store_of(data))
    with torch.no_grad():
        x = normalise(data.images, NORMALISATION)
        expected = model(x, sources={"click": clicks["click"].float()})
        assert not torch.allclose(expected, model(x), atol=1e-3)
    passes.clear()
    assert torch.allclose(samples.outputs(model), expected, atol=1e-5)
    assert not passes


def test_a_store_of_other_images_is_refused(data):
    with pytest.raises(ValueError, match="has 70 of the 3 images"):
        Samples(data.images[:3], NORMALISATION, {}, store_of(data))


def test_a_store_that_would_be_too_large_is_told_of_in_one_line(tmp_path, data, capsys):
    reads, layers = backbone(), Reading(["layer1", "layer3"], {})
    assert Stores(tmp_path, limit_gb=1e-7).kept(reads, layers, data.images, NORMALISATION) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("each arm reads the images by itself: ")
    assert Stores(tmp_path, limit_gb=0).kept(reads, layers, data.images, NORMALISATION) is None
    assert capsys.readouterr().out == ""


def test_the_layers_that_are_held_are_those_that_any_arm_taps(tmp_path):
    for name in ("probe", "layer_probe", "explicit", "last_tap_only"):
        trained(tmp_path / name, name)
    folders = {name: {0: tmp_path / name} for name in ("probe", "layer_probe", "last_tap_only")}
    assert reading_of(folders, backbone).layers == ["layer1", "layer3"]
    found = reading_of(folders | {"explicit": {0: tmp_path / "explicit"}}, backbone)
    assert found.layers == ["layer1", "layer3", "layer2"]
    assert found.options == {"grid": None, "layout": None, "causal": None, "prefix_tokens": None, "token_pool": False}
