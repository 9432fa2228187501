"""A store holds of every model's taps what a cache of the model's own holds, from one pass over each view."""

import pytest
import timm
import torch
from support.nets import MIXED, MIXED_TAPS, UNET_TAPS, Mixed, Plain, UNet
from torch import nn

from dynaxx import wrap_with_resonance
from dynaxx.backbone import find_classifier
from dynaxx.data import Normalisation, normalise, views
from dynaxx.evaluation.arms.repeated_tap import repeat_tap
from dynaxx.training.cache import build as feature_build
from dynaxx.training.cache.build import TooLarge
from dynaxx.training.cache.features import cache_key, open_cache
from dynaxx.training.cache.reader import AnchorReader
from dynaxx.training.cache.store import open_store, store_in_memory, store_key
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features
from dynaxx.training.small_resnet import SmallResNet

NORMALISATION = Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.2))


def vectors() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 4))


def vit() -> nn.Module:
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2, "depth": 4}
    return timm.create_model("vit_tiny_patch16_224", **options)


NETS = {
    "maps": (lambda: SmallResNet(3, 3, (4, 6, 8), 2), ["layer1", "layer2", "layer3"], {}),
    "in place": (Plain, ["early", "middle", "late"], {}),
    "tokens": (vit, ["blocks.0", "blocks.1", "blocks.2"], {}),
    "vectors": (vectors, ["1", "3", "4"], {}),
    "mixed": (Mixed, MIXED_TAPS, MIXED),
}
"""Name → (maker, layers, options); the images are 8 x 8."""

READINGS = [
    {"mode": "explicit"},
    {"mode": "explicit", "readout": "mean"},
    {"mode": "explicit", "readout": "moments"},
    {"mode": "explicit", "readout": "map"},
    {"mode": "implicit"},
    {"mode": "hybrid", "readout": "moments"},
    {"mode": "direct", "readout": "mean"},
    {"mode": "concat_probe"},
    {"mode": "concat_probe", "readout": "moments"},
    {"mode": "probe"},
]


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(256, (11, 3, 8, 8), dtype=torch.uint8)


def network_of(name: str) -> nn.Module:
    torch.manual_seed(1)
    return NETS[name][0]().eval()


def wrapped(network, taps, **options):
    torch.manual_seed(3)
    model = wrap_with_resonance(
        network, taps, T=2, rank=2, example_input=torch.zeros(1, 3, 8, 8), **({"num_classes": 3} | options)
    )
    for parameter in model.trainable_parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def reader_of(network, paths, **options) -> AnchorReader:
    return AnchorReader(network, paths, torch.zeros(1, 3, 8, 8), options)


def stored(folder, name, pixels, augmentation="flip", **options):
    """The store of a network of this name with all its layers."""
    _, paths, own = NETS[name]
    reader = reader_of(network_of(name), paths, **own, **options)
    return open_store(folder, "store", reader, pixels, NORMALISATION, views(augmentation, 8))


def equal(one, other) -> bool:
    """Whether two sets of anchors are equal bit for bit."""
    pairs = [(one.pooled, other.pooled), (one.outputs, other.outputs), (one.outside, other.outside)]
    return one.grid == other.grid and all(
        len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) for a, b in pairs
    )


@pytest.mark.filterwarnings("ignore:what lies behind 'blocks.1' reads the first token")
@pytest.mark.parametrize("options", READINGS, ids=str)
@pytest.mark.parametrize("name", NETS)
def test_it_gives_each_model_what_its_own_cache_gives(tmp_path, pixels, name, options):
    store = stored(tmp_path, name, pixels)
    _, paths, own = NETS[name]
    if name in ("tokens", "vectors") and options.get("readout") == "map":
        own = own | {"num_classes": 1}
    index, view = torch.tensor([0, 10, 4, 4]), torch.tensor([1, 0, 0, 1])
    for taps in (paths, [paths[0], paths[-1]]):
        model = wrapped(network_of(name), taps[-1:] if options["mode"] == "probe" else taps, **own, **options)
        tail = model.tail(torch.zeros(1, 3, 8, 8))
        if name == "mixed" and not model.config.reads_taps:  # the grid has nothing of its class token
            assert not store.serves(model, tail)
            continue
        assert store.serves(model, tail)
        cache = open_cache(tmp_path, cache_key(model), model, pixels, NORMALISATION, views("flip", 8), tail=tail)
        found, expected = store.cache(model).anchors(view, index), cache.anchors(view, index)
        assert equal(found, expected)
        seen = [views("flip", 8)[v](pixels[i : i + 1]) for v, i in zip(view, index, strict=True)]
        x = normalise(torch.cat(seen), NORMALISATION)
        refined, _ = model.refine(found)
        assert torch.allclose(model.run_tail(refined, tail, found.outside), model(x), atol=1e-5)


def test_a_model_on_one_more_grid_or_with_other_taps_is_not_served(tmp_path, pixels):
    store = stored(tmp_path, "maps", pixels)
    network = network_of("maps")
    assert store.serves(wrapped(network, ["layer1", "layer3"]))
    assert store.serves(wrapped(network, ["layer1", "layer2"]))  # on layer2's grid, which is kept, too
    assert not store.serves(wrapped(network, ["layer1", "layer2"], grid=(3, 3)))
    assert not store.serves(wrapped(network, ["layer1", "layer3"], grid=(1, 1)))
    assert not store.serves(wrapped(network, ["layer1", "layer3.0"]))
    assert not store.serves(wrapped(network, ["layer2", "layer3"], dynamics="reentrant"))
    with pytest.raises(ValueError, match="does not serve"):
        store.cache(wrapped(network, ["layer1", "layer3"], grid=(1, 1)))


@pytest.mark.parametrize("options", [{"mode": "explicit", "readout": "moments"}, {"mode": "concat_probe"}], ids=str)
def test_taps_that_end_before_the_last_candidate_are_served_on_their_own_grid(tmp_path, pixels, options):
    """Taps are chosen after the pass, and the deepest that is chosen need not be the last candidate."""
    store, network = stored(tmp_path, "maps", pixels), network_of("maps")
    model = wrapped(network, ["layer1", "layer2"], **options)
    assert store.serves(model)
    own = open_cache(tmp_path, cache_key(model), model, pixels, NORMALISATION, views("flip", 8))
    index, view = torch.tensor([0, 10, 4, 4]), torch.tensor([1, 0, 0, 1])
    found = store.cache(model).anchors(view, index)
    assert found.grid == tuple(model.read(torch.zeros(1, 3, 8, 8)).grid) != store.grid
    assert equal(found, own.anchors(view, index))


@pytest.mark.parametrize("readout", ["mean", "moments"])
def test_a_linear_reading_of_means_is_served_whatever_its_grid(tmp_path, pixels, readout):
    store, network = stored(tmp_path, "maps", pixels), network_of("maps")
    x, both = normalise(pixels, NORMALISATION), (torch.zeros(11, dtype=torch.long), torch.arange(11))
    model = wrapped(network, ["layer1"], mode="layer_probe", readout=readout)  # on no grid that is kept
    assert store.serves(model, model.tail(x))
    anchors = store.cache(model).anchors(*both)
    assert anchors.grid != model.read(x).grid
    refined, _ = model.refine(anchors)
    assert torch.allclose(model.run_tail(refined, model.tail(x), anchors.outside), model(x), atol=1e-5)
    assert not store.serves(wrapped(network, ["layer1"], mode="layer_probe", readout="map"))
    uneven = stored(tmp_path / "uneven", "maps", pixels, grid=(3, 3))
    assert not uneven.serves(wrapped(network, ["layer1"], mode="layer_probe", readout=readout))


def test_on_a_given_grid_taps_are_read_and_the_network_behind_them_only_where_it_has_that_grid(tmp_path, pixels):
    store, network = stored(tmp_path, "maps", pixels, grid=(4, 4)), network_of("maps")
    assert store.grid == (4, 4)
    assert store.serves(wrapped(network, ["layer1", "layer3"], grid=(4, 4), readout="map"))
    assert store.serves(wrapped(network, ["layer1", "layer2"], grid=(4, 4)))  # layer2 has 4 x 4 positions
    assert not store.serves(wrapped(network, ["layer1", "layer3"], grid=(4, 4)))


def test_pooled_tokens_are_served_by_a_store_of_pooled_tokens(tmp_path, pixels):
    network, taps = network_of("tokens"), NETS["tokens"][1]
    model = wrapped(network, taps, token_pool=True, readout="mean")
    assert not stored(tmp_path / "whole", "tokens", pixels).serves(model)
    store = stored(tmp_path / "pooled", "tokens", pixels, token_pool=True)
    assert store.serves(model)
    assert not store.serves(wrapped(network, taps, readout="mean"))
    assert not store.serves(wrapped(network, taps, token_pool=True))  # its network reads the tokens themselves
    own = open_cache(tmp_path, "own", model, pixels, NORMALISATION, views("flip", 8))
    both = torch.tensor([0, 1]), torch.tensor([3, 5])
    assert equal(store.cache(model).anchors(*both), own.anchors(*both))


def test_networks_that_read_several_layers_are_served_where_their_taps_are_read_alone(tmp_path, pixels):
    torch.manual_seed(1)
    network = UNet().eval()
    store = store_in_memory(reader_of(network, UNET_TAPS), pixels, NORMALISATION, 1e9)
    assert not store.serves(wrapped(network, UNET_TAPS, num_classes=None))
    assert store.serves(wrapped(network, UNET_TAPS, readout="map"))
    assert store.head is None


@pytest.mark.parametrize("change", ["one step of training", "the last layer", "a batch norm's buffer"])
def test_a_backbone_that_was_changed_is_not_served(tmp_path, pixels, change):
    store, network = stored(tmp_path, "maps", pixels), network_of("maps")
    model = wrapped(network, ["layer1", "layer3"])
    assert store.serves(model)
    with torch.no_grad():
        if change == "one step of training":
            for parameter in network.parameters():
                parameter.add_(1e-5 * torch.randn_like(parameter))
        elif change == "the last layer":
            find_classifier(network, None)[1].weight.mul_(1.01)
        else:
            next(buffer for name, buffer in network.named_buffers() if "running_var" in name).mul_(1.01)
    assert not store.serves(model)


def test_one_pass_over_each_view_serves_all(tmp_path, pixels, monkeypatch):
    network = network_of("maps")
    reader = reader_of(network, ["layer1", "layer2", "layer3"])
    read, forward = [], SmallResNet.forward
    monkeypatch.setattr(SmallResNet, "forward", lambda self, x: read.append(len(x)) or forward(self, x))
    store = open_store(tmp_path, "store", reader, pixels, NORMALISATION, views("flip", 8))
    assert sum(read) == 2 * len(pixels) + 1  # one image to see the shapes
    for taps in (["layer1", "layer3"], ["layer2", "layer3"]):
        store.cache(wrapped(network, taps)).anchors(torch.zeros(2, dtype=torch.long), torch.arange(2))
    again = open_store(tmp_path, "store", reader, pixels, NORMALISATION, views("flip", 8))
    assert all(torch.equal(a, b) for a, b in zip(again.pooled, store.pooled, strict=True))
    assert again.seconds == store.seconds > 0


def test_its_features_are_those_of_linear_heads_and_probes(tmp_path, pixels):
    store, network = stored(tmp_path, "maps", pixels), network_of("maps")
    index, view = torch.arange(11), torch.zeros(11, dtype=torch.long)
    plain = pooled_features(network, store.paths, find_classifier(network, None)[0], pixels, NORMALISATION)
    assert torch.allclose(store.features([], "classifier", view, index), plain[PENULTIMATE], atol=1e-6)
    means = torch.cat([plain["layer2"], plain["layer3"]], 1)
    assert torch.allclose(store.features(["layer2", "layer3"], "mean", view, index), means, atol=1e-6)
    for readout in ("mean", "moments", "map"):
        model = wrapped(network, ["layer1", "layer3"], mode="concat_probe", readout=readout)
        anchors = model.read(normalise(pixels.flip(-1), NORMALISATION))
        expected = model.adapter.head_features(anchors)[0]
        found = store.features(["layer1", "layer3"], readout, torch.ones(11, dtype=torch.long), index)
        assert torch.allclose(found, expected if readout == "map" else expected[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="no 'layer9' in the store of layer1, layer2, layer3"):
        store.features(["layer9"], "mean", view, index)


def test_the_classifiers_input_gives_the_networks_output(tmp_path, pixels):
    for name in ("maps", "in place", "tokens", "vectors", "mixed"):
        network = network_of(name)
        store = stored(tmp_path / name, name, pixels, "none")
        path, linear = find_classifier(network, None)
        assert (store.classifier, store.answers) == (path, True)
        assert torch.allclose(linear(store.head[0]), network(normalise(pixels, NORMALISATION)), atol=1e-5)


def test_a_classifier_whose_output_is_changed_behind_it_does_not_answer():
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Softmax(1)).eval()
    pixels = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    store = store_in_memory(reader_of(network, []), pixels, NORMALISATION, 1e9)
    assert store.head.shape == (1, 3, 192)
    assert not store.answers
    assert (store.views, len(store), store.paths) == (1, 3, [])


def test_a_store_beyond_the_limit_reads_one_image_and_says_what_it_needs(tmp_path, pixels, monkeypatch):
    network = network_of("maps")
    reader, read, forward = reader_of(network, ["layer1", "layer3"]), [], SmallResNet.forward
    monkeypatch.setattr(SmallResNet, "forward", lambda self, x: read.append(len(x)) or forward(self, x))
    with pytest.raises(TooLarge, match="needs .* GB beside 0 GB of others"):
        open_store(tmp_path, "store", reader, pixels, NORMALISATION, views("flip", 8), limit_gb=1e-6)
    with pytest.raises(TooLarge, match="11 images take"):
        store_in_memory(reader, pixels, NORMALISATION, 100)
    assert read == [1, 1]


def test_in_memory_it_holds_the_same(tmp_path, pixels, monkeypatch):
    kept = stored(tmp_path, "maps", pixels, "none")
    monkeypatch.setattr(feature_build, "BLOCK", 4)
    _, paths, _ = NETS["maps"]
    memory = store_in_memory(reader_of(network_of("maps"), paths), pixels, NORMALISATION, 1e9)
    for one, other in ((kept.pooled, memory.pooled), (kept.deviation, memory.deviation), ([kept.head], [memory.head])):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


def test_a_layer_that_is_tapped_several_times_is_served_by_its_one_anchor(tmp_path, pixels):
    store = stored(tmp_path, "maps", pixels)
    model = wrapped(*repeat_tap(network_of("maps"), "layer3", 2))
    assert store.serves(model)
    own = open_cache(tmp_path, "own", model, pixels, NORMALISATION, views("flip", 8))
    both = torch.tensor([0, 1]), torch.tensor([3, 5])
    assert equal(store.cache(model).anchors(*both), own.anchors(*both))
    blocks = [block.path for block in wrapped(network_of("maps"), ["layer2.0", "layer3.0"]).adapter.taps]
    assert not store.serves(wrapped(network_of("maps"), blocks))  # a block of the layer is another activation


def test_the_key_depends_on_all_that_decides():
    keys = {
        store_key(["a", "b"], {}, of="x"),
        store_key(["a", "b"], {"grid": (4, 4)}, of="x"),
        store_key(["a", "b"], {"token_pool": True}, of="x"),
        store_key(["a", "c"], {}, of="x"),
        store_key(["a", "b"], {}, of="y"),
        store_key(["a", "b"], {}, of="x", views="flip"),
    }
    assert len(keys) == 6
    assert store_key(["a", "b"], {"rank": 3, "grid": None}, of="x") in keys  # what is read does not hang on the rank
