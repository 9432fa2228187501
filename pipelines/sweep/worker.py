"""`python -m pipelines.sweep.worker NUMBER PARENT OVERRIDE …`: one process on one device that runs many trials.

`pipelines.sweep` starts workers with its own process id as PARENT. A worker ends when its parent has ended.
"""

import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna
from filelock import FileLock
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dynaxx.evaluation import of_metric
from dynaxx.evaluation.arms import ARMS, BASELINE, EXPLICIT, Run, Task, TrainOptions, is_trained
from dynaxx.evaluation.cost import gflops
from dynaxx.evaluation.validation.trial import cost, run_trial, untrained
from dynaxx.search import (
    COST,
    FINITE,
    LIMIT,
    LIVE,
    SECONDS,
    Worker,
    draw,
    open_storage,
    open_study,
    pruned_by,
    requeue_dead,
    run_one,
    wanted,
)
from dynaxx.services import interrupt_on_sigterm
from dynaxx.tracking import TrackingError, TrialRecord, names, record_trial, tracking_uri
from pipelines.common.help import WORKER, asked
from pipelines.common.stage import EXPECTED
from pipelines.common.subject import subject
from pipelines.common.task import build_task
from pipelines.select_layers import chosen_layers
from pipelines.sweep.plan import Plan, read_plan


class Trials:
    """The objective of a sweep, with the data and backbone that all trials share.

    >>> study.optimize(Trials(plan), n_trials=1)

    Args:
        plan: plan of the sweep.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.metric = plan, plan.metric
        self.task = build_task(plan.base, taps=[])
        self.limit = float("inf")
        if plan.one_objective:
            backbone = self.task.backbone().eval()
            self.limit = plan.options.max_gflops_ratio * gflops(backbone, self.task.example())

    def __call__(self, trial: optuna.Trial) -> float | tuple[float, float]:
        """Run one trial, and return the values of the objectives."""
        Worker.this().sign(trial)
        drawn = draw(trial, self.plan.space)
        self._record(trial, "RUNNING")
        try:
            return self._run(trial, drawn)
        except optuna.TrialPruned:
            raise
        except BaseException:
            self._record(trial, "FAIL")
            raise

    def _run(self, trial: optuna.Trial, drawn: dict[str, Any]) -> float | tuple[float, float]:
        params = self.plan.trial(drawn)
        seeds = list(self.plan.options.seeds)
        task = self.prepared(params)
        operations, live = cost(task, untrained(task, seeds[0]))
        trial.set_user_attr(COST, operations)
        trial.set_user_attr(LIVE, live)
        if self.plan.one_objective:
            trial.set_constraint(LIMIT, operations / self.limit - 1)
            if operations > self.limit:
                trial.set_user_attr(SECONDS, 0.0)
                self._record(trial, "PRUNED")
                raise optuna.TrialPruned(f"{operations:.4g} GFLOPs, over the limit of {self.limit:.4g}")
        score = self._train(trial, task, seeds)
        told = ", ".join(f"{key.split('.')[-1]}={_short(value)}" for key, value in drawn.items())
        shown = "diverged" if math.isinf(score) else of_metric(score, self.metric, 2)
        print(f"trial {trial.number}: {shown} at {operations:.4g} GFLOPs ({told})", flush=True)
        return score if self.plan.one_objective else (score, operations)

    def prepared(self, params: DictConfig) -> Task:
        """The task with a trial's settings, with taps chosen as in `select_layers` and with trained probes."""
        shared, number = self.plan.folder, params.select.taps
        resonance: Any = OmegaConf.to_container(params.resonance)
        task = replace(
            self.task,
            resonance=resonance,
            train=TrainOptions(**params.train),
            probes=shared / "probes" / params.train.augmentation,
        )
        shared.mkdir(parents=True, exist_ok=True)
        taps = shared / f"taps-{number}.json"
        with FileLock(shared / ".prepared.lock"):  # one worker builds the shared files, the others wait
            for seed in self.plan.options.seeds:
                out = task.probes / f"seed-{seed}"
                if not is_trained(out):
                    ARMS[BASELINE].train(task, Run(seed, out, shared))
            if not taps.exists():
                chosen_layers(params, replace(task, resonance=self.task.resonance)).write(taps)
        return replace(task, taps=list(json.loads(taps.read_text())["chosen"]))

    def _train(self, trial: optuna.Trial, task: Task, seeds: Sequence[int]) -> float:
        work = self.plan.folder / "trials" / f"{trial.number}"
        first = pruned_by(task.trainer, trial, self.metric) if self.plan.options.pruner is not None else None
        try:
            tried = run_trial(task, seeds, work, first=first)
        except optuna.TrialPruned:
            trial.set_user_attr(SECONDS, 0.0)
            self._record(trial, "PRUNED")
            print(f"trial {trial.number}: ended early", flush=True)
            raise
        except FloatingPointError as error:  # a diverged training is a valid result of a trial
            trial.set_constraint(FINITE, 1.0)
            trial.set_user_attr(SECONDS, 0.0)
            self._record(trial, "COMPLETE", {names.COST_GFLOPS: trial.user_attrs[COST]})
            print(f"trial {trial.number}: {error}", flush=True)
            return self.metric.oriented(-math.inf)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        trial.set_constraint(FINITE, 0.0)
        trial.set_user_attr(SECONDS, tried.seconds)
        metrics = {
            self.metric.on_validation: tried.score,
            names.COST_GFLOPS: trial.user_attrs[COST],
            names.COST_TRAINED_PARAMETERS: trial.user_attrs[LIVE],
            names.COST_TRAIN_SECONDS: tried.seconds,
        }
        self._record(trial, "COMPLETE", metrics, {names.by_epoch(self.metric.on_validation): tried.curve})
        return tried.score

    def _record(self, trial: optuna.Trial, state: str, metrics: Any = None, curves: Any = None) -> None:
        """Record the trial in MLflow; if that fails, the end of the sweep records it from the study."""
        tracking = self.plan.base.tracking
        record = TrialRecord(trial.number, state, trial.params, metrics or {}, curves or {})
        try:
            record_trial(
                tracking.experiment,
                self.plan.study,
                record,
                uri=tracking_uri(tracking.uri),
                subject=f"{subject(self.plan.base)}/{EXPLICIT}",
            )
        except TrackingError as error:
            print(f"warning: trial {trial.number} is not in MLflow yet: {error}", file=sys.stderr, flush=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str]) -> int:
    """Run trials until enough are finished or running."""
    if asked(arguments) or len(arguments) < 2 or not all(number.isdigit() for number in arguments[:2]):
        print(WORKER, end="")
        return 0 if asked(arguments) else 1
    number, parent = int(arguments[0]), int(arguments[1])
    interrupt_on_sigterm()
    try:
        plan = read_plan(arguments[2:])
        pruner = instantiate(plan.options.pruner) if plan.options.pruner is not None else None
        study = open_study(
            open_storage(plan.storage),
            plan.study,
            plan.metric,
            one_objective=plan.one_objective,
            of=plan.mark,
            seed=(plan.options.seed, number),
            pruner=pruner,
        )
        trials = Trials(plan)
        while os.getppid() == parent and wanted(study, plan.options.n_trials) > 0:
            if (lost := run_one(study, trials)) is not None:
                print(f"trial {lost}: ended by another process, which took this one for dead", flush=True)
            requeue_dead(study)
    except KeyboardInterrupt:
        return 130
    except EXPECTED as error:
        if os.environ.get("DYNAXX_TRACEBACK"):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
