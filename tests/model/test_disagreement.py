"""The disagreement of layers: the formula by hand, no leak into a tap's own prediction, files, devices, bad input."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.covariance import OAS
from sklearn.linear_model import Ridge as SklearnRidge
from support.checks import refused
from support.nets import MIXED, MIXED_TAPS, PLAIN_TAPS, Mixed, Plain, images, wrapped
from torch import Tensor, nn

from dynaxx import Anchors, ResonanceConfig, ResonanceError, load_resonance, wrap_with_resonance
from dynaxx.grid import Tap
from dynaxx.model.disagreement import DisagreementOptions, loop_options, mean_of_top
from dynaxx.model.fit_disagreement import quantile
from dynaxx.model.gaussian import Gaussian, Sums
from dynaxx.model.grouping import stacks_of
from dynaxx.model.predictors import Resonance, Ridge

RESONANCE = {"predictor": "resonance", "rank": 4, "epochs": 2}
WAYS = [{}, {"covariance": "shared", "top": 0.25}, RESONANCE, {"predictor": "none", "together": True}]


def related(count: int, seed: int = 0, strange: float = 0.0) -> Tensor:
    """Smooth images whose channels are shifted copies of each other; `strange` adds a spot to one channel alone."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(count, 1, 8, 8, generator=generator)
    x = nn.functional.interpolate(base, scale_factor=2, mode="bilinear") * torch.tensor([1.0, 0.5, -1.0])[:, None, None]
    x = x + 0.05 * torch.randn(x.shape, generator=generator)
    x[:, 1, 4:8, 8:12] += strange
    return x


def batches(count: int = 96, seed: int = 0) -> list[Tensor]:
    return list(related(count, seed).split(32))


def fitted(num_classes: int | None = None, **options):
    torch.manual_seed(0)
    model = wrapped(Plain().eval(), num_classes=num_classes)
    model.fit_disagreement(batches(), batches(48, seed=1), **({"false_alarms": 0.1} | options))
    return model


# ---- the formula ----------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(
    seed=st.integers(0, 999), together=st.booleans(), by_position=st.booleans(), shrinkage=st.sampled_from([None, 0.2])
)
def test_it_is_the_formula_written_out_with_scikit_learn(seed, together, by_position, shrinkage):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(9, 9, generator=generator)
    widths, grid = [4, 3, 2], (2, 2)

    def drawn(count: int) -> list[Tensor]:
        return [part + 2 for part in (torch.randn(count, 4, 9, generator=generator) @ mix).split(widths, dim=2)]

    train, held_out, new = drawn(40), drawn(30), drawn(5)
    taps = ["one", "two", "three"]
    model = wrap_with_resonance(Three(widths).eval(), taps, T=1, rank=1, example_input=torch.zeros(1, 9, 2, 2))
    covariance = "position" if by_position else "shared"
    options = {"together": together, "covariance": covariance, "shrinkage": shrinkage, "penalty": 0.1, "top": 0.5}
    model.fit_disagreement([Anchors(train, [], grid)], [Anchors(held_out, [], grid)], false_alarms=0.2, **options)
    found = model.disagreement(Anchors(new, [], grid))

    def standardised(parts: list[Tensor]) -> list[np.ndarray]:
        flat = [part.double().flatten(0, 1) for part in train]
        return [
            ((part.double() - t.mean(0)) / t.std(0, correction=0)).numpy() for part, t in zip(parts, flat, strict=True)
        ]

    def left(parts: list[Tensor]) -> list[np.ndarray]:
        rests, y, trained = [], standardised(parts), standardised(train)
        for l in range(3):
            others = np.concatenate([trained[k] for k in range(3) if k != l], axis=2).reshape(160, -1)
            ridge = SklearnRidge(alpha=0.1 * 160, fit_intercept=False).fit(others, trained[l].reshape(160, -1))
            now = np.concatenate([y[k] for k in range(3) if k != l], axis=2)
            rests.append(y[l] - ridge.predict(now.reshape(-1, now.shape[2])).reshape(y[l].shape))
        return [np.concatenate(rests, axis=2)] if together else rests

    def lengths(parts: list[Tensor]) -> list[np.ndarray]:
        result = []
        for rest, trained in zip(left(parts), left(train), strict=True):
            squared = np.zeros(rest.shape[:2])
            for p in range(4):
                sample = trained[:, p] if by_position else trained.reshape(160, -1)
                mean, S = sample.mean(0), np.cov(sample.T, bias=True)
                rho = OAS().fit(sample).shrinkage_ if shrinkage is None else shrinkage
                sigma = (1 - rho) * S + rho * np.trace(S) / len(S) * np.eye(len(S))
                for n in range(len(rest)):
                    e = rest[n, p] - mean
                    squared[n, p] = e @ np.linalg.solve(sigma, e)
            result.append(np.sqrt(squared))
        return result

    normal = lengths(held_out)

    def scores(parts: list[Tensor]) -> np.ndarray:
        evidence = sum((x - m.mean()) / m.std() for x, m in zip(lengths(parts), normal, strict=True))
        return np.sort(evidence, axis=1)[:, 2:].mean(1)

    assert np.allclose(found.score, scores(new), rtol=1e-3, atol=1e-3)
    assert found.threshold == pytest.approx(np.sort(scores(held_out))[24], rel=1e-3, abs=1e-3)  # ⌈31 · 0.8⌉ = 25
    assert found.is_unusual.tolist() == (found.score > found.threshold).tolist()


class Three(nn.Module):
    """Three layers of given widths, each on the input."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(9, width, 1) for width in widths)
        self.answer = nn.Linear(sum(widths), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(torch.cat([self.one(x), self.two(x), self.three(x)], 1).mean((2, 3)))


@given(samples=st.integers(2, 30), channels=st.integers(1, 5), parts=st.integers(1, 4), seed=st.integers(0, 999))
def test_sums_over_batches_are_those_of_the_whole(samples, channels, parts, seed):
    x = torch.randn(samples, 3, channels, generator=torch.Generator().manual_seed(seed)) + 5
    for by_position in (False, True):
        sums = Sums(by_position)
        for part in x.chunk(parts):
            sums.add(part)
        mean, covariance = sums.moments()
        flat = x.double().transpose(0, 1) if by_position else x.double().flatten(0, 1)[None]
        assert torch.allclose(mean, flat.mean(1))
        expected = torch.stack([torch.from_numpy(np.atleast_2d(np.cov(q.T.numpy(), bias=True))) for q in flat])
        assert torch.allclose(covariance, expected, atol=1e-9)


def test_what_does_not_count_is_not_in_the_sums():
    x, counts = torch.randn(4, 3, 2), torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 1]]).bool()
    sums, alone = Sums(by_position=False), Sums(by_position=False)
    sums.add(torch.where(counts[..., None], x, torch.nan), counts)
    alone.add(x[counts][:, None])
    assert all(torch.equal(a, b) for a, b in zip(sums.moments(), alone.moments(), strict=True))


def test_a_channel_without_variance_has_a_length():
    x = torch.randn(50, 4, 3)
    x[..., 1] = 2.0
    sums, gaussian = Sums(by_position=True), Gaussian(3, 4)
    sums.add(x)
    gaussian.fit(sums)
    assert gaussian(x).isfinite().all()


@given(share=st.floats(0, 1), seed=st.integers(0, 999))
def test_the_mean_of_the_strangest_places(share, seed):
    generator = torch.Generator().manual_seed(seed)
    x, counts = torch.randn(3, 7, generator=generator), torch.rand(3, 7, generator=generator) > 0.4
    counts[:, 0] = True
    for n, found in enumerate(mean_of_top(x, share, counts).tolist()):
        values = sorted(x[n][counts[n]].tolist(), reverse=True)
        kept = values[: max(1, round(share * len(values)))]
        assert found == pytest.approx(sum(kept) / len(kept), abs=1e-5)


def test_the_threshold_holds_its_share_of_false_alarms():
    generator = torch.Generator().manual_seed(0)
    alarms = []
    for _ in range(2000):
        scores = torch.rand(20, generator=generator)
        alarms.append(float(scores[0] > quantile(scores[1:], 0.1)))
    assert 0.07 < sum(alarms) / len(alarms) <= 0.115  # 2 of 20 at the most, by the order of twenty equal draws


# ---- no leak --------------------------------------------------------------------------------------------------------


def loop(channels: list[int], **options) -> Resonance:
    taps = [Tap(f"tap{n}", width, "BCHW", output=n == len(channels) - 1) for n, width in enumerate(channels)]
    made = Resonance(taps, loop_options(ResonanceConfig(), DisagreementOptions(rank=4, **options))).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


@settings(max_examples=15)
@given(T=st.integers(1, 6), seed=st.integers(0, 999), tap=st.integers(0, 2))
def test_a_taps_own_anchor_changes_no_prediction_of_it_and_every_other_does(T, seed, tap):
    torch.manual_seed(seed)
    predictor = loop([5, 4, 3], T=T)
    y = [torch.randn(2, 9, width, dtype=torch.float64) for width in (5, 4, 3)]
    changed = [part + torch.randn_like(part) if number == tap else part for number, part in enumerate(y)]
    before, after = (predictor(Anchors(parts, [], (3, 3))) for parts in (y, changed))
    assert torch.equal(before[tap], after[tap])
    assert all(not torch.allclose(before[l], after[l]) for l in range(3) if l != tap)
    ridge = Ridge([5, 4, 3]).double()
    for buffer in ridge.buffers():
        nn.init.normal_(buffer)
    before, after = (ridge(Anchors(parts, [], (3, 3))) for parts in (y, changed))
    assert torch.equal(before[tap], after[tap])
    assert all(not torch.allclose(before[l], after[l]) for l in range(3) if l != tap)


@pytest.mark.parametrize("T", [1, 3])
def test_a_prediction_is_what_the_resonator_writes_to_a_tap_whose_anchor_is_zero(T):
    torch.manual_seed(0)
    predictor, y = loop([5, 4, 3], T=T), [torch.randn(2, 9, width, dtype=torch.float64) for width in (5, 4, 3)]
    for tap, found in enumerate(predictor(Anchors(y, [], (3, 3)))):
        masked = [torch.zeros_like(part) if number == tap else part for number, part in enumerate(y)]
        (expected,) = predictor.resonator(Anchors(masked, [], (3, 3)), predictor.config, taps=[tap]).delta
        assert torch.allclose(found, expected, atol=1e-12)


def test_no_gradient_runs_from_a_prediction_to_its_own_anchor():
    predictor = loop([5, 4, 3], T=4)
    y = [torch.randn(2, 9, width, dtype=torch.float64, requires_grad=True) for width in (5, 4, 3)]
    for tap, prediction in enumerate(predictor(Anchors(y, [], (3, 3)))):
        grads = torch.autograd.grad(prediction.square().sum(), y, allow_unused=True, retain_graph=True)
        assert [grad is None or not grad.any() for grad in grads] == [number == tap for number in range(3)]


def test_iterations_carry_what_a_tap_was_told_to_the_others():
    """The loop is one: with two iterations a message depends on messages, with one it does not."""
    torch.manual_seed(0)
    predictor, y = loop([5, 4, 3], T=3), [torch.randn(2, 9, width, dtype=torch.float64) for width in (5, 4, 3)]
    once = copy.deepcopy(predictor)
    once.config = loop_options(ResonanceConfig(), DisagreementOptions(rank=4, T=1))
    assert not torch.allclose(predictor(Anchors(y, [], (3, 3)))[0], once(Anchors(y, [], (3, 3)))[0])


# ---- what it is for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [*WAYS, {"predictor": "resonance", "rank": 4, "epochs": 20, "T": 3}])
def test_it_finds_what_is_strange_and_where(options):
    model = fitted(**options)
    normal, strange = model.disagreement(related(64, seed=2)), model.disagreement(related(64, seed=2, strange=5.0))
    assert normal.is_unusual.float().mean() < 0.35
    assert strange.is_unusual.float().mean() > 0.8
    assert normal.places.shape == (64, 1, 16, 16)
    inside = strange.places[:, 0, 4:8, 8:12].mean()
    assert inside > strange.places[:, 0, 10:, :6].mean() + 1


def test_training_lets_the_loop_predict_better_than_nothing():
    torch.manual_seed(0)
    model = wrapped(Plain().eval())
    errors = []
    for epochs in (1, 30):
        torch.manual_seed(0)
        model.fit_disagreement(batches(), batches(48, seed=1), predictor="resonance", rank=4, epochs=epochs)
        detector = model.adapter.detector
        y = detector.standardised(model.read(related(64, seed=3)))
        errors.append(float(torch.cat([e.flatten() for e in detector.left_over(y)]).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_scored_taps_are_named_and_the_others_still_predict():
    model = fitted(taps=("late",))
    every = fitted()
    found, all_of_it = (m.disagreement(related(4, seed=5)) for m in (model, every))
    assert list(found.by_tap) == ["late"]
    assert torch.allclose(found.by_tap["late"], all_of_it.by_tap["late"])
    assert list(all_of_it.by_tap) == PLAIN_TAPS


# ---- taps of other kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", WAYS)
def test_mixtures_of_maps_tokens_and_vectors(options):
    torch.manual_seed(0)
    model = wrap_with_resonance(Mixed().eval(), MIXED_TAPS, T=2, rank=4, example_input=images(), **MIXED)
    model.fit_disagreement(batches(64), batches(32, seed=1), false_alarms=0.2, **options)
    found = model.disagreement(related(5, seed=2))
    assert found.score.isfinite().all()
    assert found.places.shape == (5, 1, 16, 16)


@pytest.mark.parametrize("options", WAYS)
def test_vectors_have_one_value_a_sample(options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 4), nn.Linear(4, 2)).eval()
    model = wrap_with_resonance(net, ["0", "2", "4"], T=2, rank=3, example_input=torch.zeros(2, 6))
    x = torch.randn(200, 2) @ torch.randn(2, 6)
    model.fit_disagreement([x[:120]], [x[120:]], **options)
    found = model.disagreement(x[:7])
    assert found.places.shape == (7, 1)
    assert torch.equal(found.places[:, 0], found.score)


def test_padding_does_not_count():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_attention_heads=2, intermediate_size=32, num_hidden_layers=3, num_labels=3
    )
    net = transformers.BertForSequenceClassification(config).eval()
    ids, mask = torch.randint(3, 40, (64, 8)), torch.ones(64, 8, dtype=torch.long)
    mask[::2, 5:] = 0
    model = wrap_with_resonance(
        net, [1, 2], T=2, rank=3, example_input={"input_ids": ids[:3], "attention_mask": mask[:3]}
    )

    def fit(ids: Tensor) -> None:
        given = [
            {"input_ids": part, "attention_mask": m} for part, m in zip(ids.split(32), mask.split(32), strict=True)
        ]
        model.fit_disagreement(given[:1], given[1:], covariance="shared", false_alarms=0.2)

    fit(ids)
    whole = model.disagreement({"input_ids": ids, "attention_mask": mask})
    other = torch.where(mask.bool(), ids, 3)  # another word under the mask
    fit(other)
    assert torch.allclose(
        whole.score, model.disagreement({"input_ids": other, "attention_mask": mask}).score, atol=1e-4
    )
    assert whole.places.shape == (64, 8)
    assert not whole.places[mask == 0].any()


# ---- one sample does not change another -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", WAYS)
def test_a_sample_that_is_not_finite_is_unusual_and_poisons_no_other(options):
    model, x = fitted(**options), related(4, seed=2)
    whole = model.disagreement(x)
    broken = x.clone()
    broken[1, 0, 3, 3] = torch.nan
    found = model.disagreement(broken)
    assert found.score[1] == torch.inf
    assert found.is_unusual[1]
    assert found.places[1].isinf().all()
    others = [0, 2, 3]
    assert torch.allclose(found.score[others], whole.score[others], atol=1e-5)
    assert torch.allclose(found.places[others], whole.places[others], atol=1e-4)


def test_samples_that_are_not_finite_are_left_out_of_the_fit():
    model = fitted()
    broken = batches()
    broken[0] = torch.cat([broken[0], torch.full((2, 3, 16, 16), torch.nan)])
    other = wrapped(model.backbone)
    with pytest.warns(UserWarning, match="2 of 98 samples are not finite"):
        other.fit_disagreement(broken, batches(48, seed=1), false_alarms=0.1)
    x = related(4, seed=2)
    assert torch.allclose(model.disagreement(x).score, other.disagreement(x).score, atol=1e-4)


@pytest.mark.parametrize("options", WAYS)
def test_a_sample_scores_alike_alone_and_in_a_batch_in_training_mode_and_as_anchors(options):
    model, x = fitted(**options), related(6, seed=2)
    whole = model.disagreement(x)
    alone = torch.cat([model.disagreement(x[n : n + 1]).score for n in range(6)])
    assert torch.allclose(whole.score, alone, atol=1e-4)
    assert torch.equal(model.train().disagreement(x).score, whole.score)
    assert torch.equal(model.eval().disagreement(model.read(x)).score, whole.score)
    assert torch.equal(model.disagreement(x).places, whole.places)


def test_it_leaves_the_output_and_what_trains_as_they_are():
    torch.manual_seed(0)
    model, x = wrapped(Plain().eval()), related(4)
    before, trained = model(x), [name for name, p in model.named_parameters() if p.requires_grad]
    model.fit_disagreement(batches(), batches(48, seed=1), **RESONANCE)
    assert torch.equal(model(x), before)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == trained
    with torch.inference_mode():
        model.fit_disagreement(batches(), batches(48, seed=1), **RESONANCE)
        model.disagreement(x)


def test_adapters_that_have_it_still_run_side_by_side():
    model = fitted(num_classes=3)
    model.add_adapter("second", PLAIN_TAPS, T=3, rank=4, num_classes=3, example_input=images())
    model.set_adapter("second")
    model.fit_disagreement(batches(), batches(48, seed=1))
    adapters = {name: model.adapters.named(name) for name in ("default", "second")}
    (made,) = stacks_of(adapters, {name: adapter.config for name, adapter in adapters.items()})
    assert made.names == ["default", "second"]
    outputs = model.run_adapters(related(4))
    assert torch.allclose(outputs["second"], model(related(4)), atol=1e-5)


# ---- files, copies, devices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", WAYS)
def test_it_is_saved_and_loaded_to_the_bit(tmp_path, options):
    model, x = fitted(**options), related(4, seed=2)
    model.save_pretrained(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    found, again = model.disagreement(x), load_resonance(model.backbone, tmp_path).disagreement(x)
    assert torch.equal(found.score, again.score)
    assert torch.equal(found.places, again.places)
    assert found.threshold == again.threshold
    model.load_adapter(tmp_path, "second")
    model.set_adapter("second")
    assert torch.equal(model.disagreement(x).score, found.score)


def test_a_file_of_other_options_is_refused(tmp_path):
    model = fitted()
    model.save_pretrained(tmp_path)
    text = (tmp_path / "resonance.json").read_text()
    (tmp_path / "resonance.json").write_text(text.replace('"predictor": "ridge"', '"predictor": "none"'))
    refused(lambda: load_resonance(model.backbone, tmp_path), "disagreement.predictor.weight_0")


def test_copies_have_it_and_precision_does_not_change_it():
    model, x = fitted(), related(4, seed=2)
    found = model.disagreement(x)
    for other in (copy.deepcopy(model), copy.copy(model)):
        assert torch.equal(other.disagreement(x).score, found.score)
    anchors = model.read(x)
    half = copy.deepcopy(model).half()
    assert torch.equal(half.disagreement(anchors).score, found.score)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.disagreement(anchors).score, found.score)
    loose = copy.deepcopy(model)
    loose.fit_disagreement(batches(seed=7), batches(48, seed=8), false_alarms=0.2)
    assert torch.equal(model.disagreement(x).score, found.score)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("options", WAYS)
def test_it_moves_to_another_device(options):
    model, x = fitted(**options), related(4, seed=2)
    found = model.disagreement(x)
    assert torch.allclose(model.cuda().disagreement(x.cuda()).score.cpu(), found.score, rtol=1e-3, atol=1e-3)
    model.fit_disagreement(batches(), batches(48, seed=1), **options)
    assert model.disagreement(x.cuda()).score.is_cuda


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"predictor": "rigde"}, "predictor='rigde': give one of ridge, resonance, none"),
        ({"covariance": "full"}, "covariance='full': give one of position, shared"),
        ({"shrinkage": 1.5}, "shrinkage=1.5: give a number in [0, 1], or None"),
        ({"top": -0.1}, "top=-0.1: give a number in [0, 1]"),
        ({"penalty": "small"}, "penalty='small': give a number of at least 0"),
        ({"T": 0}, "T=0: give a whole number of at least 1"),
        ({"epochs": True}, "epochs=True: give a whole number of at least 1"),
        ({"lr": 0.0}, "lr=0.0: give a number above 0"),
        ({"false_alarms": 1.0}, "false_alarms=1.0: give a number in (0, 1)"),
        ({"false_alarms": 0.001}, "false_alarms=0.001: 48 held-out samples cannot bound it; give at least 999"),
        ({"taps": ("layer9",)}, "taps='layer9': give some of the model's taps, early, middle, late"),
        ({"taps": ()}, "taps=(): name at least one"),
        ({"ridge": 1}, "unknown option ridge=1: known are predictor"),
    ],
)
def test_options_that_do_not_exist_or_fit(options, says):
    refused(lambda: fitted(**options), says)


def test_batches_that_cannot_be_used():
    model = wrapped(Plain().eval())
    refused(lambda: model.disagreement(images()), "disagreement(): call fit_disagreement() with batches of normal")
    refused(lambda: model.fit_disagreement(iter(batches()), batches()), "batches: it can be gone through once only")
    refused(lambda: model.fit_disagreement(images(), batches()), "batches: one Tensor is given")
    refused(lambda: model.fit_disagreement([], batches()), "batches: there is none")
    refused(lambda: model.fit_disagreement(batches(), []), "held_out: no finite sample in it")
    refused(lambda: model.fit_disagreement(batches(), ["a"]), "held_out: str holds no tensor")
    assert model.adapter.detector is None


def test_another_size_needs_a_shared_covariance():
    bigger = torch.cat([related(4), related(4)], dim=3)
    refused(lambda: fitted().disagreement(bigger), "32 positions, while covariance='position' was fitted to 16")
    assert fitted(covariance="shared").disagreement(bigger).places.shape == (4, 1, 16, 32)


def test_one_tap_alone_is_predicted_by_nothing():
    model = wrap_with_resonance(
        Plain().eval(), ["late"], mode="layer_probe", rank=4, num_classes=2, example_input=images()
    )
    given = (batches(), batches(48, seed=1))
    refused(lambda: model.fit_disagreement(*given), "predictor='ridge': 'late' is the only tap")
    model.fit_disagreement(*given, predictor="none")
    assert model.disagreement(related(3)).score.isfinite().all()


def test_couplings_that_diverged_in_training_are_refused():
    model = wrapped(Plain().eval())
    with pytest.raises(ResonanceError, match="lr=1e\\+20: the couplings are not finite"):
        model.fit_disagreement(batches(), batches(48, seed=1), predictor="resonance", rank=4, epochs=3, lr=1e20)
