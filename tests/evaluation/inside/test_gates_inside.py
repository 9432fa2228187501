"""Gates by class: means of what the model itself says, and nothing where there are no gates."""

import pytest
import torch
from torch import nn

from dynaxx import wrap_with_resonance
from dynaxx.evaluation import live
from dynaxx.evaluation.inside.gates import gate_openings


def wrapped(gate: str):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3), nn.ReLU()).eval()
    model = wrap_with_resonance(backbone, ["0", "1"], T=2, rank=3, gate=gate, example_input=torch.zeros(1, 1, 8, 8))
    if model.resonator.gate is not None:
        nn.init.normal_(model.resonator.gate.weight)
    return model


def test_they_are_the_means_over_the_images_of_each_class():
    model, x = wrapped("learned"), torch.randn(300, 1, 8, 8)  # more than one batch
    labels = torch.arange(300) % 3
    with model.tracing():
        model(x)
    trace = model.trace
    found = gate_openings(model, live(x), labels, ("a", "b", "c", "none of these"))
    assert [(g.target, g.source) for g in found] == list(trace.pairs)
    for n, gate in enumerate(found):
        assert list(gate.per_class) == ["a", "b", "c"]
        for label, value in enumerate(gate.per_class.values()):
            assert value == pytest.approx(float(trace.gates[labels == label, n].detach().mean()), rel=1e-5)


def test_without_gates_there_is_nothing_to_tell():
    assert gate_openings(wrapped("none"), live(torch.randn(4, 1, 8, 8)), torch.zeros(4), ("a",)) == []
