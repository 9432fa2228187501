"""Trials of workers that were killed, on a journal: nothing finished is lost, what was running is begun anew."""

import math
import os
import signal
import subprocess
import sys
import threading

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from dynaxx.search import (
    FINITE,
    SearchError,
    Worker,
    finished,
    open_storage,
    open_study,
    requeue_dead,
    run_one,
    running,
    wanted,
)
from dynaxx.search.retry import RETRIES
from dynaxx.tasks import Metric

ACCURACY, ERROR = Metric("accuracy"), Metric("rmse", higher_is_better=False, root=True, unit="mm")

WORKER = """
import sys
from dynaxx.search import Worker, open_storage, open_study
from dynaxx.tasks import Metric
study = open_study(open_storage(sys.argv[1]), "s", Metric("accuracy"), one_objective=True)
def objective(trial):
    Worker.this().sign(trial)
    x = trial.suggest_float("x", 0, 1)
    print(trial.number, flush=True)
    if trial.number == 1:
        sys.stdin.read()  # until it is killed
    return x
study.optimize(objective, n_trials=2)
"""


def killed_in_its_second_trial(journal: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", WORKER, journal], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == [b"0\n", b"1\n"]
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_killed_workers_trial_is_begun_anew_with_the_same_values(tmp_path):
    journal = str(tmp_path / "journal.log")
    killed_in_its_second_trial(journal)
    study = open_study(open_storage(journal), "s", ACCURACY, one_objective=True)
    assert (finished(study), running(study), wanted(study, 5)) == (1, 1, 3)
    drawn = study.trials[1].params
    assert requeue_dead(study) == [1]
    assert requeue_dead(study) == []
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert study.trials[2].params == drawn
    assert (finished(study), running(study)) == (2, 0)


def test_a_trial_that_kills_every_worker_is_given_up(tmp_path):
    study = open_study(open_storage(str(tmp_path / "journal.log")), "s", ACCURACY, one_objective=True)
    dead = Worker(Worker.this().host, 2**22 + 1, 0.0)  # no process has an id as large
    for _ in range(RETRIES + 1):
        dead.sign(study.ask())
        assert len(requeue_dead(study)) == 1
    assert [t.state for t in study.trials] == [TrialState.FAIL] * (RETRIES + 1)


def test_a_trial_begun_anew_is_not_taken_for_a_dead_workers_before_its_own_has_signed_it(tmp_path):
    study = open_study(open_storage(str(tmp_path / "journal.log")), "s", ACCURACY, one_objective=True)
    dead = Worker(Worker.this().host, 2**22 + 1, 0.0)
    dead.sign(study.ask())
    assert requeue_dead(study) == [0]
    again = study.ask()
    assert study.trials[again.number].system_attrs["failed_trial"] == 0
    assert requeue_dead(study) == []  # it runs, though nobody has signed it yet
    study.tell(again, 0.5)
    assert finished(study) == 1


def ended_by_another(study, trial):
    study.tell(trial.number, state=TrialState.FAIL)


def test_a_worker_whose_trial_another_process_ended_goes_on(tmp_path):
    study = open_study(open_storage(str(tmp_path / "journal.log")), "s", ACCURACY, one_objective=True)

    def ended(trial):
        ended_by_another(study, trial)
        return 0.5

    def ended_before_it_wrote(trial):
        ended_by_another(study, trial)
        trial.set_user_attr("late", 1)
        return 0.5

    assert run_one(study, ended) == 0
    assert run_one(study, ended_before_it_wrote) == 1
    assert run_one(study, lambda trial: 0.5) is None
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]


def test_what_goes_wrong_within_a_trial_is_raised_and_a_pruned_one_is_none_of_it(tmp_path):
    study = open_study(open_storage(str(tmp_path / "journal.log")), "s", ACCURACY, one_objective=True)

    def wrong(trial):
        raise ValueError("no such option")

    def pruned(trial):
        raise optuna.TrialPruned

    with pytest.raises(ValueError, match="no such option"):
        run_one(study, wrong)
    assert run_one(study, pruned) is None
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.PRUNED]


def test_living_workers_and_those_elsewhere_are_left_alone(tmp_path):
    study = open_study(open_storage(str(tmp_path / "journal.log")), "s", ACCURACY, one_objective=True)
    Worker.this().sign(study.ask())
    Worker("another-machine", 1, 0.0).sign(study.ask())
    study.ask()  # not signed yet: it has just begun
    assert requeue_dead(study) == []
    me = Worker.this()
    assert Worker(me.host, me.pid, me.started - 100).dead()  # another process had this id before


def test_one_worker_draws_the_same_trials_again_and_two_draw_others(tmp_path):
    def drawn(name: str, worker: int) -> list[float]:
        storage = open_storage(str(tmp_path / f"{name}.log"))
        study = open_study(storage, "s", ACCURACY, one_objective=False, seed=(7, worker))
        study.optimize(lambda t: (t.suggest_float("x", 0, 1), t.suggest_int("y", 1, 9)), n_trials=14)
        return [t.params["x"] for t in study.trials]

    first = drawn("a", 0)
    assert drawn("b", 0) == first
    assert not set(drawn("c", 1)) & set(first)
    again = open_study(open_storage(str(tmp_path / "a.log")), "s", ACCURACY, one_objective=False, seed=(7, 0))
    assert again.ask().suggest_float("x", 0, 1) not in first  # going on is not beginning again


def test_a_named_study_takes_no_trials_of_something_else(tmp_path):
    storage = open_storage(str(tmp_path / "a.log"))
    open_study(storage, "s", ACCURACY, one_objective=False, of="digits").add_trial(create_trial(values=[0.5, 1.0]))
    assert len(open_study(storage, "s", ACCURACY, one_objective=False, of="digits").trials) == 1
    with pytest.raises(SearchError, match=r"sweep\.study=s: is of other settings"):
        open_study(storage, "s", ACCURACY, one_objective=True, of="letters")


@pytest.mark.parametrize("one_objective", [True, False])
def test_a_named_study_takes_no_trials_of_another_metric(tmp_path, one_objective):
    storage = open_storage(str(tmp_path / "a.log"))
    open_study(storage, "s", ACCURACY, one_objective=one_objective, of="digits")
    for other in (ERROR, Metric("macro_recall")):
        with pytest.raises(SearchError, match=r"sweep\.study=s: is of other settings") as error:
            open_study(storage, "s", other, one_objective=one_objective, of="digits")
        assert "\n" not in str(error.value)
    assert open_study(storage, "s", ACCURACY, one_objective=one_objective, of="digits").trials == []


@pytest.mark.parametrize(("metric", "best"), [(ACCURACY, 0.9), (ERROR, 0.1)])
def test_the_best_trial_is_the_best_by_the_metric_and_a_diverged_one_is_not(tmp_path, metric, best):
    study = open_study(open_storage(str(tmp_path / "a.log")), "s", metric, one_objective=True)
    worst = metric.oriented(-math.inf)

    def objective(trial):
        trial.suggest_float("x", 0, 1)
        trial.set_constraint(FINITE, float(trial.number == 2))
        return (0.5, 0.1, worst, 0.9)[trial.number] if trial.number < 4 else 0.5

    study.optimize(objective, n_trials=16)  # beyond TPE's first ten, which look at no trial before them
    again = open_study(open_storage(str(tmp_path / "a.log")), "s", metric, one_objective=True)
    assert again.best_trial.value == best
    assert again.trials[2].value == worst
    assert again.metric_names == [f"val/{metric.name}"]


def test_a_diverged_trial_leaves_the_sampler_of_two_objectives_at_work(tmp_path):
    study = open_study(open_storage(str(tmp_path / "a.log")), "s", ERROR, one_objective=False)

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint(FINITE, float(trial.number % 3 == 2))
        return (ERROR.oriented(-math.inf) if trial.number % 3 == 2 else x), 1 - x

    study.optimize(objective, n_trials=20)
    assert len({trial.params["x"] for trial in study.trials}) == 20
    assert all(math.isfinite(trial.values[0]) for trial in study.best_trials)


def test_many_workers_write_one_journal_and_nothing_is_lost(tmp_path):
    storage_file = str(tmp_path / "journal.log")
    open_study(open_storage(storage_file), "s", ACCURACY, one_objective=True)

    def work(number: int) -> None:
        study = open_study(open_storage(storage_file), "s", ACCURACY, one_objective=True, seed=(0, number))
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study = open_study(open_storage(storage_file), "s", ACCURACY, one_objective=True)
    assert [t.number for t in study.trials] == list(range(40))
    assert all(t.state == TrialState.COMPLETE and t.value == t.params["x"] for t in study.trials)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("sqlite:///study.db", "sweep.storage=sqlite:///study.db: give postgresql://"),
        ("redis://host", "sweep.storage=redis://host: give postgresql://"),
        ("postgresql://ann:secret@127.0.0.1:1/none", r"sweep.storage=postgresql://ann:\*\*\*@127.0.0.1:1/none: "),
    ],
)
def test_storages_that_do_not_do_are_named_without_their_passwords(where, said):
    with pytest.raises(SearchError, match=said) as error:
        open_storage(where)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_this_process_lives():
    assert not Worker.this().dead()
    assert Worker.this().pid == os.getpid()
    assert optuna.logging.get_verbosity() >= optuna.logging.WARNING
