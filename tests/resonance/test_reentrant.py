"""The reentrant dynamics against their formulas, followed letter by letter with the backbone's own modules."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from support.nets import PLAIN_TAPS, Plain, images, trained_like
from torch import nn

from dynaxx import ResonanceError, load_resonance, wrap_with_resonance

SETTINGS = {"dynamics": "reentrant", "stability": "monitored"}


class Chain(nn.Module):
    """A first layer that is never run again, and segments of random kinds between the taps."""

    def __init__(self, taps: int, side: int) -> None:
        super().__init__()
        widths = [int(torch.randint(2, 6, ())) for _ in range(taps)]
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.runs = {"stem": 0}
        self.stem.register_forward_hook(lambda *_: self.runs.__setitem__("stem", self.runs["stem"] + 1))
        self.parts = nn.ModuleList(
            [nn.Conv2d(a, b, 3, padding=1, stride=int(torch.randint(1, 3, ()))) for a, b in itertools.pairwise(widths)]
        )
        self.answer = nn.Linear(widths[-1], 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for part in self.parts:
            x = part(torch.tanh(x))
        return self.answer(x.mean((2, 3)))


def reference(model, net: Chain, x0: list[torch.Tensor], T: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The last tap after T iterations, and its relative residual in each."""
    resonator, lam = model.resonator, model.config.damping
    exchange = resonator.exchange
    grid = tuple(x0[-1].shape[2:])
    c, states, residuals = exchange.couplings, [x.clone() for x in x0], []
    gates = {}
    for n, pair in enumerate(c.pairs):
        y = [standard(exchange, k, x, grid).flatten(2).mean(2) for k, x in enumerate(x0)]
        g = torch.ones(len(x0[0]), dtype=x0[0].dtype)
        if resonator.gate is not None:
            g = 2 * torch.sigmoid(torch.cat(y, 1) @ resonator.gate.weight[:, n])
        gates[pair] = g.view(-1, 1, 1, 1)

    def rerun(tap: int, x: list[torch.Tensor]) -> torch.Tensor:
        return net.parts[tap - 1](torch.tanh(x[tap - 1]))

    def right_hand_side(x: list[torch.Tensor]) -> list[torch.Tensor]:
        x = list(x)
        new = list(x)
        for tap in range(len(x)):
            out = x0[tap] if tap == 0 else rerun(tap, x)
            for n, pair in enumerate(c.pairs):
                if pair.target == tap:
                    h = torch.einsum(
                        "bchw,cr->brhw", standard(exchange, pair.source, x[pair.source], grid), c.of(pair)[0]
                    )
                    h = h + c.b[n * c.rank : (n + 1) * c.rank].view(1, -1, 1, 1)
                    if exchange.phi.kernel is not None:
                        kernel = exchange.phi.kernel[n * c.rank : (n + 1) * c.rank]
                        h = h + F.conv2d(h, kernel, padding=1, groups=c.rank)
                    written = torch.einsum("brhw,rc->bchw", gates[pair] * F.gelu(h), c.of(pair)[1])
                    written = exchange.strength * exchange.statistics.std(tap).view(1, -1, 1, 1) * written
                    out = out + F.interpolate(written, size=out.shape[2:], mode="nearest")
            new[tap] = out
            if model.config.order == "gauss_seidel":
                x[tap] = out
        return new

    for _ in range(T):
        new = right_hand_side(states)
        states = [(1 - lam) * old + lam * fresh for old, fresh in zip(states, new, strict=True)]
        after = right_hand_side(states)
        moved = (after[-1] - states[-1]).flatten(1).norm(dim=1)
        residuals.append(moved / ((after[-1] - x0[-1]).flatten(1).norm(dim=1) + 1e-6))
    return states[-1], residuals


def standard(exchange, tap: int, x: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    mean, std = (s.view(1, -1, 1, 1) for s in (exchange.statistics.mean(tap), exchange.statistics.std(tap)))
    return (F.adaptive_avg_pool2d(x, grid) - mean) / std


@given(
    seed=st.integers(0, 2**31),
    taps=st.integers(2, 4),
    T=st.integers(1, 4),
    damping=st.floats(0.1, 1.0),
    order=st.sampled_from(["gauss_seidel", "jacobi"]),
    depthwise=st.booleans(),
    gate=st.sampled_from(["none", "learned"]),
)
@settings(max_examples=25)
def test_agrees_with_the_formulas(seed, taps, T, damping, order, depthwise, gate):
    torch.manual_seed(seed)
    net = Chain(taps, 8).double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    options = SETTINGS | {"order": order, "depthwise": depthwise, "gate": gate, "damping": damping}
    names = ["stem", *(f"parts.{n}" for n in range(taps - 1))]
    model = trained_like(wrap_with_resonance(net, names, T=T, rank=2, example_input=x, **options)).double()
    model.fit_statistics([x])
    with torch.no_grad():
        x0 = model.read(x).states
        net.runs["stem"] = 0
        with model.tracing():
            answer = model(x)
        expected, residuals = reference(model, net, x0, T)
        wanted = net.answer(expected.mean((2, 3)))
    assert net.runs["stem"] == 1
    assert torch.allclose(answer, wanted, rtol=1e-9, atol=1e-9)
    assert torch.allclose(model.trace.residual[:, -1], torch.stack(residuals), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("order", ["gauss_seidel", "jacobi"])
def test_it_starts_as_the_backbone_and_every_coupling_learns(order):
    torch.manual_seed(0)
    net, x = Plain().eval(), images()
    bare = net(x)
    model = wrap_with_resonance(net, PLAIN_TAPS, T=2, rank=3, example_input=x, dynamics="reentrant", order=order)
    assert torch.equal(model(x), bare)
    trained_like(model).train()
    model.fit_statistics([x])
    with model.observed() as seen:
        loss = model(x).square().mean()
    (loss + seen[0].residual(2).mean()).backward()
    still = [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.any()]
    assert not still
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(net(x), bare)


def test_one_jacobi_iteration_is_the_anchored_one():
    torch.manual_seed(0)
    x, net = images(), Plain().eval()
    kept = {"T": 1, "rank": 3, "example_input": x}
    anchored = trained_like(wrap_with_resonance(net, PLAIN_TAPS, **kept))
    again = wrap_with_resonance(anchored.remove(), PLAIN_TAPS, dynamics="reentrant", order="jacobi", **kept)
    again.load_state_dict(anchored.state_dict())
    expected = wrap_with_resonance(again.backbone, PLAIN_TAPS, **kept)
    expected.load_state_dict(anchored.state_dict())
    assert torch.allclose(again(x), expected(x), atol=1e-6)


@pytest.mark.parametrize("order", ["gauss_seidel", "jacobi"])
def test_solvers_and_gradients_of_the_anchored_loop_serve_it(order):
    """Anderson and damped steps find one fixed point; the implicit gradient there is that of the unrolled loop."""
    torch.manual_seed(3)
    x, net = images().double(), Plain().double().eval()
    options = {"rank": 2, "example_input": x, "order": order, "damping": 1.0, **SETTINGS}
    found, grads = {}, {}
    state = None
    for name, more in {
        "picard": {"T": 80},
        "anderson": {"T": 40, "solver": "anderson"},
        "implicit": {"T": 80, "gradient": "implicit"},
        "checkpoint": {"T": 80, "checkpoint": True},
    }.items():
        model = wrap_with_resonance(net, PLAIN_TAPS, **options, **more).double()
        if state is None:
            for parameter in model.trainable_parameters():
                nn.init.normal_(parameter, std=0.1)
            state = model.state_dict()
        model.load_state_dict(state)
        found[name] = model(x)
        found[name].square().sum().backward()
        grads[name] = torch.cat([p.grad.flatten() for p in model.trainable_parameters()])
        model.remove()
    for name in ("anderson", "implicit", "checkpoint"):
        assert torch.allclose(found[name], found["picard"], atol=1e-8), name
    assert torch.allclose(grads["checkpoint"], grads["picard"], atol=1e-10)
    assert torch.allclose(grads["implicit"], grads["picard"], rtol=1e-4, atol=1e-7)


def test_a_student_of_its_own_matrices_learns_where_it_ends():
    torch.manual_seed(0)
    x, net = images(batch=16), Plain().eval()
    options = {"T": 3, "rank": 4, "example_input": x, "dynamics": "reentrant"}
    model = trained_like(wrap_with_resonance(net, PLAIN_TAPS, **options))
    model.fit_statistics([x])
    student = model.add_student()
    assert [tuple(U.shape) for U in student.U] == [(8, 12)]
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    losses = []
    for _ in range(100):
        with torch.no_grad(), model.train().observed() as seen:
            model(x)
        loss = seen[0].distillation_loss(0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    explicit = model.eval()(x)
    model.mode = "implicit"
    assert (model(x) - explicit).abs().mean() < 0.5 * (net(x) - explicit).abs().mean()


def test_it_is_saved_with_its_dynamics(tmp_path):
    x, net = images(), Plain().eval()
    model = trained_like(wrap_with_resonance(net, PLAIN_TAPS, rank=3, example_input=x, dynamics="reentrant"))
    expected = model(x)
    model.save_pretrained(tmp_path)
    assert torch.equal(load_resonance(model.remove(), tmp_path)(x), expected)


def test_what_cannot_be_is_refused_in_one_line():
    class Untraceable(Plain):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else super().forward(-x)

    with pytest.raises(ResonanceError, match=r"torch\.fx cannot trace.*dynamics='anchored'"):
        wrap_with_resonance(Untraceable(), PLAIN_TAPS, rank=2, example_input=images(), dynamics="reentrant")
    for option, value in (("stability", "certified"), ("feedback", 0.5), ("mode", "folded")):
        with pytest.raises(ResonanceError, match=f"{option}="):
            wrap_with_resonance(Plain(), PLAIN_TAPS, rank=2, dynamics="reentrant", **{option: value})
    with pytest.raises(ResonanceError, match="order='jacobi'"):
        wrap_with_resonance(Plain(), PLAIN_TAPS, rank=2, order="jacobi")
    model = wrap_with_resonance(Plain(), PLAIN_TAPS, rank=2, example_input=images(), dynamics="reentrant")
    with pytest.raises(ResonanceError, match="no bound is known"):
        model.stability()
