"""Looking inside: each number against what it must be where that is known."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import nn

from dynaxx import wrap_with_resonance
from dynaxx.data import LabelledImages, Normalisation, normalise
from dynaxx.evaluation import live
from dynaxx.evaluation.gallery import disagreements
from dynaxx.evaluation.inside.ablation import ablations
from dynaxx.evaluation.inside.attribution import attributions, integrated_gradients
from dynaxx.evaluation.inside.information import gaussian_information, information
from dynaxx.evaluation.inside.maps import attribution_maps, feature_maps
from dynaxx.evaluation.inside.pictures import TILE_GAP, TILE_SIDE, heat, photograph, png, tiled
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.statistics.paired import Bootstrap
from dynaxx.tasks import Classification

BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95, seed=0)
UNIT = Normalisation((0.5,), (0.25,))


def judge_of(pixels: torch.Tensor, labels: torch.Tensor) -> Judge:
    return Judge(Classification(), LabelledImages(pixels, labels, ("a", "b", "c")), UNIT, BOOTSTRAP)


def loop(seed: int = 0):
    torch.manual_seed(seed)
    backbone = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    )
    model = wrap_with_resonance(backbone.eval(), ["0", "1"], T=3, rank=3, example_input=torch.randn(2, 1, 8, 8))
    for U in model.resonator.exchange.couplings.U:
        nn.init.normal_(U, std=1.0)
    return model


def test_a_silenced_coupling_is_one_that_writes_nothing() -> None:
    def centred(seed: int):
        model = loop(seed)
        with torch.no_grad():  # so that answers differ from image to image, and a coupling changes some
            model.backbone[5].bias -= model(x).mean(0)
        return model

    pixels = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    x = normalise(pixels, UNIT)
    loops = [centred(0), centred(1)]
    whole = torch.stack([model(x).argmax(1) for model in loops])
    labels = whole[0]
    found = {a.name: a for a in ablations(loops, judge_of(pixels, labels))}
    assert set(found) == {"without 0 → 1", "without 1 → 0", "only into 1"}  # one into each: all of them is that one
    for pair in loops[0].resonator.exchange.couplings.pairs:
        cut = centred(0)
        with torch.no_grad():
            cut.resonator.exchange.couplings.of(pair)[1].zero_()
        expected = float((cut(x).argmax(1) == labels).double().mean())
        ablation = found[f"without {pair.source} → {pair.target}"]
        assert ablation.value_per_seed[0] == expected
        assert ablation.silenced == 1
    assert found["only into 1"].value_per_seed == found["without 1 → 0"].value_per_seed
    assert found["without 0 → 1"].value_per_seed[0] < 1.0
    with torch.no_grad():
        assert torch.equal(loops[0](x).argmax(1), whole[0])  # and nothing stays silent afterwards


@given(rho=st.floats(0.1, 0.95), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_information_of_gaussians_is_known_and_knows_no_units(rho: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((4000, 3))
    y = generator.standard_normal((4000, 3))
    y[:, 0] = rho * x[:, 0] + np.sqrt(1 - rho**2) * y[:, 0]
    found = gaussian_information(x, y)
    assert found == pytest.approx(-0.5 * np.log(1 - rho**2), abs=0.06)
    mixed = x @ generator.standard_normal((3, 3)) + 5.0, 10 * y
    assert gaussian_information(*mixed) == pytest.approx(found, abs=1e-6)


def test_information_of_what_is_independent_is_nothing_and_constants_tell_nothing() -> None:
    generator = np.random.default_rng(0)
    assert gaussian_information(generator.standard_normal((2000, 8)), generator.standard_normal((2000, 8))) < 0.03
    assert gaussian_information(np.ones((100, 4)), generator.standard_normal((100, 4))) == 0.0


def test_taps_that_speak_tell_more_about_each_other() -> None:
    model = loop()
    (found,) = information(model, live(torch.randn(300, 1, 8, 8)))
    assert (found.a, found.b) == ("0", "1")
    assert found.before > 0
    assert found.after != found.before
    assert information(model, live(torch.randn(20, 1, 8, 8))) == []  # too few to tell
    for U in model.resonator.exchange.couplings.U:
        nn.init.zeros_(U)
    (silent,) = information(model, live(torch.randn(300, 1, 8, 8)))
    assert silent.before == pytest.approx(silent.after)


def test_all_couplings_into_one_tap_are_silenced_together() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 6, 1)]
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    pixels = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    x = normalise(pixels, UNIT)
    model = wrap_with_resonance(backbone, ["0", "1", "2"], T=3, rank=3, example_input=x)
    for U in model.resonator.exchange.couplings.U:
        nn.init.normal_(U, std=1.0)
    found = {a.name: a for a in ablations([model], judge_of(pixels, model(x).argmax(1)))}
    assert {name for name in found if "any" in name} == {f"without any into {tap}" for tap in "012"}
    assert found["without any into 2"].silenced == 2
    bare = (backbone(x).argmax(1) == model(x).argmax(1)).float().mean().item()
    assert found["without any into 2"].value_per_seed == [pytest.approx(bare)]  # the output reads no other tap


class Linear(nn.Module):
    """Logits ±(w · x): what is known of its attributions is exact."""

    def __init__(self, w: torch.Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (x * self.w).flatten(1).sum(1)
        return torch.stack([score, -score], dim=1)


def test_attributions_of_a_linear_model_are_its_terms() -> None:
    torch.manual_seed(0)
    model, x = Linear(torch.randn(2, 4, 4)).eval(), torch.randn(20, 2, 4, 4)
    named, gap = integrated_gradients(model, x)
    sign = torch.where(model(x)[:, 0] > 0, 1.0, -1.0)[:, None, None]
    assert torch.allclose(named, sign * (x * model.w).sum(1), atol=1e-5)
    assert float(gap.max()) < 1e-3


def test_images_whose_logit_is_that_of_the_mean_image_have_no_gap_and_spoil_no_other() -> None:
    x = torch.randn(4, 1, 4, 4)
    x[0] = 0.0
    (found,), _ = attributions({"one": Linear(torch.randn(1, 4, 4)).eval()}, x, BOOTSTRAP)
    assert found.completeness_gap is not None
    assert found.completeness_gap < 1e-3
    (blind,), _ = attributions({"blind": Linear(torch.zeros(1, 4, 4)).eval()}, x, BOOTSTRAP)
    assert blind.completeness_gap is None


def test_a_model_that_looks_at_one_pixel_loses_its_answer_with_it() -> None:
    w = torch.zeros(1, 4, 4)
    w[0, 1, 2] = 8.0
    x = torch.randn(30, 1, 4, 4).sign() * (1 + torch.rand(30, 1, 4, 4))
    (found,), maps = attributions({"one": Linear(w).eval()}, x, BOOTSTRAP)
    assert (maps["one"].flatten(1).argmax(1) == 1 * 4 + 2).all()
    assert found.deletion == pytest.approx(0.525, abs=0.03)  # gone with the first tenth, and then a coin's
    assert found.insertion == pytest.approx(0.975, abs=0.03)
    assert found.deletion < found.random_deletion < found.insertion
    assert found.gain.low > 0.3


def test_the_gallery_shows_the_clearest_first_and_classes_in_turn() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    explicit = np.array([[0, 0, 0, 1, 0, 2], [0, 0, 0, 1, 0, 2]])
    baseline = np.array([[1, 2, 0, 2, 1, 2], [1, 2, 1, 2, 1, 2]])
    found = disagreements(explicit, baseline, labels, ("a", "b", "c"), 3)
    assert [(d.image, d.gained, d.truth, d.reading, d.probe) for d in found] == [
        *((0, True, "a", "a", "b"), (3, True, "b", "b", "c"), (1, True, "a", "a", "c")),
        (4, False, "b", "a", "b"),
    ]
    assert all(d.share == 1.0 for d in found)
    assert disagreements(explicit, explicit, labels, ("a", "b", "c"), 3) == []


def test_pictures_are_as_they_say() -> None:
    white_red_blue = heat(torch.tensor([[0.0, 2.0, -9.0]]), 2.0)
    assert white_red_blue.shape == (-(-TILE_SIDE // 3), 3 * -(-TILE_SIDE // 3), 3)
    columns = white_red_blue[0, :: white_red_blue.shape[0]]
    assert columns.tolist() == [[255, 255, 255], [165, 15, 21], [8, 69, 148]]
    grey = photograph(torch.full((1, 8, 8), 7, dtype=torch.uint8))
    assert grey.unique().tolist() == [7]
    assert photograph(torch.tensor([10, 20, 30, 40, 50], dtype=torch.uint8).view(5, 1, 1)).unique().tolist() == [30]
    picture = tiled([[grey, white_red_blue], [white_red_blue, grey]])
    assert picture.shape == (2 * 64 + TILE_GAP, 2 * 66 + TILE_GAP, 3)
    assert picture[64:68].unique().tolist() == [255]
    read = np.asarray(Image.open(io.BytesIO(png(picture))))
    assert (read == picture.numpy()).all()


def test_maps_have_a_row_an_image_and_columns_for_every_tap() -> None:
    model, originals = loop(), torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    picture = feature_maps(model, live(originals.float() / 255), originals)
    assert picture is not None
    assert picture.shape[1] == 64 + 6 * (64 + TILE_GAP)  # the image, and two taps of three tiles each
    assert attribution_maps({"a": torch.randn(2, 8, 8)}, originals).shape == (2 * 64 + TILE_GAP, 2 * 64 + TILE_GAP, 3)
