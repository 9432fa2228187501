"""κ bounds the loop, and what follows from it is true of the loop."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from support.nets import met, resonator_of

from dynaxx import ResonanceConfig, ResonanceError
from dynaxx.fixed_point import Stability
from dynaxx.fixed_point.contraction import best_scaling, contraction_bound
from dynaxx.resonance import ACTIVATIONS, Resonator
from dynaxx.resonance.bottleneck import LIPSCHITZ, Bottleneck

GRID = (2, 3)


def resonator(scale: float, gate: str = "none", **options) -> Resonator:
    config = ResonanceConfig(T=2, rank=2, gate=gate, **options)
    made = resonator_of([3, 4, 5], config)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return made


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_lipschitz_constants_are_the_steepest_slopes(name):
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64, requires_grad=True)
    ACTIVATIONS[name](x).sum().backward()
    assert x.grad.abs().max() <= LIPSCHITZ[name] + 1e-9
    assert x.grad.abs().max() >= LIPSCHITZ[name] - 1e-6


@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.02, 0.6),
    gate=st.sampled_from(["none", "learned"]),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_kappa_bounds_the_exact_jacobian_of_the_loop(seed, scale, gate, activation):
    torch.manual_seed(seed)
    made = resonator(scale, gate, activation=activation)
    R = len(made.exchange.couplings.b)
    p = torch.randn(1, 6, R, dtype=torch.float64)
    g = 2.0 * torch.rand(1, 1, R, dtype=torch.float64) if gate == "learned" else 1.0
    Gt = made.exchange.couplings.dense(made.exchange.feedback_matrix())

    def F(c):
        return g * made.exchange.phi(p + c @ Gt, GRID)

    jacobian = torch.autograd.functional.jacobian(F, torch.randn(1, 6, R, dtype=torch.float64)).reshape(6 * R, 6 * R)
    kappa, g_max = made.exchange.stability(made.config.damping).kappa, 2.0 if gate == "learned" else 1.0
    d = best_scaling(Gt.detach() * g_max * made.exchange.phi.lipschitz().detach(), made.exchange.couplings.rank)
    # the Jacobian maps columns, messages stand in rows: the scaling acts from the other side
    scaled = jacobian / d.repeat(6)[:, None] * d.repeat(6)
    assert float(torch.linalg.matrix_norm(scaled, ord=2)) <= kappa * (1 + 1e-9)
    kernel = made.exchange.phi.kernel.detach().abs().flatten(1).sum(1).max()
    crude = LIPSCHITZ[activation] * g_max * (1 + kernel) * torch.linalg.matrix_norm(Gt.detach(), ord=2)
    assert kappa <= float(crude) * (1 + 1e-9)


@given(seed=st.integers(0, 10**6))
def test_the_bound_is_the_spectral_radius_where_nothing_is_negative(seed):
    torch.manual_seed(seed)
    A = torch.rand(6, 6, dtype=torch.float64) * torch.logspace(-2, 2, 6, dtype=torch.float64)
    radius = torch.linalg.eigvals(A).abs().max()
    assert float(contraction_bound(A, 1.0)) == pytest.approx(float(radius), rel=1e-3)


def test_the_gradient_of_the_bound_is_that_of_the_norm_it_takes():
    torch.manual_seed(3)
    A = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    d = best_scaling(A.detach())
    contraction_bound(A, 1.0).backward()
    expected = torch.autograd.grad(torch.linalg.matrix_norm(d[:, None] * A / d, ord=2), A)[0]
    assert torch.allclose(A.grad, expected, atol=1e-10)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 5.0), gate=st.sampled_from(["none", "learned"]))
def test_a_certified_loop_contracts_after_every_step_and_in_inference(seed, scale, gate):
    torch.manual_seed(seed)
    made = resonator(scale, gate, stability="certified", kappa_max=0.8)
    optimizer = torch.optim.SGD(made.parameters(), 3.0)
    anchors = [torch.randn(2, 6, c, dtype=torch.float64) for c in (3, 4, 5)]
    for _ in range(3):
        made.train()
        met(made, anchors, GRID, 2).delta[0].square().mean().backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)  # large steps, but not to where numbers end
        optimizer.step()
        optimizer.zero_grad()
        assert made.exchange.stability(made.config.damping).kappa <= 0.8 * (1 + 1e-9)
        assert made.eval().exchange.stability(made.config.damping).kappa <= 0.8 * (1 + 1e-9)
    long = [met(made, anchors, GRID, T).delta[0] for T in (300, 301)]
    assert torch.allclose(*long, rtol=1e-8, atol=1e-12)


def test_a_certificate_holds_for_a_user_who_never_calls_train():
    made = resonator(0.5, stability="certified").eval()
    optimizer = torch.optim.SGD(made.parameters(), 3.0)
    anchors = [torch.randn(2, 6, c, dtype=torch.float64) for c in (3, 4, 5)]
    for _ in range(3):
        met(made, anchors, GRID, 2).delta[0].square().mean().backward()
        optimizer.step()
        assert made.exchange.stability(made.config.damping).contraction_certified
    made.exchange.update_certificate()
    with torch.no_grad():
        assert made.exchange.stability(made.config.damping).contraction_certified


def test_a_loop_that_contracts_already_is_left_alone_by_the_certificate():
    made = resonator(0.05, stability="certified")
    plain = made.exchange.couplings.feedback_matrix(made.exchange.strength)
    assert torch.allclose(made.train().exchange.feedback_matrix(), plain, rtol=1e-12)


def test_a_certified_loop_reaches_its_tolerance_in_the_iterations_it_names():
    made = resonator(0.12)
    stability = made.exchange.stability(made.config.damping)
    assert stability.contraction_certified
    anchors = [torch.randn(2, 6, c, dtype=torch.float64) for c in (3, 4, 5)]
    start = met(made, anchors, GRID, 1).delta[0]
    end = met(made, anchors, GRID, 400).delta[0]
    needed = stability.iterations(1e-3)
    reached = met(made, anchors, GRID, needed).delta[0]
    assert (reached - end).norm() <= 5e-3 * max(end.norm(), (start - end).norm())
    assert stability.rate == pytest.approx(1 - 0.9 * (1 - stability.kappa))


def test_an_uncertified_loop_promises_nothing():
    made = resonator(2.0)
    stability = made.exchange.stability(made.config.damping)
    assert stability.kappa > 1
    assert not stability.contraction_certified
    assert stability.iterations(0.1) is None


def test_iterations_by_hand():
    assert Stability(0.5, True, 1.0).iterations(0.01) == math.ceil(math.log(0.01) / math.log(0.5))
    assert Stability(0.0, True, 1.0).iterations(1e-9) == 1
    with pytest.raises(ResonanceError, match=r"tolerance=0.0.*\(0, 1\)"):
        Stability(0.5, True, 1.0).iterations(0.0)


def test_norms_that_are_not_finite_certify_nothing():
    made = resonator(0.1)
    made.exchange.couplings.U[0].data.fill_(1e200)
    made.exchange.couplings.V[0].data.fill_(1e200)
    assert not made.exchange.stability(made.config.damping).contraction_certified


def test_a_causal_bottleneck_never_reads_the_future():
    phi = Bottleneck(3, "gelu", True, dims=0)
    torch.nn.init.normal_(phi.kernel)
    h = torch.randn(2, 7, 3)
    later = h.clone()
    later[:, 4:] += 1.0
    assert torch.equal(phi(h, (7,))[:, :4], phi(later, (7,))[:, :4])
    assert not torch.equal(phi(h, (7,))[:, 4:], phi(later, (7,))[:, 4:])
