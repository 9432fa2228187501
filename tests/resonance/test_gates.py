"""What gates let through, and that the critic's information is information."""

import math

import torch

from dynaxx.resonance import Pair
from dynaxx.resonance.gates import LearnedGate, MutualInformationGate

PAIR = [Pair(1, 0)]


def correlated(count: int, rho: float, generator: torch.Generator) -> list[torch.Tensor]:
    """Two taps of 4 channels and one position, correlated channel by channel: I = -2 log(1 - ρ²) nats."""
    a = torch.randn(count, 1, 4, generator=generator)
    return [a, rho * a + (1 - rho**2) ** 0.5 * torch.randn(count, 1, 4, generator=generator)]


def trained(rho: float) -> MutualInformationGate:
    torch.manual_seed(0)
    gate, generator = MutualInformationGate([4, 4], PAIR), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(gate.parameters(), 0.01)
    for _ in range(400):
        loss = gate.loss(correlated(256, rho, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return gate


def test_the_bound_approaches_the_information_of_gaussians_and_stays_below_it():
    gate, generator = trained(0.7), torch.Generator().manual_seed(2)
    with torch.no_grad():
        bound = -gate.loss(correlated(4096, 0.7, generator))
    truth = -2 * math.log(1 - 0.7**2)
    assert 0.5 * truth < bound < truth + 0.05


def test_pairs_that_belong_together_score_above_those_that_do_not_and_open_the_gate():
    gate, generator = trained(0.9).eval(), torch.Generator().manual_seed(3)
    a, b = correlated(500, 0.9, generator)
    together, apart = gate.information([a, b]), gate.information([a, b.roll(1, 0)])
    assert together.mean() > 0.5
    assert apart.mean() < 0
    assert (gate([a, b]) > gate([a, b.roll(1, 0)])).double().mean() > 0.9
    a_BD, b_BD = gate._project([a[:, 0], b[:, 0]])  # the kept samples stand for all that do not belong together
    exact = (a_BD[1] * b_BD[0]).sum(1) - (a_BD[1] @ b_BD[0].T).logsumexp(1) + math.log(500)
    assert torch.corrcoef(torch.stack([exact, together[:, 0, 0]]))[0, 1] > 0.95


def test_a_sample_needs_no_batch():
    gate = trained(0.9).eval()
    y = correlated(6, 0.9, torch.Generator().manual_seed(4))
    together = gate(y)
    for n in range(6):
        assert torch.allclose(gate([tap[n : n + 1] for tap in y])[0], together[n], atol=1e-6)


def test_the_task_trains_how_the_score_is_used_and_the_bound_trains_the_score():
    gate, y = MutualInformationGate([4, 4], PAIR), correlated(8, 0.5, torch.Generator().manual_seed(5))
    gate(y).sum().backward()
    assert {name for name, p in gate.named_parameters() if p.grad is not None} == {"weight", "bias"}
    gate.zero_grad()
    gate.loss(y).backward()
    assert {name for name, p in gate.named_parameters() if p.grad is not None} == {"A.1", "B.0"}
    assert gate.loss([tap[:1] for tap in y]) is None


def test_a_learned_gate_opens_at_one_and_stays_between_zero_and_two():
    gate, y = LearnedGate([3, 4], PAIR), [torch.randn(5, 6, 3), torch.randn(5, 6, 4)]
    assert torch.equal(gate(y), torch.ones(5, 6, 1))
    torch.nn.init.normal_(gate.weight, std=30)
    assert ((gate(y) >= 0) & (gate(y) <= 2)).all()
