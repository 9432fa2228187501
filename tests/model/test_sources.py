"""Sources: they are read and never written, may be absent, and keep every promise that a tap keeps."""

import copy
import io

import pytest
import torch
from support.nets import MIXED, MIXED_TAPS, PLAIN_TAPS, UNET_TAPS, Mixed, Plain, UNet, distilled, images, trained_like
from torch import Tensor, nn

from dynaxx import ResonanceError, load_resonance, wrap_with_resonance

NETS = {"maps": (Plain, PLAIN_TAPS, {}), "mixed": (Mixed, MIXED_TAPS, MIXED), "split": (UNet, UNET_TAPS, {})}
SOURCES = {"click": 1, "sensor": 4}


def sources(batch: int = 3) -> dict[str, Tensor]:
    """A click of one pixel for each sample, and a vector."""
    click = torch.zeros(batch, 1, 16, 16)
    click[torch.arange(batch), 0, torch.randint(16, (batch,)), torch.randint(16, (batch,))] = 1.0
    return {"click": click, "sensor": torch.randn(batch, 4)}


def made(net: str = "maps", **options: object):
    torch.manual_seed(0)
    make, taps, more = NETS[net]
    x = images(16)
    model = wrap_with_resonance(
        make().eval(), taps, example_input=x, **({"T": 3, "rank": 3, "sources": SOURCES} | more | options)
    )
    model.fit_statistics([(x, sources(), torch.zeros(3)), {"x": images(16), "sources": sources()}])
    return trained_like(model).eval()


def of_sources(model) -> list[int]:
    """Numbers of the couplings out of sources."""
    taps = len(model.paths)
    return [n for n, pair in enumerate(model.resonator.exchange.couplings.pairs) if pair.source >= taps]


@pytest.mark.parametrize("net", NETS)
def test_an_untrained_model_is_the_backbone_and_a_trained_one_reads_each_source(net):
    make, taps, more = NETS[net]
    x, given = images(16), sources()
    fresh = wrap_with_resonance(make().eval(), taps, example_input=x, rank=3, sources=SOURCES, **more)
    assert torch.equal(fresh(x, sources=given), fresh.backbone(x))
    model = made(net)
    with torch.no_grad():
        answers = [model(x, sources=some) for some in (given, {"click": given["click"]}, None)]
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[1], answers[2])
    with model.disabled():
        assert torch.equal(model(x, sources=given), model.backbone(x))


@pytest.mark.parametrize(
    "options", [{}, {"dynamics": "reentrant"}, {"solver": "anderson"}, {"stability": "certified"}, {"T": 1}], ids=str
)
def test_an_absent_source_is_bit_equal_to_couplings_that_are_not_there(options):
    model, x, given = made(**options), images(16), sources()
    nobody = torch.zeros(3, dtype=torch.bool)
    with torch.no_grad():
        with model.ablated(of_sources(model)):
            expected = model(x, sources=given)
        assert torch.equal(model(x), expected)
        assert torch.equal(model(x, sources={"click": None}), expected)
        poison = torch.full_like(given["click"], float("nan"))
        assert torch.equal(model(x, sources={"click": (poison, nobody)}), expected)
        assert not model.fallback.any()
        assert torch.equal(model(x, sources={name: (v, ~nobody) for name, v in given.items()}), model(x, sources=given))


@pytest.mark.parametrize("mode", ["explicit", "implicit", "hybrid", "direct", "folded"])
def test_nothing_of_an_absent_source_is_left_in_any_mode(mode):
    linear = {"activation": "identity", "depthwise": False} if mode == "folded" else {}
    model, x, given = made(mode="explicit" if mode == "folded" else mode, **linear), images(16), sources()

    def answers() -> tuple[Tensor, Tensor]:
        if mode == "folded":
            model.fold()
        with torch.no_grad():
            return model(x), model(x, sources=given)

    without, whole = answers()
    couplings = model.resonator.exchange.couplings
    with torch.no_grad():
        for number in of_sources(model):  # their biases are read where the source itself is zero
            couplings.of(couplings.pairs[number])[2].add_(1.0)
    again, other = answers()
    assert torch.equal(without, again)
    assert not torch.allclose(whole, other)


@pytest.mark.parametrize(
    "options", [{}, {"gate": "learned"}, {"gate": "mutual_information"}, {"gate": "position"}], ids=str
)
@pytest.mark.parametrize("mode", ["explicit", "implicit"])
def test_each_sample_has_its_own_sources_and_answers_by_itself(mode, options):
    model, x, given = made(mode=mode, **options), images(16), sources()
    present = torch.tensor([True, False, True])
    with torch.no_grad():
        together = model(x, sources={"click": (given["click"], present), "sensor": given["sensor"]})
        for n in range(3):
            some = {"sensor": given["sensor"][n : n + 1]}
            some |= {"click": given["click"][n : n + 1]} if present[n] else {}
            assert torch.allclose(model(x[n : n + 1], sources=some), together[n : n + 1], atol=1e-5)


def test_a_source_that_is_not_finite_falls_back_for_its_own_sample():
    model, x, given = made(), images(16), sources()
    with torch.no_grad():
        expected = model(x, sources=given)
        given["click"][1] = float("inf")
        found = model(x, sources=given)
        assert model.fallback.tolist() == [False, True, False]
        assert torch.equal(found[1], model.backbone(x)[1])
    assert torch.allclose(found[[0, 2]], expected[[0, 2]], atol=1e-6)
    loss = model.train()(x, sources=given)[[0, 2]].square().sum()
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.trainable_parameters())


def test_statistics_are_those_of_the_samples_that_have_the_source():
    model, given = made(), sources()
    wide = torch.randn(3, 4) * 5 + 2
    present = torch.tensor([True, True, False])
    model.fit_statistics([(images(16), {"click": given["click"], "sensor": (wide, present)})])
    exchange = model.resonator.exchange
    assert torch.allclose(exchange.statistics.mean(4), wide[:2].mean(0))
    assert torch.allclose(exchange.statistics.std(4), wide[:2].std(0, correction=0))
    assert torch.allclose(exchange.statistics.mean(3), torch.tensor([1 / 256]))
    for batches in ([images(16)], [(images(16), {"click": given["click"]}, torch.zeros(3))]):
        with pytest.raises(ResonanceError, match="batches: no finite sample of '(click|sensor)'"):
            model.fit_statistics(batches)


def test_anchors_that_were_read_before_take_sources_afterwards():
    model, x, given = made(), images(16), sources()
    with torch.no_grad():
        (whole,), _ = model.refine(model.read(x, sources=given))
        (later,), _ = model.refine(model.with_sources(model.read(x), given))
        assert torch.equal(whole, later)
        assert not torch.equal(whole, model.refine(model.read(x))[0][0])


@pytest.mark.parametrize("options", [{}, {"mode": "implicit"}, {"dynamics": "reentrant"}], ids=str)
def test_saved_and_loaded_to_the_same_answer(options, tmp_path):
    model, x, given = made(**options), images(16), sources()
    model.save_pretrained(tmp_path)
    again = load_resonance(copy.deepcopy(model.backbone), tmp_path)
    assert again.config.sources == SOURCES
    with torch.no_grad():
        assert torch.equal(again(x, sources=given), model(x, sources=given))


def test_compiled_and_exported_to_the_same_answer():
    model, x, given = made(T=2), images(16), sources()
    torch.compiler.reset()
    with torch.no_grad():
        expected, without = model(x, sources=given), model(x)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        assert torch.allclose(compiled(x, sources=given), expected, atol=1e-5)
        assert torch.allclose(compiled(x), without, atol=1e-5)
        program = torch.export.export(model, (x,), {"sources": given})
        saved = io.BytesIO()
        torch.export.save(program, saved)
        saved.seek(0)
        assert torch.allclose(torch.export.load(saved).module()(x, sources=given), expected, atol=1e-5)


def test_adapters_have_sources_of_their_own():
    model, x, given = made(), images(16), sources()
    model.add_adapter("deaf", PLAIN_TAPS, example_input=x, rank=3)
    model.add_adapter("other", PLAIN_TAPS, example_input=x, rank=3, sources={"depth": 2})
    model.set_adapter("deaf")
    with pytest.raises(ResonanceError, match=r"sources\['click'\]: no source of this model; it has none"):
        model(x, sources=given)
    model.set_adapter("other")
    assert torch.equal(model(x, sources={"depth": torch.randn(3, 2, 8, 8)}), model.backbone(x))
    with pytest.raises(ResonanceError, match=r"sources\['click'\]: no source of this model; it has depth"):
        model(x, sources={"click": given["click"]})


def test_a_backbone_may_have_sources_as_an_argument_of_its_own():
    class Own(Plain):
        def forward(self, x: Tensor, sources: Tensor | None = None) -> Tensor:
            return super().forward(x) + (0.0 if sources is None else sources)

    model, x = wrap_with_resonance(Own().eval(), PLAIN_TAPS, example_input=images(16), rank=2), images(16)
    assert torch.equal(model(x, sources=torch.ones(5)), model.backbone(x) + 1)


def test_every_coupling_out_of_a_source_learns_and_the_student_hears_sources_too():
    model, x, given = made(), images(16), sources()
    model.train()(x, sources=given).square().sum().backward()
    couplings = model.resonator.exchange.couplings
    assert all(couplings.V[k].grad.abs().sum() > 0 for k in (3, 4))
    model.add_student()
    losses = distilled(model, x, sources=given)
    assert losses[-1] < 0.5 * losses[0]
    model.eval().mode = "implicit"
    with torch.no_grad():
        assert not torch.equal(model(x, sources=given), model(x))


def test_a_click_says_which_half_of_the_image_to_read():
    """The label is the brightness of the half that is clicked on; the image without its click says nothing of it."""
    torch.manual_seed(0)
    net = Plain().eval()
    example = images(16)
    model = wrap_with_resonance(
        net, PLAIN_TAPS, T=3, rank=8, num_classes=2, example_input=example, sources={"click": 1}
    )

    def drawn(batch: int = 64) -> tuple[Tensor, Tensor, Tensor]:
        """Images with one bright and one dark half, clicks, and whether the click is on the bright one."""
        bright, y = torch.randint(2, (batch,)), torch.randint(2, (batch,))
        x = 0.3 * torch.randn(batch, 3, 2, 16, 8)
        x[torch.arange(batch), :, bright] += 1.0
        click = torch.zeros(batch, 1, 2, 16, 8)
        click[torch.arange(batch), 0, (bright + 1 - y) % 2, torch.randint(16, (batch,)), torch.randint(8, (batch,))] = (
            1.0
        )
        sides = (click, x)
        click, x = (part.movedim(2, 3).flatten(3, 4) for part in sides)
        return x, click, y

    model.fit_statistics([(x, {"click": click}, y) for x, click, y in [drawn(256)]])
    model.train()
    optimizer = torch.optim.Adam(model.trainable_parameters(), 2e-2)
    for _ in range(60):
        x, click, y = drawn()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x, sources={"click": click}), y).backward()
        optimizer.step()
    x, click, y = drawn(400)
    with torch.no_grad():
        clicked_accuracy = (model.eval()(x, sources={"click": click}).argmax(1) == y).float().mean()
        elsewhere = (model(x, sources={"click": click.roll(8, 3)}).argmax(1) == y).float().mean()
        deaf = (model(x).argmax(1) == y).float().mean()
    assert clicked_accuracy > 0.9
    assert elsewhere < 0.1
    assert deaf < 0.65
