"""The arm `concat_mlp`: an MLP on mean activations of all tapped layers, about equal in size to `explicit`."""

import time

import lightning.pytorch as pl

from dynaxx.backbone import moments
from dynaxx.evaluation.arms.matching import explicit_parameters
from dynaxx.evaluation.arms.models import TapMLP
from dynaxx.evaluation.arms.recipe import fit_arm
from dynaxx.evaluation.arms.record import ArmRecord, save_mlp
from dynaxx.evaluation.arms.resonant import source, wrapped
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.training.cache.batches import CachedData
from dynaxx.training.distributed import rank_zero
from dynaxx.training.finetune_module import FinetuneModule


def train(task: Task, run: Run) -> None:
    """Train the MLP on tapped activations of the same training images as the arm `explicit`."""
    seed = run.seed
    if task.kind.probe_readout == "map":
        raise EvaluationError(
            f"train_arms.arms: concat_mlp reads means, and {task.kind.name} is answered in every position; leave it out"
        )
    reader = wrapped(task, seed, mode="explicit", dynamics="anchored", order="gauss_seidel")
    features = sum(reader.require_built().exchange.channels)
    hidden = max(1, round((explicit_parameters(task, seed) - task.outputs) / (features + 1 + task.outputs)))
    batches = source(task, seed, reader, fit_statistics=False)
    started = time.perf_counter()
    mlp = TapMLP(task.backbone(), reader.paths, features, hidden, task.outputs)
    if isinstance(batches.data, CachedData):
        batches.data.setup("fit")  # building the cache is counted once, below
        started = time.perf_counter()
    batches_of_features = ([mlp.features(x)[:, None]] for x, *_ in batches.data.train_dataloader())
    ((mean, std),) = moments(batches_of_features)
    mlp.inner.standardise(mean, std)
    pl.seed_everything(seed, verbose=False)
    mlp.inner.reset_parameters()  # as if it had been made for standardised features
    read_seconds = time.perf_counter() - started
    budget, (kind, judge) = task.train, task.kinds(seed)
    score, seconds = fit_arm(
        task,
        run,
        FinetuneModule(mlp, kind, judge=judge, lr=budget.lr, weight_decay=budget.weight_decay),
        batches.data,
    )
    if not rank_zero():
        return
    save_mlp(run.out, mlp)
    count = sum(parameter.numel() for parameter in mlp.parameters())
    seconds += batches.seconds + read_seconds
    notes: Notes = {"hidden": hidden}
    ArmRecord("concat_mlp", seed, "mlp", list(reader.paths), count, count, seconds, score, notes).write(run.out)
