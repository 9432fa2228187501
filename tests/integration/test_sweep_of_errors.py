"""A sweep for a task that is judged by an error: less is better on the front, in the table and in MLflow."""

import json
import math
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import torch
from mlflow.tracking import MlflowClient
from optuna.distributions import IntDistribution
from optuna.trial import create_trial
from safetensors.torch import save_file
from support.project import copy_project, environment

from dynaxx.search import COST, FINITE, LIVE, SECONDS, best, open_storage, open_study
from dynaxx.tasks import Metric
from dynaxx.training.small_resnet import SmallResNet
from pipelines.sweep.end import _records, _table
from pipelines.sweep.plan import read_plan

ERROR = Metric("rmse", higher_is_better=False, root=True, unit="mm")


def test_a_plan_knows_the_metric_and_its_study_is_that_of_no_other():
    plans = {task: read_plan([f"task={task}"]) for task in ("classification", "regression", "segmentation")}
    assert [plan.metric.name for plan in plans.values()] == ["accuracy", "rmse", "iou"]
    macro = read_plan(["task.options.decides=macro_recall"])
    assert macro.metric.name == "macro_recall"
    assert len({plan.study for plan in (*plans.values(), macro)}) == 4


def study_of(tmp_path: Path, *values: tuple[float, float]) -> optuna.Study:
    study = open_study(open_storage(str(tmp_path / "journal.log")), "s", ERROR, one_objective=False)
    for number, (score, gflops) in enumerate(values):
        finite = 0.0 if math.isfinite(score) else 1.0
        study.add_trial(
            create_trial(
                params={"resonance.T": number},
                distributions={"resonance.T": IntDistribution(0, 9)},
                values=[score, gflops],
                user_attrs={COST: gflops, LIVE: 10, SECONDS: 1.0},
                constraints={FINITE: finite},
            )
        )
    return study


def test_what_diverged_has_a_cost_and_no_score(tmp_path):
    study = study_of(tmp_path, (2.5, 1.0), (math.inf, 1.5))
    kept, diverged = _records(study, ERROR)
    assert kept.metrics == {"val/rmse": 2.5, "cost/gflops": 1.0}
    assert diverged.metrics == {"cost/gflops": 1.5}


def test_the_table_is_headed_by_the_metric_in_its_unit(tmp_path):
    front = best(study_of(tmp_path, (2.5, 1.0), (0.25, 1.5), (3.0, 2.0)))
    assert [point.score for point in front] == [2.5, 0.25]
    table = _table(ERROR, front, front[1])
    assert str(table.title) == "validation RMSE against cost: what no other trial beats"
    column = next(column for column in table.columns if column.header == "RMSE, mm")
    assert [str(cell) for cell in column.cells] == ["2.50", "0.250"]


def write_table(root: Path) -> None:
    """Images of squares, whose sides are to be predicted."""
    from PIL import Image

    for part, count in (("train", 60), ("test", 8)):
        rows = ["file,side"]
        for number in range(count):
            side = 2 + number % 11
            image = Image.new("L", (16, 16), 20 + number % 7)
            image.paste(200, (1, 1, 1 + side, 1 + side))
            (root / part).mkdir(parents=True, exist_ok=True)
            image.save(root / part / f"{number}.png")
            rows.append(f"{part}/{number}.png,{10 * side}")
        (root / f"{part}.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.slow
def test_a_sweep_ends_with_the_smallest_errors(tmp_path):
    project = copy_project(tmp_path / "project")
    write_table(tmp_path / "squares")
    torch.manual_seed(0)
    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), tmp_path / "net.safetensors")
    network = ["model=small_resnet", "model.network.widths=[4,8,8]", "model.network.blocks=1",
               "+model.network.num_classes=3", f"model.weights={tmp_path / 'net.safetensors'}"]  # fmt: skip
    data = ["data=table", f"data.root={tmp_path / 'squares'}", "data.channels=1"]
    task = ["task=regression", "task.options.unit=px", "task.seeds=[0]", "task.n_val=12"]
    small = ["train.epochs=2", "train.patience=2", "resonance.rank=2", "select.taps=2", "select.layers=[2,3]"]
    own = [*network, *data, *task, *small]

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", *words], cwd=project, env=environment(project),
                              capture_output=True, text=True, check=False)  # fmt: skip

    composed = run("pipelines.compose", *own)
    assert composed.returncode == 0, composed.stderr
    space = ["~sweep.space.resonance.rank", "~sweep.space.select", "~sweep.space.train"]
    swept = run("pipelines.sweep", *own, *space, "n_trials=3", "workers=1", "sweep.study=errors", "sweep.seeds=[100]")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "validation RMSE against cost" in swept.stdout
    assert "px at " in swept.stdout
    study = optuna.load_study(
        study_name="errors", storage=open_storage(str(project / ".dynaxx/sweeps/errors/journal.log"))
    )
    assert study.metric_names == ["val/rmse", "cost/gflops"]
    trials = {trial.number: trial.values for trial in study.trials}
    written = json.loads((project / "outputs/sweeps/errors/front.json").read_text())
    assert written["metric"] == "rmse"
    smallest = min(score for score, _ in trials.values())
    assert min(point["score"] for point in written["front"]) == smallest
    for point in written["front"]:  # nobody has a smaller error at no more cost
        assert not any(s < point["score"] and g <= point["gflops"] for s, g in trials.values())
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dynaxx").experiment_id
    runs = client.search_runs([experiment], "tags.`dynaxx.kind` = 'trial'")
    assert {run.data.metrics["val/rmse"] for run in runs} == {score for score, _ in trials.values()}
    for kept in runs:
        curve = client.get_metric_history(kept.info.run_id, "val/rmse_by_epoch")
        assert min(point.value for point in curve) == pytest.approx(kept.data.metrics["val/rmse"], rel=1e-3)
    other = run("pipelines.sweep", *own, "task.options.unit=mm", *space, "n_trials=3", "sweep.study=errors")
    assert other.returncode == 1
    assert "params.yaml has another section 'task'" in other.stderr
