"""Maps, a pooled embedding and a transformer's tokens in one model: every promise that other taps get."""

import io

import pytest
import torch
from support.nets import MIXED, MIXED_TAPS, Mixed, Plain, distilled, images, trained_like
from torch import nn

from dynaxx import ResonanceError, load_resonance, tap_states, wrap_with_resonance


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Mixed().eval()


def wrapped(net: nn.Module, trained: bool = True, **options: object):
    x = images(16)
    model = wrap_with_resonance(
        net, options.pop("layers", MIXED_TAPS), example_input=x, **({"T": 3, "rank": 3} | MIXED | options)
    )
    model.fit_statistics([x])
    return trained_like(model) if trained else model


def test_each_tap_has_its_kind_and_an_untrained_model_is_the_backbone(net):
    model, x = wrapped(net, trained=False), images(16)
    kinds = {tap.path: (tap.layout, tap.point, tap.prefix) for tap in model.adapter.taps}
    assert kinds["stem"] == kinds["deep"] == ("BCHW", False, 0)
    assert kinds["embed"] == ("BC", True, 0)
    assert kinds["blocks.0"] == kinds["blocks.1"] == ("BNC", False, 1)
    anchors = model.read(x)
    assert anchors.grid == (4, 4)
    assert [part.shape[1] for part in anchors.pooled] == [16, 16, 1, 16, 16]
    assert torch.equal(model(x), net(x))
    assert not torch.equal(trained_like(model)(x), net(x))


def test_the_class_token_hears_the_mean_of_what_its_positions_hear(net):
    model, x = wrapped(net), images(16)
    with torch.no_grad():
        anchors = model.read(x)
        (refined,), _ = model.refine(anchors)
    change = refined - anchors.outputs[0]
    assert torch.allclose(change[:, 0], change[:, 1:].mean(1), atol=1e-5)
    assert change.abs().amin() > 0


@pytest.mark.parametrize("grid", [None, (2, 2)])
def test_tokens_that_miss_the_grid_are_one_vector(net, grid):
    model = wrapped(net, grid=grid)
    pooled = [tap.pooled for tap in model.adapter.taps]
    assert pooled == [False, False, False, grid is not None, grid is not None]
    anchors = model.read(images(16))
    assert anchors.grid == (grid or (4, 4))
    assert anchors.pooled[3].shape[1] == (1 if grid else 16)


def test_a_sample_stands_alone_and_one_that_is_not_finite_keeps_the_backbones_answer(net):
    model, x = wrapped(net, tolerance=0.05, T=8), images(16)
    with torch.no_grad():
        together = model(x)
        assert torch.allclose(torch.cat([model(sample[None]) for sample in x]), together, atol=1e-5)
        broken = x.clone()
        broken[1, 0, 3, 3] = float("nan")
        found = model(broken)
    assert model.fallback.tolist() == [False, True, False]
    assert torch.allclose(found[[0, 2]], together[[0, 2]], atol=1e-5)
    model.train()(broken)[[0, 2]].square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.trainable_parameters())


OPTIONS = [
    {},
    {"gate": "mutual_information", "mode": "hybrid", "num_classes": 3},
    {"gate": "learned", "stability": "certified", "solver": "anderson", "T": 2},
    {"T": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_saved_compiled_and_copied_to_the_same_answer(net, options, tmp_path):
    model, x = wrapped(net, **options).eval(), images(16)
    model.save_pretrained(tmp_path)
    torch.compiler.reset()
    with torch.no_grad():
        expected = model(x)
        assert torch.allclose(torch.compile(model, fullgraph=True, backend="eager")(x), expected, atol=1e-5)
        assert torch.equal(load_resonance(model.remove(), tmp_path)(x), expected)


def test_exported_to_the_same_answer(net):
    model, x = wrapped(net).eval(), images(16)
    with torch.no_grad():
        expected = model(x)
        program = torch.export.export(model, (x,))
        saved = io.BytesIO()
        torch.export.save(program, saved)
        saved.seek(0)
        assert torch.allclose(torch.export.load(saved).module()(x), expected, atol=1e-5)


def test_every_coupling_learns_and_the_certificate_holds_over_the_mean(net):
    """κ bounds the loop's Jacobian, averaging into points included: two loops approach each other at that rate."""
    model, x = wrapped(net, stability="certified", damping=1.0), images(16)
    model.train()(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.trainable_parameters())
    model.eval()
    kappa = model.stability().kappa
    assert kappa <= 0.95
    with torch.no_grad(), model.tracing(), model.override(T=40):
        model(x)
    assert (model.trace.residual[-1] < 1e-2 * model.trace.residual[0]).all()


def test_the_segments_run_again_in_order_and_at_once(net):
    x = images(16)
    for order in ("gauss_seidel", "jacobi"):
        model = wrapped(
            net, trained=False, layers=["stem", "deep", "embed"], prefix_tokens=None, dynamics="reentrant", order=order
        )
        assert torch.allclose(model(x), net(x), atol=1e-6)
        trained_like(model)
        with torch.no_grad():
            whole = model(x)
            assert torch.allclose(torch.cat([model(sample[None]) for sample in x]), whole, atol=1e-4)
        assert not torch.allclose(whole, net(x))
        assert [state.after.shape[1] for state in tap_states(model, x)] == [16, 16, 1]
        model.remove()


def test_a_student_learns_what_the_loop_does(net):
    model, x = wrapped(net), images(16)
    model.add_student()
    losses = distilled(model, x)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token_pool": True}, "token_pool=True: some of the taps are maps"),
        ({"causal": True}, "causal=True: some of the taps are maps"),
    ],
)
def test_options_that_need_another_kind_are_refused(net, options, says):
    with pytest.raises(ResonanceError, match=says):
        wrap_with_resonance(net, MIXED_TAPS, example_input=images(16), rank=2, **options)


def test_vectors_beside_tokens_are_at_every_position_and_hear_the_mean():
    class Pooler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.pool = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), nn.Linear(8, 6)
            self.answer = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.answer(self.pool(self.block(x).mean(1)))

    x = torch.randn(2, 5, 8)
    model = wrap_with_resonance(Pooler().eval(), ["block", "pool"], T=2, rank=2, example_input=x)
    assert torch.equal(model(x), model.backbone(x))
    anchors = model.read(x)
    assert anchors.grid == (5,)
    assert [part.shape[1] for part in anchors.pooled] == [5, 1]
    with pytest.raises(ResonanceError, match="causal=True: pool has no position"):
        wrap_with_resonance(Pooler(), ["block", "pool"], rank=2, example_input=x, causal=True)


def test_the_answer_itself_may_be_a_tap():
    x = images(16)
    model = wrap_with_resonance(Plain().eval(), ["late", "answer"], T=2, rank=2, example_input=x)
    assert torch.equal(model(x), model.backbone(x))
    assert not torch.equal(trained_like(model)(x), model.backbone(x))
