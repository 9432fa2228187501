"""Sweeps for real: worker processes on a journal and on PostgreSQL, killed and resumed, and what they leave."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from support.project import environment
from support.servers import real_postgres

from dynaxx.search import WORKER, best, open_storage
from pipelines.sweep.__main__ import main

pytestmark = pytest.mark.slow

EPOCHS = 20
LONG = ["experiment=smoke", *(f"train.{name}={EPOCHS}" for name in ("epochs", "patience", "checkpoint_every"))]
"""Trials of some seconds, so that a signal arrives in the middle of one."""

SMALL = ["sweep.space.resonance.rank='int(interval(2, 6))'", "sweep.seeds=[100]"]


@pytest.fixture(scope="module")
def project(swept, tmp_path_factory) -> Path:
    """A copy: other tests of the process want the one sweep that has run."""
    return shutil.copytree(swept, tmp_path_factory.mktemp("sweeps") / "project", symlinks=True)


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.sweep", *overrides, *SMALL]


def sweep(project: Path, *overrides: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command(*overrides), cwd=project, env=environment(project) | changes, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def until(process: "subprocess.Popen[str]", found: Callable[[], object]) -> object:
    """Look again and again as long as the process runs."""
    while not (value := found()):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
            raise AssertionError(f"it ended too early: {process.communicate()}")
    return value


def study_of(storage: str, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(storage))


def running_worker(storage: BaseStorage, name: str, besides: int) -> tuple[int, int] | None:
    """(trial, process id) of a trial that runs now, once `besides` others have finished."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None
    if sum(trial.state.is_finished() for trial in study.trials) < besides:
        return None
    for trial in study.trials:
        if trial.state == TrialState.RUNNING and WORKER in trial.user_attrs:
            return trial.number, trial.user_attrs[WORKER][1]
    return None


def kill_one_in_the_middle(project: Path, storage: str, name: str, *overrides: str, **changes: str) -> int:
    """Run a sweep, kill one of its workers in the middle of a trial; the number of that trial."""
    process = subprocess.Popen(
        command(*LONG, f"sweep.study={name}", *overrides),
        cwd=project, env=environment(project) | changes, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    looked_at = open_storage(storage)  # once: each opens connections of its own
    number, pid = until(process, lambda: running_worker(looked_at, name, besides=1))
    psutil.Process(pid).send_signal(signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert "validation accuracy against cost" in out
    return number


def checked(study: optuna.Study, killed: int, n_trials: int) -> None:
    """What was finished is there, and what was killed was begun anew with the same values."""
    finished = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert n_trials <= len(finished) <= n_trials + 1  # two workers may begin the last one at once
    assert study.trials[killed].state == TrialState.FAIL
    again = [t for t in study.trials if t.system_attrs.get("failed_trial") == killed]
    assert [t.state for t in again] == [TrialState.COMPLETE]
    # it may have been killed while it still drew its values: then those that it had
    assert study.trials[killed].params.items() <= again[0].params.items()
    # the killed one may not have finished any before; whoever went on is another
    workers = {t.user_attrs[WORKER][1] for t in finished}
    assert workers - {study.trials[killed].user_attrs[WORKER][1]}


def runs(uri: str, study: str):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("dynaxx")
    found = client.search_runs([experiment.experiment_id], f"tags.`dynaxx.study` = '{study}'", max_results=1000)
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = {int(run.data.tags["dynaxx.trial"]): run for run in found if run is not parents[0]}
    assert len(children) == len(found) - 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parents[0].info.run_id}
    return client, parents[0], children


def in_mlflow(uri: str, study: optuna.Study) -> None:
    """Every trial is a nested run with the study's own numbers."""
    client, parent, children = runs(uri, study.study_name)
    assert sorted(children) == [t.number for t in study.trials]
    for trial in study.trials:
        run = children[trial.number]
        assert run.data.params == {key: str(value) for key, value in trial.params.items()}
        if trial.state == TrialState.COMPLETE:
            assert run.info.status == "FINISHED"
            assert run.data.metrics["val/accuracy"] == trial.values[0]
            assert run.data.metrics["cost/gflops"] == trial.values[1]
            assert len(client.get_metric_history(run.info.run_id, "val/accuracy_by_epoch")) == EPOCHS
        else:
            assert (run.info.status, run.data.tags["dynaxx.state"]) == ("FAILED", "FAIL")
    assert parent.info.status == "FINISHED"
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {
        "sweep.html",
        "front.json",
        "best.yaml",
    }


def test_on_a_journal_a_killed_workers_trial_is_run_again_and_the_sweep_goes_on(project):
    journal = str(project / ".dynaxx/sweeps/journal/journal.log")
    killed = kill_one_in_the_middle(project, journal, "journal", "n_trials=4")
    study = study_of(journal, "journal")
    checked(study, killed, 4)
    uri = f"sqlite:///{project / 'mlflow.db'}"
    in_mlflow(uri, study)

    before = [(t.number, t.values) for t in study.trials if t.state == TrialState.COMPLETE]
    again = sweep(project, *LONG, "sweep.study=journal", f"n_trials={len(before) + 1}")
    assert f"{len(before)} of {len(before) + 1} trials are finished" in again.stdout
    study = study_of(journal, "journal")
    after = [(t.number, t.values) for t in study.trials if t.state == TrialState.COMPLETE]
    assert after[: len(before)] == before
    assert len(after) > len(before)
    in_mlflow(uri, study)
    leavings = sorted(path.name for path in (project / ".dynaxx/sweeps/journal/trials").iterdir())
    assert leavings in ([], [str(killed)])

    written = json.loads((project / "outputs/sweeps/journal/front.json").read_text())
    front = best(study)
    assert [point["number"] for point in written["front"]] == [point.number for point in front]
    assert all(point["latency_ratio"] > 0 for point in written["front"])
    page = (project / "outputs/sweeps/journal/sweep.html").read_text()
    for name in ("front", "importances", "parallel", "slices", "contours"):
        assert f'id="{name}"' in page
    chosen = study.trials[written["chosen"]].params
    composed = subprocess.run([sys.executable, "-m", "pipelines.compose", "experiment=best"], cwd=project,
                              env=environment(project), capture_output=True, text=True, check=True)  # fmt: skip
    assert "params.yaml written" in composed.stdout
    params = OmegaConf.load(project / "params.yaml")
    assert {key: OmegaConf.select(params, key) for key in chosen} == chosen
    assert (params.train.epochs, params.model.network.widths, "sweep" in params) == (EPOCHS, [4, 8, 8], False)
    subprocess.run([sys.executable, "-m", "pipelines.compose", "experiment=smoke"], cwd=project,
                   env=environment(project), check=True)  # fmt: skip


def test_on_postgresql_two_machines_share_a_study_and_a_killed_workers_trial_is_run_again(project, tmp_path):
    with real_postgres(tmp_path / "postgres", "optuna") as server:
        where = server.url("optuna", password=False)
        login = {"PGPASSFILE": str(server.passfile)}
        storage = server.url("optuna")
        other = subprocess.Popen(
            command(*LONG, "sweep.study=shared", "n_trials=4", "workers=1", f"storage={where}", "sweep.seed=1"),
            cwd=project, env=environment(project) | login, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        killed = kill_one_in_the_middle(
            project, storage, "shared", f"storage={where}", "workers=1", "n_trials=4", **login
        )
        said, _ = other.communicate()
        assert other.returncode == 0, said
        study = study_of(storage, "shared")
        checked(study, killed, 4)
        assert server.password not in (project / "outputs/sweeps/shared/sweep.html").read_text()
        in_mlflow(f"sqlite:///{project / 'mlflow.db'}", study)


WATCH = """
import os, sys
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and "/test/" in arguments[0] and "images" in arguments[0]:
        open(os.environ["SEEN"], "a").write(arguments[0] + "\\n")
sys.addaudithook(watch)
"""


def test_a_sweep_opens_no_test_image(project, tmp_path):
    """Every file that its processes open is watched; what `evaluate` does shows that the watch would have seen it."""
    from PIL import Image

    copy, images, seen = tmp_path / "project", tmp_path / "images", tmp_path / "seen"
    shutil.copytree(project, copy)
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch/sitecustomize.py").write_text(WATCH)
    for part, count in (("train", 40), ("test", 4)):
        for label in ("a", "b", "c"):
            (images / part / label).mkdir(parents=True)
            for n in range(count):
                grey = (37 * n + 11 * ord(label)) % 256
                Image.new("L", (8, 8), grey).save(images / part / label / f"{n}.png")
    env = environment(copy)
    env |= {"PYTHONPATH": f"{tmp_path / 'watch'}:{env['PYTHONPATH']}", "SEEN": str(seen)}
    own = ["experiment=smoke", "data=image_folder", f"data.root={images}", "data.name=grey", "task.n_val=12",
           "train_arms.arms=[]", "tune.lr=null", "tune.epochs=null", "vary.rank=null", "vary.taps=null",
           "select.folds=2"]  # fmt: skip
    subprocess.run([sys.executable, "-m", "pipelines.compose", *own], cwd=copy, env=env, check=True)
    subprocess.run(["dvc", "repro", "-q", "baseline", "select_layers"], cwd=copy, env=env, check=True)
    seen.unlink()  # `prepare` looks whether the images are whole, and DVC whether they have changed
    done = subprocess.run(command(*own, "n_trials=2", "workers=1"), cwd=copy, env=env, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("trial ") >= 2
    assert not seen.exists(), seen.read_text()
    look = "from pipelines.common import source, stage; source.open_source(stage.read_params().data).test()"
    subprocess.run([sys.executable, "-c", look], cwd=copy, env=env, check=True)
    assert "/test/a/0.png" in seen.read_text()


def test_with_a_limit_dear_trials_are_not_trained_and_bad_ones_end_early(project):
    done = sweep(project, "experiment=smoke", "train.epochs=12", "train.patience=12", "sweep=constrained",
                 "n_trials=16", "workers=1", "sweep.study=limited", "sweep.max_gflops_ratio=1.2",
                 "sweep.pruner.n_startup_trials=2",
                 "sweep.pruner.n_warmup_steps=1", "sweep.space.train.lr='tag(log, interval(1e-6, 1e-1))'")  # fmt: skip
    study = study_of(str(project / ".dynaxx/sweeps/limited/journal.log"), "limited")
    dear = [t for t in study.trials if t.constraints["cost limit"] > 0]
    assert all(t.state == TrialState.PRUNED and not t.intermediate_values for t in dear)
    early = [t for t in study.trials if t.state == TrialState.PRUNED and t.intermediate_values]
    assert early, done.stdout
    assert all(len(t.intermediate_values) < 12 for t in early)
    whole = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert whole
    assert all(t.constraints["cost limit"] <= 0 and len(t.intermediate_values) == 12 for t in whole)
    chosen = json.loads((project / "outputs/sweeps/limited/front.json").read_text())["chosen"]
    assert study.trials[chosen].value == max(t.value for t in whole)
    _, _, children = runs(f"sqlite:///{project / 'mlflow.db'}", "limited")
    assert {children[t.number].data.tags["dynaxx.state"] for t in [*dear, *early]} == {"PRUNED"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["n_trials=0"], "sweep.n_trials=0: give a whole number of at least 1"),
        (["sweep.seeds=[0]"], "sweep.seeds=[0]: give a seed or more, and none of task.seeds"),
        (["sweep.seeds=7"], "sweep.seeds=7: give a seed or more"),
        (["sweep.seeds=[a]"], "sweep.seeds=['a']: give a seed or more"),
        (["sweep.space=null"], "sweep.space is empty"),
        (["sweep.max_gflops_ratio=1"], "sweep.max_gflops_ratio=1: give more than 1"),
        (["sweep.max_gflops_ratio=cheap"], "sweep.max_gflops_ratio=cheap: give more than 1"),
        (["sweep.nonsense=1"], "nonsense"),
        (["sweep=nowhere"], "nowhere"),
        (["trainer=ddp_cpu"], "trainer.devices=2: a worker is one process on one device"),
        (["sweep.pruner={_target_: optuna.pruners.MedianPruner}"], "two objectives cannot be pruned"),
        (["task.n_val=50"], "params.yaml has another section 'task'"),
        (["storage=sqlite:///x.db"], "sweep.storage=sqlite:///x.db: give postgresql://"),
        (
            ["+sweep.space.resonance.nonsense='int(interval(1, 2))'"],
            "sweep.space.resonance.nonsense: params.yaml has no",
        ),
        (["+sweep.space.task.n_val='range(50, 90)'"], "sweep.space.task.n_val: a sweep tunes"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(ran, monkeypatch, capsys, overrides, said):
    monkeypatch.chdir(ran[0])
    monkeypatch.delenv("DYNAXX_TRACEBACK", raising=False)
    assert main(["experiment=smoke", *overrides, "sweep.study=bad"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (ran[0] / ".dynaxx/sweeps/bad/trials").exists()
