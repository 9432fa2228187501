"""The schema: what is written is read back equal, and nothing else is read."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.example_evaluation import RMSE, make_evaluation, with_costs

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import Comparison, Evaluation
from dynaxx.evaluation.statistics.paired import mcnemar, paired_bootstrap
from dynaxx.tasks import Metric


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation()


@pytest.mark.parametrize(
    "evaluation",
    [make_evaluation(1), make_evaluation(6), make_evaluation(2, RMSE), with_costs(make_evaluation(2))],
    ids=["one seed", "six seeds", "an error", "costs"],
)
def test_round_trip(tmp_path: Path, evaluation: Evaluation) -> None:
    path = tmp_path / "new" / "evaluation.json"
    evaluation.to_json(path)
    assert Evaluation.from_json(path) == evaluation
    assert os.listdir(path.parent) == ["evaluation.json"]


def change(data: dict[str, Any], where: str, act: str) -> None:
    *parents, last = where.split(".")
    node: Any = data
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if act == "remove":
        del node[last]
    else:
        node[last] = json.loads(act)


@pytest.mark.parametrize(
    ("where", "act", "word"),
    [
        ("decision", "remove", "decision: field required"),
        ("arms.0.gflops", "remove", "arms.0.gflops: field required"),
        ("arms.1.latency.p99_ms", "remove", "arms.1.latency.p99_ms: field required"),
        ("surprise", "1", "surprise: unexpected"),
        ("comparisons.0.difference.middle", "0.1", "comparisons.0.difference.middle: unexpected"),
        ("arms.0.gflops", "NaN", "arms.0.gflops: input should be a finite"),
        ("arms.0.value_per_seed", '["0.5"]', "arms.0.value_per_seed.0: input should be a valid number"),
        ("task.metric.name", "remove", "task.metric.name: field required"),
        ("timings.latency.rounds", "0.5", "timings.latency.rounds"),
        ("arms.0.trained_parameters", "1.5", "arms.0.trained_parameters"),
        ("decision.verdict", '"maybe"', "decision.verdict"),
        ("inside.residuals.0.iterations", "null", "inside.residuals.0.iterations"),
    ],
)
def test_a_key_too_many_too_few_or_wrong_is_named(
    tmp_path: Path, evaluation: Evaluation, where: str, act: str, word: str
) -> None:
    path = tmp_path / "evaluation.json"
    evaluation.to_json(path)
    data = json.loads(path.read_text())
    change(data, where, act)
    path.write_text(json.dumps(data))
    with pytest.raises(EvaluationError) as caught:
        Evaluation.from_json(path)
    assert str(path) in str(caught.value)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe garbage", b"null"])
def test_garbage_is_no_evaluation(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "evaluation.json"
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match=r"evaluation\.json"):
        Evaluation.from_json(path)
    with pytest.raises(EvaluationError, match="absent"):
        Evaluation.from_json(tmp_path / "absent")


def test_nan_is_not_written_and_the_old_file_stays(tmp_path: Path, evaluation: Evaluation) -> None:
    path = tmp_path / "evaluation.json"
    evaluation.to_json(path)
    broken = replace(evaluation, arms=[replace(evaluation.arms[0], gflops=float("nan"))])
    with pytest.raises(EvaluationError, match=r"arms\.0\.gflops"):
        broken.to_json(path)
    assert Evaluation.from_json(path) == evaluation


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "evaluation.json"
    evaluation.to_json(path)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        replace(evaluation, corruptions=[]).to_json(path)
    assert os.listdir(tmp_path) == ["evaluation.json"]
    assert Evaluation.from_json(path) == evaluation


def test_a_comparison_measures_a_minus_b() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random((2, 4, 90)) < np.array([0.8, 0.6])[:, None, None]
    accuracy = Metric("accuracy")
    comparison = Comparison.measure("good", "bad", a, b, accuracy, seed=5)
    assert (comparison.a, comparison.b) == ("good", "bad")
    assert comparison.difference == paired_bootstrap(a, b, accuracy, seed=5)
    assert comparison.difference.estimate > 0
    assert comparison.mcnemar == [mcnemar(a[i], b[i]) for i in range(4)]
    assert comparison.relative == pytest.approx(a.mean() / b.mean() - 1)
