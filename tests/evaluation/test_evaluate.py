"""A whole evaluation of small saved models, for tasks of several kinds: numbers by hand, and what each kind shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support.nets import trained_like
from torch import Tensor

from dynaxx import wrap_with_resonance
from dynaxx.data import LabelledImages, Normalisation, normalise
from dynaxx.evaluation import EvaluateOptions, Evaluation, EvaluationError, TaskSummary, evaluate
from dynaxx.evaluation.arms import ArmRecord
from dynaxx.evaluation.evaluate import Found
from dynaxx.tasks import Classification, Kind, Regression, Segmentation
from dynaxx.training.small_resnet import SmallResNet

DEFAULT = Path(__file__).parents[2] / "conf" / "evaluate" / "default.yaml"
NORMALISATION = Normalisation((0.4,), (0.2,))
COUNT, SIDE, SEEDS = 24, 8, (0, 1)


def backbone() -> SmallResNet:
    torch.manual_seed(3)
    return SmallResNet(3, 1, (4, 6, 8), 1).eval().requires_grad_(False)


def pixels(count: int) -> Tensor:
    return torch.randint(256, (count, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(count)).to(torch.uint8)


@dataclass(frozen=True)
class Case:
    kind: Kind
    outputs: int
    readout: str | None
    classes: tuple[str, ...]

    def data(self, count: int) -> LabelledImages:
        images = pixels(count)
        labels = {
            "classification": torch.arange(count) % 3,
            "regression": images.float().mean((1, 2, 3))[:, None] / 100,
            "segmentation": (images[:, 0] > 128).to(torch.uint8),
        }[self.kind.name]
        return LabelledImages(images, labels, self.classes, groups=tuple(f"place {n // 2}" for n in range(count)))


CASES = {
    "classification": Case(Classification(), 3, None, ("a", "b", "c")),
    "regression": Case(Regression(unit="mm"), 1, "moments", ("size",)),
    "segmentation": Case(Segmentation(), 1, "map", ("background", "cell")),
}


def trained(folder: Path, case: Case, arm: str, seed: int) -> Path:
    """An arm as training leaves it, with weights that nobody trained."""
    torch.manual_seed(100 * seed + len(arm))
    mode = "explicit" if arm == "explicit" else "concat_probe"
    options: dict[str, Any] = {"num_classes": case.outputs, "mode": mode, "T": 2, "rank": 2}
    if case.readout is not None:
        options["readout"] = case.readout
    layers = [3] if arm == "baseline" else [1, 2, 3]
    if arm == "baseline" and case.readout is None:
        options["mode"] = "probe"
    model = wrap_with_resonance(backbone(), layers, example_input=torch.zeros(2, 1, SIDE, SIDE), **options)
    trained_like(model)
    out = folder / arm / f"seed-{seed}"
    model.save_pretrained(out)
    score = {"baseline": 0.1, "concat_probe": 0.3, "explicit": 0.2}[arm]
    ArmRecord(arm, seed, "resonance", list(model.paths), 10, 9, 1.5, score, {}).write(out)
    return out


def options(**changes: Any) -> EvaluateOptions:
    small = {"resamples": 200, "timing_seconds": 0.05, "T": [1], "residual_iterations": 2, "throughput_batch": 4}
    return EvaluateOptions(**OmegaConf.merge(OmegaConf.load(DEFAULT), small | {"attributed_images": 2} | changes))


def run(folder: Path, case: Case, **changes: Any) -> Found:
    arms = ("baseline", "concat_probe", "explicit")
    folders = {arm: {seed: trained(folder, case, arm, seed) for seed in SEEDS} for arm in arms}
    test = case.data(COUNT)
    strata = case.kind.strata(test.labels)
    summary = TaskSummary(
        data="toy",
        kind=case.kind.name,
        metric=case.kind.metric,
        classes=list(test.classes),
        n_train=9,
        n_val=9,
        n_test=COUNT,
        seeds=list(SEEDS),
        train_per_class=[] if strata is None else [3, 3, 3],
        groups=len(set(test.groups)),
    )
    return evaluate(
        case.kind, folders, backbone, test, NORMALISATION, summary, options(**changes), lambda seed: case.data(9 + seed)
    )


@pytest.fixture(scope="module", params=CASES)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path, Found]:
    case, folder = CASES[request.param], tmp_path_factory.mktemp(request.param)
    return case, folder, run(folder, case)


@torch.no_grad()
def answered(folder: Path, case: Case, arm: str, seed: int) -> Tensor:
    from dynaxx import load_resonance

    return load_resonance(backbone(), folder / arm / f"seed-{seed}").eval()(normalise(pixels(COUNT), NORMALISATION))


def test_metric_and_gain_are_those_of_the_outputs(found):
    case, folder, result = found
    labels = case.data(COUNT).labels
    arms = {arm.name: arm for arm in result.evaluation.arms}
    values = {name: [case.kind.value(answered(folder, case, name, seed), labels) for seed in SEEDS] for name in arms}
    for name, arm in arms.items():
        assert arm.value_per_seed == pytest.approx(values[name], rel=1e-5)
        assert arm.measures_per_seed[case.kind.metric.name] == pytest.approx(values[name], rel=1e-5)
        assert arm.latency.ratio > 0
    assert arms["baseline"].latency.ratio == 1.0
    gain = case.kind.metric.gain(np.mean(values["explicit"]), np.mean(values["baseline"]))
    comparison = next(c for c in result.evaluation.comparisons if (c.a, c.b) == ("explicit", "baseline"))
    assert comparison.difference.estimate == pytest.approx(gain, rel=1e-5, abs=1e-9)
    largest = case.kind.metric.higher_is_better  # concat_probe has 0.3 on validation, explicit 0.2
    assert result.evaluation.decision.best == ("concat_probe" if largest else "explicit")
    assert {frozenset((c.a, c.b)) for c in result.evaluation.comparisons} == {
        frozenset(pair)
        for pair in (("explicit", "baseline"), ("concat_probe", "baseline"), ("explicit", "concat_probe"))
    }


def test_each_kind_shows_what_it_has(found):
    case, _, result = found
    evaluation, kind = result.evaluation, case.kind.name
    classes = kind == "classification"
    assert bool(evaluation.arms[0].recall_per_class) == classes
    assert bool(evaluation.agreements) == bool(evaluation.class_gains) == classes
    assert bool(evaluation.inside.attributions) == ("attributions" in result.pictures) == classes
    assert bool(evaluation.shown.disagreements) == classes
    assert [scatter.column for scatter in evaluation.shown.scatter] == (["size"] if kind == "regression" else [])
    assert ("answers" in result.pictures) == (kind == "segmentation")
    columns = ["image", "truth", "baseline", "concat_probe"]
    assert evaluation.shown.columns == (columns if kind == "segmentation" else [])
    seeds = 1 if kind == "segmentation" else len(SEEDS)  # masks of the first seed alone
    assert {len(rows) for rows in result.predictions.values()} == {seeds}
    assert evaluation.inside.residuals
    assert evaluation.inside.ablations


def test_results_are_read_back_and_reported(found, tmp_path):
    from dynaxx.evaluation.report import terminal_table, write_one_pager, write_report

    _, _, result = found
    result.evaluation.to_json(tmp_path / "evaluation.json")
    evaluation = Evaluation.from_json(tmp_path / "evaluation.json")
    assert evaluation == result.evaluation
    write_report(evaluation, None, {}, tmp_path)
    write_one_pager(evaluation, tmp_path)
    assert terminal_table(evaluation).row_count == 3
    assert "12 groups" in (tmp_path / "report.md").read_text()


def test_a_scatter_holds_what_was_measured_and_predicted(tmp_path):
    case = CASES["regression"]
    result = run(tmp_path, case)
    (scatter,) = result.evaluation.shown.scatter
    assert scatter.measured == pytest.approx(case.data(COUNT).labels[:, 0].tolist())
    for arm in ("baseline", "explicit"):  # the best on validation, by the smallest error
        assert scatter.predicted[arm] == pytest.approx(answered(tmp_path, case, arm, 0)[:, 0].tolist(), rel=1e-4)


def test_prices_and_corruptions_of_a_kind_with_classes(tmp_path):
    case = CASES["segmentation"]
    result = run(
        tmp_path, case, costs={"cell": {"missed": 50, "false_alarm": 1}}, requests_per_day=10, corrupted_images=6
    )
    evaluation = result.evaluation
    assert len(evaluation.cost_comparisons) == len(evaluation.comparisons)
    for arm in evaluation.arms:
        assert arm.costs is not None
        assert arm.costs.per_1000.estimate <= 50_000
        assert list(arm.costs.thresholds) == ["cell"]
        assert len(arm.costs.validation_per_seed) == len(SEEDS)
    assert "cost" in evaluation.decision.answers[0].reasons[0]
    assert [corruption.name for corruption in evaluation.corruptions] == ["noise", "blur", "contrast", "jpeg"]
    assert all(len(values) == 5 for c in evaluation.corruptions for values in c.values.values())


def test_prices_of_a_kind_without_classes_are_refused_before_any_work(tmp_path):
    with pytest.raises(EvaluationError, match="a task of regression has no classes"):
        run(tmp_path, CASES["regression"], costs=3)


def test_no_arms_and_damaged_arms_are_one_line(tmp_path):
    case, test = CASES["classification"], CASES["classification"].data(6)
    summary = TaskSummary("toy", "classification", case.kind.metric, ["a", "b", "c"], 3, 3, 6, [0])
    arguments = (backbone, test, NORMALISATION, summary, options())
    with pytest.raises(EvaluationError, match="folders: no trained arm"):
        evaluate(case.kind, {}, *arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"arm\.json: cannot be read"):
        evaluate(case.kind, {"baseline": {0: tmp_path / "empty"}}, *arguments)
    with pytest.raises(EvaluationError, match="an arm has no seed"):
        evaluate(case.kind, {"baseline": {}}, *arguments)
