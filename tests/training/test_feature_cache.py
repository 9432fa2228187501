"""Training from the cache is training on the images: same order, same views, same numbers."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from dynaxx import wrap_with_resonance
from dynaxx.data import ImageData, LabelledImages, Normalisation, views
from dynaxx.training.cache import build as feature_build, features as feature_cache
from dynaxx.training.cache.batches import CachedData
from dynaxx.training.cache.features import cache_key, open_cache
from dynaxx.training.small_resnet import SmallResNet

NORMALISATION = Normalisation((0.4,), (0.2,))


@pytest.fixture
def images() -> LabelledImages:
    pixels = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(30) % 3, ("a", "b", "c"))


def model_of(taps=("layer1", "layer2", "layer3"), **options):
    torch.manual_seed(3)
    model = wrap_with_resonance(
        SmallResNet(3, 1, (4, 6, 8), 1).eval(),
        list(taps),
        rank=3,
        T=2,
        num_classes=3,
        example_input=torch.zeros(1, 1, 8, 8),
        **options,
    )
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("augmentation", ["none", "flip", "shift_flip"])
@pytest.mark.parametrize("grid", [None, (1, 1), (4, 4)])
def test_cached_batches_answer_as_live_ones_do(tmp_path, images, augmentation, grid):
    model = model_of(grid=grid)
    train, val = torch.arange(20), torch.arange(20, 30)
    cache = open_cache(tmp_path, "k", model, images.images, NORMALISATION, views(augmentation, 8))
    cached = CachedData(
        model, lambda device: cache, images, train, val, augmentation=augmentation, batch_size=7, seed=5
    )
    live = ImageData(
        images.subset(train),
        images.subset(val),
        normalisation=NORMALISATION,
        batch_size=7,
        augmentation=augmentation,
        seed=5,
    )
    tail = model.tail(torch.zeros(1, 1, 8, 8))
    seen = 0
    for from_cache, from_images in ((cached.train_dataloader(), live.train_dataloader()),) * 2:  # two epochs
        for (anchors, y), (x, y_live) in zip(from_cache, from_images, strict=True):
            assert torch.equal(y, y_live)
            assert torch.allclose(model.run_tail(model.refine(anchors)[0], tail), model(x), atol=1e-5)
            seen += len(y)
    assert seen == 40
    (anchors, y), *_ = cached.val_dataloader()
    (x, _), *_ = list(live.val_dataloader())
    assert torch.equal(y, images.labels[val])
    assert torch.allclose(model.run_tail(model.refine(anchors)[0], tail)[: len(x)], model(x), atol=1e-5)


@pytest.mark.parametrize("augmentation", ["none", "flip", "shift_flip", "dihedral"])
def test_masks_and_sources_of_cached_batches_are_shown_as_their_images_are(tmp_path, augmentation):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 1, 8, 8), generator=generator, dtype=torch.uint8)
    data = LabelledImages(images, (images[:, 0] > 128).byte(), ("back", "front"), sources={"click": images.float()})
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)).eval()
    model = wrap_with_resonance(network, ["0", "1"], rank=2, num_classes=1, readout="map", sources={"click": 1},
                                example_input=torch.zeros(1, 1, 8, 8))  # fmt: skip
    train, val = torch.arange(8), torch.arange(8, 12)
    plain = Normalisation((0.0,), (1 / 255,))
    cache = open_cache(tmp_path, "k", model, images, plain, views(augmentation, 8))
    cached = CachedData(model, lambda device: cache, data, train, val, augmentation=augmentation, batch_size=3, seed=1)
    live = ImageData(
        data.subset(train), data.subset(val), normalisation=plain, batch_size=3, augmentation=augmentation, seed=1
    )
    for (anchors, y), (x, y_live, sources) in zip(cached.train_dataloader(), live.train_dataloader(), strict=True):
        assert torch.equal(y, y_live)
        assert torch.equal(y, (x[:, 0] > 128).long())  # the mask lies where the image has it
        assert torch.equal(anchors.sources["click"][0], sources["click"].flatten(2).mT)
        assert torch.allclose(sources["click"], x, atol=1e-3)


def test_what_is_read_is_what_the_last_tap_gave_though_an_in_place_operation_follows():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True)).eval()
    x = torch.randn(3, 1, 8, 8)
    model = wrap_with_resonance(backbone, ["0", "1"], rank=2, example_input=x)
    expected = backbone[1](backbone[0](x))
    assert torch.equal(model.read(x).outputs[0], expected)
    assert torch.equal(model(x), backbone(x))


def test_it_is_built_once_and_never_half(tmp_path, images, monkeypatch):
    model = model_of()
    first = open_cache(tmp_path, "k", model, images.images, NORMALISATION, views("none", 8))
    monkeypatch.setattr(model, "read", lambda *_: pytest.fail("read the backbone again"))
    again = open_cache(tmp_path, "k", model, images.images, NORMALISATION, views("none", 8))
    assert all(torch.equal(a, b) for a, b in zip(first.pooled, again.pooled, strict=True))
    assert again.seconds == first.seconds > 0


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, images, monkeypatch):
    monkeypatch.setattr(feature_build.shutil, "disk_usage", lambda _: feature_build.shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(OSError, match="feature cache needs"):
        open_cache(tmp_path, "k", model_of(), images.images, NORMALISATION, views("none", 8))
    monkeypatch.undo()

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_build.os, "posix_fallocate", fails)
    with pytest.raises(OSError, match="No space"):
        open_cache(tmp_path, "k", model_of(), images.images, NORMALISATION, views("none", 8))
    assert [path.name for path in tmp_path.iterdir()] in ([], [".k.lock"])  # an empty file that says who builds


def test_the_key_depends_on_every_part():
    plain, pooled = model_of(), model_of()
    pooled.adapter.config = dataclasses.replace(pooled.config, token_pool=True)
    causal = model_of()
    causal.resonator.causal = True
    early = model_of()
    early.resonator.exchange.outputs = [0, 2]
    models = [plain, pooled, causal, early, model_of(grid=(2, 2)), model_of(taps=("layer1", "layer3"))]
    keys = {cache_key(model, of="a", views="flip") for model in models}
    keys |= {cache_key(plain, of="b", views="flip"), cache_key(plain, of="a", views="none")}
    assert len(keys) == 8
    assert cache_key(model_of(), of="a", views="flip") in keys


def reads_of(model) -> list[int]:
    """How many images the model's backbone reads from now on, call by call."""
    counts: list[int] = []
    read = model.read
    model.read = lambda x: counts.append(len(x)) or read(x)
    return counts


def test_all_that_need_a_cache_build_it_together_each_its_share(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_build, "BLOCK", 4)
    pixels = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8)
    models = [model_of() for _ in range(3)]
    counts, started, met = [reads_of(model) for model in models], threading.Barrier(3), threading.Barrier(3)
    digest, first = feature_build.digest, threading.local()

    def waits_once(*args):
        if not hasattr(first, "met"):  # nobody finishes its first block before everybody has claimed one
            first.met = met.wait()
        return digest(*args)

    monkeypatch.setattr(feature_build, "digest", waits_once)

    def ask(model):
        started.wait()
        return open_cache(tmp_path, "k", model, pixels, NORMALISATION, views("flip", 8))

    with ThreadPoolExecutor(3) as pool:
        caches = list(pool.map(ask, models))
    monkeypatch.setattr(feature_build, "digest", digest)
    read = [sum(count) for count in counts]
    assert sum(read) == 2 * 30 + 1  # in two views, and one image to see the shapes
    assert all(own >= 2 * 2 for own in read)  # everybody had a block, the last of which has two images
    alone = open_cache(tmp_path, "alone", model_of(), pixels, NORMALISATION, views("flip", 8))
    for cache in caches:
        assert all(torch.equal(a, b) for a, b in zip(cache.pooled, alone.pooled, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == ["alone", "k"]


def test_what_a_killed_builder_had_finished_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_build, "BLOCK", 10)
    pixels = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8)
    model, calls = model_of(), []
    read = model.read

    def dies(x):
        calls.append(len(x))
        if len(calls) == 4:  # the first image, two blocks, and in the middle of the third
            raise KeyboardInterrupt
        return read(x)

    model.read = dies
    with pytest.raises(KeyboardInterrupt):
        open_cache(tmp_path, "k", model, pixels, NORMALISATION, views("none", 8))
    assert not (tmp_path / "k").exists()
    again = model_of()
    counts = reads_of(again)
    cache = open_cache(tmp_path, "k", again, pixels, NORMALISATION, views("none", 8))
    assert counts == [10]
    alone = open_cache(tmp_path, "alone", model_of(), pixels, NORMALISATION, views("none", 8))
    assert all(torch.equal(a, b) for a, b in zip(cache.pooled, alone.pooled, strict=True))


@pytest.mark.parametrize("damage", ["flip a bit", "cut", "no facts", "no array"])
def test_a_damaged_cache_is_noticed_and_built_anew(tmp_path, images, monkeypatch, capsys, damage):
    whole = open_cache(tmp_path, "k", model_of(), images.images, NORMALISATION, views("flip", 8))
    kept = [tap.clone() for tap in whole.pooled]
    file = tmp_path / "k" / "pooled_1.npy"
    if damage == "flip a bit":
        content = bytearray(file.read_bytes())
        content[-30] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "no facts":
        (tmp_path / "k" / "facts.json").write_text("{}")
    else:
        file.unlink()
    monkeypatch.setattr(feature_cache, "_verified", set())  # as in another process
    again = open_cache(tmp_path, "k", model_of(), images.images, NORMALISATION, views("flip", 8))
    assert all(torch.equal(a, b) for a, b in zip(again.pooled, kept, strict=True))
    assert capsys.readouterr().err.count("is damaged and will be built again") == 1


def test_the_caches_of_a_folder_have_a_limit_together(tmp_path, images):
    def ask(key, limit):
        return open_cache(tmp_path, key, model_of(), images.images, NORMALISATION, views("flip", 8), limit)

    ask("a", 1.0)
    size = sum(file.stat().st_size for file in (tmp_path / "a").glob("*.npy")) / 1e9
    with pytest.raises(OSError, match=r"feature cache needs .* GB beside .* train.cache_limit_gb=.* allows less"):
        ask("b", 1.5 * size)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a"]
    ask("b", 2.5 * size)
    ask("a", 0.0)  # what stands is used
