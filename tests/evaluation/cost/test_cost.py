"""Costs against models whose cost can be counted by hand."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynaxx.evaluation.cost import gflops, hardware, interleaved_seconds, latency, peak_memory_mb, timed
from dynaxx.evaluation.errors import EvaluationError


class Keeps(nn.Module):
    """Holds `copies` tensors as large as its input at once, then lets all but one go."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.copies = copies

    def forward(self, x: Tensor) -> Tensor:
        kept = [x + i for i in range(self.copies)]
        first = kept[0]
        del kept
        return first


class Works(nn.Module):
    """Multiplies by a matrix `times` times."""

    def __init__(self, times: int, width: int = 384) -> None:
        super().__init__()
        self.times = times
        self.register_buffer("weight", torch.eye(width))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = x @ self.weight
        return x


def test_gflops_counts_two_per_multiply_add_and_sample() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 7, 11)).eval()
    expected = 2 * (8 * 3 * 9 * 5 * 7 + 8 * 5 * 7 * 11) / 1e9
    for batch in (1, 4):
        assert gflops(model, torch.zeros(batch, 3, 5, 7)) == pytest.approx(expected)


def test_gflops_counts_attention_on_the_fused_inference_path() -> None:
    tokens, width = 6, 16
    layer = nn.TransformerEncoderLayer(width, 2, dim_feedforward=32, batch_first=True).eval()
    linear = tokens * width * (4 * width + 2 * 32)
    attention = 2 * tokens * tokens * width
    assert gflops(layer, torch.zeros(2, tokens, width)) == pytest.approx(2 * (linear + attention) / 1e9)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("copies", [1, 3, 7])
def test_peak_memory_of_tensors_counted_by_hand(copies: int) -> None:
    x = torch.zeros(64, 1000)
    assert peak_memory_mb(Keeps(copies).eval(), x) == pytest.approx(copies * 64 * 1000 * 4 / 1e6, rel=1e-3)


def test_peak_memory_is_not_the_sum_of_all_that_was_allocated() -> None:
    x = torch.zeros(32, 1000)
    model = nn.Sequential(*(nn.ReLU() for _ in range(9))).eval()  # each holds its input and its output
    assert peak_memory_mb(model, x) == pytest.approx(2 * 32 * 1000 * 4 / 1e6, rel=1e-3)


@pytest.mark.gpu
def test_peak_memory_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x = torch.zeros(64, 1024, device="cuda")
    assert peak_memory_mb(Keeps(3).eval(), x) == pytest.approx(3 * 64 * 1024 * 4 / 1e6, rel=1e-3)


def test_more_work_takes_longer() -> None:
    models = {"one": Works(1).eval(), "many": Works(40).eval()}
    x = torch.zeros(96, 384)
    result = latency(interleaved_seconds(models, x, rounds=9), "one")
    assert result["one"].ratio == result["one"].ratio_p25 == result["one"].ratio_p75 == 1
    # Forty products against one: a bound that a busy machine does not reach.
    assert result["many"].ratio > 5
    for measured in result.values():
        assert 0 < measured.p50_ms <= measured.p90_ms <= measured.p99_ms
        assert measured.ratio_p25 <= measured.ratio <= measured.ratio_p75


def test_every_round_times_every_model_once_in_a_seeded_changing_order() -> None:
    def order(seed: int) -> list[str]:
        calls: list[str] = []
        names = ["a", "b", "c"]
        models = {name: Notes(name, calls) for name in names}
        seconds = interleaved_seconds(models, torch.zeros(1, 1), rounds=12, seed=seed)
        assert {name: times.shape for name, times in seconds.items()} == dict.fromkeys(names, (12,))
        passes = len(calls) // (3 * 13)  # a warm-up for each model, then 12 rounds
        turns = calls[3 * passes :: passes]
        assert all(sorted(turns[i : i + 3]) == names for i in range(0, 36, 3))
        return turns

    class Notes(nn.Module):
        def __init__(self, name: str, calls: list[str]) -> None:
            super().__init__()
            self.name, self.calls = name, calls
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            self.calls.append(self.name)
            return x

    first = order(3)
    assert first == order(3)
    assert first != order(4)


def test_ratios_are_paired_round_by_round() -> None:
    """A machine ten times slower in half of the rounds must not show in the ratio."""
    slow = np.where(np.arange(20) % 2, 10.0, 1.0)
    result = latency({"base": 0.001 * slow, "other": 0.0012 * slow}, "base")
    other = result["other"]
    assert (other.ratio, other.ratio_p25, other.ratio_p75) == pytest.approx((1.2, 1.2, 1.2))
    assert other.p90_ms == pytest.approx(12.0)


def test_what_cost_refuses() -> None:
    model, x = nn.Linear(2, 2), torch.zeros(1, 2)
    for measure in (gflops, peak_memory_mb):
        with pytest.raises(EvaluationError, match="training mode"):
            measure(model.train(), x)
        with pytest.raises(EvaluationError, match="at least one sample"):
            measure(model.eval(), x[:0])
    with pytest.raises(EvaluationError, match="reference='none'"):
        latency({"one": np.ones(3)}, "none")
    with pytest.raises(EvaluationError, match="reference='none'"):
        timed({"one": model}, x, reference="none", precision=0.1, budget=1.0)
    with pytest.raises(EvaluationError, match="rounds=0"):
        interleaved_seconds({"one": model}, x, rounds=0)


def test_hardware_is_fit_for_json_and_names_the_machine() -> None:
    found = json.loads(json.dumps(hardware()))
    assert set(found) == {"cpu", "cores", "torch_threads", "torch", "gpu", "platform"}
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["torch"] == torch.__version__
    assert (found["gpu"] is None) == (not torch.cuda.is_available())
