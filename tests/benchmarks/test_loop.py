"""JAX runs the same loop, and a training step of the benchmark trains."""

import dataclasses

import pytest
import torch

from benchmarks.arms import resonant
from benchmarks.loop import loops
from benchmarks.networks import NETWORKS, QUICK
from benchmarks.training_step import resonant_step
from dynaxx.fixed_point import SolverOptions


def test_jax_comes_to_the_messages_of_torch():
    pytest.importorskip("jax", reason="the extra `bench` is not installed")
    x = torch.randn(2, 3, 96, 96)  # a grid of 3 x 3, so that the depthwise step has neighbours
    model = resonant(QUICK.backbone(), x, layers=NETWORKS[QUICK.network].layers, rank=4)
    resonator, anchors = model.require_built(), model.read(x)
    exchange = resonator.exchange
    p_BPR = exchange.read(exchange.standardise(anchors.pooled)).detach()
    found, bars, skipped = loops(
        exchange, SolverOptions.of(model.config), anchors.grid, p_BPR
    )  # it compares the two itself
    assert not skipped
    assert [bar.figure for bar in bars] == ["torch T=5 / JAX T=5", "torch T=20 / JAX T=20"]
    assert not torch.allclose(found["JAX T=5"](p_BPR), found["JAX T=20"](p_BPR), atol=1e-6)
    written = [exchange.write(found["torch T=5"](p_BPR), tap) for tap in exchange.outputs]
    torch.testing.assert_close(written, resonator(anchors, dataclasses.replace(model.config, T=5)).delta)


def test_a_step_from_cached_anchors_moves_the_couplings_and_nothing_of_the_backbone():
    x, labels = QUICK.images(), torch.arange(QUICK.batch)
    model = resonant(QUICK.backbone(), x, layers=NETWORKS[QUICK.network].layers, rank=QUICK.rank)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step = resonant_step(model, x, labels).eval()
    with torch.no_grad():
        losses = [float(step(x)) for _ in range(3)]
    assert losses[-1] < losses[0]
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
