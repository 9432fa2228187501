"""The whole pipeline, for real: DVC, Lightning, MLflow, in the order and with the parts that dvc.yaml says."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from dynaxx import load_resonance
from dynaxx.evaluation import Evaluation
from dynaxx.evaluation.validation import read_tuned
from dynaxx.training.pretrained import load_backbone

pytestmark = pytest.mark.slow

STAGES = (
    "prepare",
    "pretrain",
    "baseline",
    "select_layers",
    "tune",
    "explicit",
    "distill",
    "train_arms",
    "evaluate",
    "report",
)
ARMS = (
    "baseline",
    "concat_probe",
    "concat_mlp",
    "lora",
    "full_finetune",
    "last_tap_only",
    "hybrid",
    "reentrant",
    "explicit_T1",
    "direct",
    "explicit_monitored",
    "explicit_certified",
    "explicit",
    "implicit",
)


def runs_of(project: Path):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dynaxx")
    return client, client.search_runs([experiment.experiment_id], max_results=500)


def test_every_stage_ends_with_one_line_that_says_what_it_found(ran):
    _, _, output = ran
    for stage in STAGES:
        assert len(re.findall(rf"^{stage}: \S.*$", output, re.MULTILINE)) == 1, stage


def test_every_arm_is_tuned_with_as_many_trials_the_student_too(ran):
    project, _, _ = ran
    found = read_tuned(project / "outputs/tune/tuned.json")
    assert {t.arm for t in found} == set(ARMS) - {"baseline", "concat_probe"}
    assert {(t.setting, tuple(t.values)) for t in found} == {("lr", (0.001, 0.005)), ("epochs", (2,))}


def test_every_arm_is_judged_with_accuracy_and_cost(ran):
    project, _, _ = ran
    evaluation = Evaluation.from_json(project / "outputs/evaluate/evaluation.json")
    assert tuple(sorted(arm.name for arm in evaluation.arms)) == tuple(sorted(ARMS))
    for arm in evaluation.arms:
        assert len(arm.value_per_seed) == 2
        assert min(arm.gflops, arm.latency.p50_ms, arm.throughput_per_s, arm.peak_memory_mb, arm.train_seconds) > 0
        assert arm.latency.p50_ms <= arm.latency.p90_ms <= arm.latency.p99_ms
    by_name = {arm.name: arm for arm in evaluation.arms}
    for arm in evaluation.arms:  # every linear head starts from the baseline's probe: far below, training went wrong
        if arm.name == "concat_mlp":  # has none, and learns little in two epochs
            continue
        assert sum(arm.value_per_seed) > sum(by_name["baseline"].value_per_seed) - 0.2, arm.name
    explicit = by_name["explicit"].live_parameters
    assert abs(by_name["explicit_T1"].live_parameters - explicit) / explicit < 0.15
    assert abs(by_name["direct"].live_parameters - explicit) / explicit < 0.15
    assert by_name["implicit"].trained_parameters > explicit
    assert {("explicit", rival) for rival in ("baseline", "explicit_T1", "direct")} <= {
        (c.a, c.b) for c in evaluation.comparisons
    }
    assert {curve.tap for curve in evaluation.inside.residuals} == {"layer1", "layer2", "layer3"}
    own = next(found for found in evaluation.inside.iterations if found.T == 2)  # the T of training
    assert own.value_per_seed == by_name["explicit"].value_per_seed
    assert own.gain.low == own.gain.high == 0
    shares = [list(found.settled.values()) for found in evaluation.inside.iterations]
    assert all(0 <= share <= 1 for row in shares for share in row)
    whole = sum(by_name["explicit"].value_per_seed)
    # six couplings, those alone into the one tap that the output reads, and none into each of three taps
    assert len(evaluation.inside.ablations) == 10
    for cut in evaluation.inside.ablations:
        assert sum(cut.value_per_seed) - whole == pytest.approx(2 * cut.gain.estimate, abs=1e-9)
    assert len(evaluation.inside.information) == 3
    assert [a.arm for a in evaluation.inside.attributions] == ["baseline", "explicit"]
    assert all(a.completeness_gap < 0.2 for a in evaluation.inside.attributions)
    pictures = {file.stem for file in (project / "outputs/evaluate/pictures").glob("*.png")}
    shown = {f"image_{found.image}" for found in evaluation.shown.disagreements}
    assert pictures == {"feature_maps", "attributions"} | shown
    varied = [(v["what"], v["value"]) for v in json.loads((project / "outputs/vary/varied.json").read_text())]
    assert varied == [("rank", 2), ("rank", 4), ("taps", 2)]
    curve = [(p["labels"], p["arm"]) for p in json.loads((project / "outputs/vary/labels.json").read_text())]
    assert curve == [(n, arm) for n in (100, 300) for arm in ("baseline", "direct", "explicit")]
    params = OmegaConf.load(project / "params.yaml")
    backbone = load_backbone(params.model, project / "outputs/pretrain", 1).network
    with torch.no_grad():  # as it was saved: with gradients it would be certified anew
        kappa = load_resonance(backbone, project / "outputs/train_arms/explicit_certified/seed-0").stability().kappa
    assert kappa <= 0.95 * (1 + 1e-6)


def test_the_report_is_one_page_with_its_twin(ran):
    project, _, _ = ran
    html = (project / "outputs/report/report.html").read_text()
    assert not re.search(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?https?://""", html)
    for arm in ARMS:
        assert arm in html
        assert arm in (project / "outputs/report/report.md").read_text()
    inside = ("ablations", "information", "iterations", "residual_curves")
    for name in (*inside, "sizes", "labels", "quality_against_cost"):
        assert f'id="{name}"' in html
        assert (project / f"outputs/report/plots/{name}.html").exists()
    assert html.count("<img alt=") == len(list((project / "outputs/report/pictures").glob("*.png")))


def test_mlflow_holds_one_parent_with_a_child_for_every_arm_and_seed(ran):
    project, command, _ = ran
    client, runs = runs_of(project)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    names = [f"digits/SmallResNet/{arm}/seed-{seed}" for arm in ARMS for seed in (0, 1)]
    assert sorted(r.info.run_name for r in children) == sorted(names)
    for run in [*children, *parents]:
        assert run.info.status == "FINISHED"
        assert {
            "test/accuracy",
            "cost/latency_p90_ms",
            "cost/gflops",
            "cost/train_seconds",
        } <= run.data.metrics.keys()
    live = next(r for r in children if r.info.run_name == "digits/SmallResNet/explicit/seed-0")
    assert "val/accuracy" in live.data.metrics  # logged while it trained
    assert len(client.get_metric_history(live.info.run_id, "val/accuracy")) == 2
    assert parents[0].data.params["resonance.rank"] == "4"
    files = {item.path for item in client.list_artifacts(parents[0].info.run_id)}
    pages = {"report.html", "report.md", "decision.html", "decision.json"}
    assert pages | {"params.yaml", "plots", "pictures", "explicit", "implicit"} <= files

    command("dvc", "repro", "-f", "-s", "report")
    _, again = runs_of(project)
    assert sorted(r.info.run_id for r in again) == sorted(r.info.run_id for r in runs)


def test_a_second_repro_does_nothing(ran):
    _, command, _ = ran
    output = command("dvc", "repro")
    assert "up to date" in output.stdout + output.stderr
    assert "Running stage" not in output.stdout


def test_checkpoints_and_work_are_gone(ran):
    project, _, _ = ran
    assert not list((project / ".dynaxx/work").iterdir())
    assert not list(project.rglob("*.ckpt"))
    assert not [p for p in (project / "outputs").iterdir() if p.name.startswith(".") and p.is_dir()]


def test_the_final_table_names_every_arm_and_the_report(ran):
    _, command, _ = ran
    shown = command(sys.executable, "-m", "pipelines.show").stdout
    for arm in ARMS:
        assert arm in shown
    assert "report.html" in shown


@pytest.fixture
def copy(ran, tmp_path):
    """The other tests want the project as the pipeline left it."""
    return shutil.copytree(ran[0], tmp_path / "copy", symlinks=True)


def parents_of(project: Path):
    return [run for run in runs_of(project)[1] if "mlflow.parentRunId" not in run.data.tags]


def test_an_experiment_re_runs_only_what_depends_on_the_change(ran, copy):
    command = ran[1]
    before = json.loads((copy / "outputs/explicit/explicit/seed-0/arm.json").read_text())
    less = ["tune.lr=null", "tune.epochs=null", "vary.rank=null", "vary.taps=null", "vary.labels=null"]
    less += ["train_arms.arms=[explicit_T1,direct]", "evaluate.corrupted_images=0"]
    changes = [word for change in ("resonance.rank=3", *less) for word in ("-S", change)]
    output = command("dvc", "exp", "run", *changes, at=copy).stdout
    for stage in ("prepare", "pretrain", "baseline"):
        assert f"Stage '{stage}' didn't change" in output
    for stage in ("explicit", "distill", "train_arms", "evaluate", "report"):
        assert f"Running stage '{stage}'" in output
    after = json.loads((copy / "outputs/explicit/explicit/seed-0/arm.json").read_text())
    assert (before["notes"]["rank"], after["notes"]["rank"]) == (4, 3)
    assert len(parents_of(copy)) == 2


def test_queued_experiments_run_elsewhere_and_log_to_the_same_store(ran, copy):
    command = ran[1]
    command("dvc", "exp", "run", "--queue", "-S", "evaluate.gallery=4", "-S", "evaluate.corrupted_images=0", at=copy)
    command("dvc", "exp", "run", "--run-all", at=copy)
    first, second = sorted(parents_of(copy), key=lambda run: run.info.start_time)
    assert (first.data.params["evaluate.gallery"], second.data.params["evaluate.gallery"]) == ("2", "4")
    assert second.data.metrics["test/accuracy"] == first.data.metrics["test/accuracy"]
    assert "gallery: 2" in (copy / "params.yaml").read_text()  # the workspace is left alone
