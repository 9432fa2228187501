"""Several processes (gloo) find what one finds: metrics, steps and weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dynaxx.data import DataError, EpochOrder, shares

SCRIPT = Path(__file__).parent / "ddp" / "two_processes.py"


def found(folder: Path, what: str, processes: int) -> list[dict]:
    """What each process found."""
    out = folder / f"{what}-{processes}"
    out.mkdir()
    done = subprocess.run(
        [sys.executable, SCRIPT, out, what, str(processes)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads((out / f"{rank}.json").read_text()) for rank in range(processes)]
    assert all(result["processes"] == processes for result in results)
    return results


def gap(one: dict, other: dict) -> float:
    names = {"val/accuracy", "val/loss", "val/residual"}
    assert names <= one["metrics"].keys() == other["metrics"].keys()
    return max(abs(one["metrics"][name] - other["metrics"][name]) for name in names)


@pytest.mark.slow
def test_metrics_are_those_of_one_process_though_the_last_batch_is_uneven(tmp_path):
    (alone,), two = found(tmp_path, "judge", 1), found(tmp_path, "judge", 2)
    for result in two:
        assert gap(result, alone) < 1e-6
    assert 0 < alone["metrics"]["val/accuracy"] < 1  # nothing to agree on otherwise
    without = found(tmp_path, "judge-unreduced", 2)
    assert max(gap(result, alone) for result in without) > 1e-3  # the test sees it when nothing is reduced


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    (alone,), two = found(tmp_path, "train", 1), found(tmp_path, "train", 2)
    for result in two:
        assert result["steps"] == alone["steps"] == 3 * 6
        assert result["weights"] == pytest.approx(alone["weights"], abs=1e-4)
        assert gap(result, alone) < 1e-4
        assert result["best"] == pytest.approx(alone["best"], abs=1e-6)


def test_shares_make_up_the_batches_of_one_process(monkeypatch):
    order = list(EpochOrder(48, seed=1))
    monkeypatch.setattr(shares, "processes", lambda: 4)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr("torch.utils.data.distributed.dist.get_world_size", lambda: 4)
    parts = []
    for rank in range(4):
        monkeypatch.setattr("torch.utils.data.distributed.dist.get_rank", lambda rank=rank: rank)
        part = shares.own_order(EpochOrder(48, seed=1))
        part.set_epoch(0)
        parts.append(list(part))
    size = shares.own_batch(16)
    assert size == 4
    for batch in range(3):
        together = [draw for part in parts for draw in part[batch * size : (batch + 1) * size]]
        assert sorted(together) == sorted(order[batch * 16 : (batch + 1) * 16])
    with pytest.raises(DataError, match="batch_size=10 is that of all processes together, and 4 of them cannot share"):
        shares.own_batch(10)
