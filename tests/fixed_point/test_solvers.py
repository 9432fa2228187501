"""However the fixed point is reached and differentiated, it is the same one, for each sample by itself."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st
from support.nets import met, resonator_of

from dynaxx import ResonanceConfig, ResonanceError, ResonanceWarning
from dynaxx.fixed_point import iterate
from dynaxx.fixed_point.anderson import anderson
from dynaxx.resonance import Resonator

GRID = (2, 3)
CHANNELS = (3, 4, 5)


def resonator(scale: float = 0.12, seed: int = 0, **options) -> Resonator:
    torch.manual_seed(seed)
    config = ResonanceConfig(**({"T": 4, "rank": 2} | options))
    made = resonator_of(CHANNELS, config)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return made


def anchors(batch: int = 2, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 6, c, dtype=torch.float64, generator=generator) for c in CHANNELS]


def evaluations(made: Resonator, x: list[torch.Tensor], T: int) -> int:
    """How often the loop evaluates its right-hand side."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = made.exchange.phi.register_forward_hook(count)
    delta(made, x, T)
    handle.remove()
    return calls - 1  # the first step is F(0), before the loop


def delta(made: Resonator, x: list[torch.Tensor], T: int, trace: bool = False):
    answer = met(made, x, GRID, T, trace=trace)
    return (answer.delta[0], answer.trace) if trace else answer.delta[0]


@given(seed=st.integers(0, 10**6), scale=st.floats(0.05, 0.25), damping=st.floats(0.3, 1.0))
@settings(max_examples=15)
def test_anderson_reaches_the_fixed_point_of_the_damped_steps(seed, scale, damping):
    options = {"scale": scale, "seed": seed, "damping": damping, "stability": "certified"}
    plain, fast = resonator(**options), resonator(**options, solver="anderson")
    with torch.no_grad():
        for made in (plain, fast):
            met(made.train(), anchors(), GRID, 1)
            made.eval()
        expected, found = delta(plain, anchors(), 400), delta(fast, anchors(), 40)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_anderson_is_the_formula_sample_by_sample():
    """c ← c + λ g - (ΔC + λ ΔG) γ with γ the least-squares solution, written out for one sample at a time."""
    torch.manual_seed(2)
    A, first, damping = 0.3 * torch.randn(5, 5).double(), torch.randn(3, 1, 5).double(), 0.7
    found = iterate(lambda c: first + torch.tanh(c @ A), first, 7, damping, anderson(first, damping))
    for sample in range(3):
        states, gaps = [torch.zeros(5).double()], [first[sample, 0]]
        c = damping * first[sample, 0]
        for _ in range(6):
            g = first[sample, 0] + torch.tanh(c @ A) - c
            states, gaps = [*states, c], [*gaps, g]
            dC = torch.stack([b - a for a, b in pairwise(states)][-3:], dim=1)
            dG = torch.stack([b - a for a, b in pairwise(gaps)][-3:], dim=1)
            gamma = torch.linalg.lstsq(dG, g[:, None]).solution
            c = c + damping * g - ((dC + damping * dG) @ gamma)[:, 0]
        assert torch.allclose(found[sample, 0], c, rtol=1e-3)  # as near as the ridge lets it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_anderson_runs_in_half_precision(dtype):
    made = resonator(0.2, solver="anderson").to(dtype)
    low = delta(made, [x.to(dtype) for x in anchors()], 6)
    assert low.dtype == dtype
    full = delta(made.double(), anchors(), 6)
    assert torch.allclose(low.double(), full, atol=0.1 * float(full.abs().max().detach()))


def test_anderson_gets_nearer_in_as_many_steps_where_the_loop_settles_slowly():
    options = {"scale": 0.4, "stability": "certified", "damping": 0.3}
    errors = {}
    for solver in ("picard", "anderson"):
        made = resonator(**options, solver=solver).train()
        met(made, anchors(), GRID, 1)
        made.eval()
        with torch.no_grad():
            errors[solver] = float((delta(made, anchors(), 10) - delta(made, anchors(), 300)).norm())
    assert errors["anderson"] < 0.1 * errors["picard"]


@pytest.mark.parametrize("solver", ["picard", "anderson"])
def test_a_sample_answers_alike_alone_and_in_a_batch_and_stops_at_its_own_time(solver):
    made, x = resonator(0.3, solver=solver, tolerance=1e-3), anchors(6)
    for tap in x:
        tap[0] *= 1e-3  # one that settles at once
    together, trace = delta(made, x, 60, trace=True)
    reached = (trace.residual > 1e-3).any(1).sum(0)
    assert reached.unique().numel() > 1
    assert len(trace.residual) == 60  # what is watched runs to the end
    assert evaluations(made, x, 60) == reached.max() + 1 < 60
    for sample in range(6):
        alone = delta(made, [tap[sample : sample + 1] for tap in x], 60)
        assert torch.allclose(alone[0], together[sample], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("solver", ["picard", "anderson"])
def test_stopping_is_standing_still_at_the_first_residual_within_the_tolerance(solver):
    made, exact = resonator(0.3, solver=solver, tolerance=1e-2), resonator(0.3, solver=solver)
    stopped, whole = delta(made, anchors(4), 50), {T: delta(exact, anchors(4), T) for T in range(1, 51)}
    _, trace = delta(exact, anchors(4), 50, trace=True)
    for sample in range(4):
        first = int((trace.residual[:, :, sample] <= 1e-2).all(1).nonzero()[0]) + 1
        assert torch.allclose(stopped[sample], whole[first][sample], rtol=1e-10, atol=1e-13)
    assert torch.equal(delta(made, anchors(4), 2), whole[2])  # T is the most, whoever has settled


def test_a_sample_that_overflows_does_not_keep_the_others_running():
    made, x = resonator(0.12, activation="identity", tolerance=1e-3), anchors(2)
    x[0][0] = float("inf")
    assert evaluations(made, x, 50) < 30


def parameters_of(made: Resonator) -> list[torch.Tensor]:
    return [p for p in made.parameters() if p.requires_grad]


@pytest.mark.parametrize("solver", ["picard", "anderson"])
def test_the_implicit_gradient_is_that_of_the_unrolled_loop_run_to_its_end(solver):
    options = {"gate": "learned", "solver": solver}
    unrolled, implicit = resonator(**options), resonator(**options, gradient="implicit", stability="monitored")
    answers = []
    for made in (unrolled, implicit):
        x = [tap.requires_grad_() for tap in anchors()]
        out = delta(made, x, 150 if solver == "picard" else 40)
        weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
        grads = torch.autograd.grad((out * weights).sum(), [*parameters_of(made), *x])
        answers.append([out, *grads])
    for a, b in zip(*answers, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-10)


def test_gradcheck_of_the_implicit_gradient():
    made = resonator(gradient="implicit", stability="monitored")
    x = [tap.requires_grad_() for tap in anchors(1)]

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        return delta(made, list(inputs), 150)

    assert torch.autograd.gradcheck(run, x, eps=1e-6, atol=1e-6, check_undefined_grad=False)


def test_a_loop_that_does_not_contract_says_so_in_the_backward_pass():
    made = resonator(1.5, activation="identity", gradient="implicit", stability="monitored", T=3)
    with pytest.warns(ResonanceWarning, match="backward solve did not converge"):
        delta(made, anchors(), 3).square().sum().backward()


def test_checkpointing_remembers_less_and_differentiates_alike():
    results = []
    for checkpoint in (False, True):
        made, held = resonator(0.3, checkpoint=checkpoint), 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal held
            held += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = delta(made, anchors(50), 30)
        results.append((held, torch.autograd.grad(out.square().sum(), parameters_of(made))))
    (whole, expected), (less, grads) = results
    assert less < 0.5 * whole
    assert all(torch.equal(a, b) for a, b in zip(expected, grads, strict=True))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"solver": "newton"}, "solver='newton': give one of picard, anderson"),
        ({"gradient": "none"}, "gradient='none': give one of unrolled, implicit"),
        ({"checkpoint": "yes"}, "checkpoint='yes': give True or False"),
        ({"gradient": "implicit"}, "gradient='implicit': at a fixed point the residual has no gradient"),
        ({"gradient": "implicit", "stability": "monitored", "checkpoint": True}, "checkpoint=True: the implicit"),
        ({"classifier": "fc"}, "classifier='fc': a new head replaces it; give num_classes"),
        ({"token_pool": True, "prefix_tokens": 2}, "prefix_tokens=2: pooled tokens have no neighbours"),
        ({"tolerance": 0.0}, r"tolerance=0.0: give a number in \(0, 1\), or None"),
        ({"stability": "sure"}, "stability='sure': give one of regularized, certified, monitored"),
        ({"kappa_max": 1.0}, r"kappa_max=1.0: give a number in \(0, 1\)"),
    ],
)
def test_options_out_of_range(options, line):
    with pytest.raises(ResonanceError, match=line):
        ResonanceConfig(**options)
