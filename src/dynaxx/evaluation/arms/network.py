"""Training of the arms that change the backbone itself: LoRA and full fine-tuning."""

from collections.abc import Callable

from torch import nn

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.linear import Start, concatenated, probe, start_head
from dynaxx.evaluation.arms.recipe import fit_arm, image_data
from dynaxx.evaluation.arms.record import ArmRecord, save_backbone
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.training.distributed import rank_zero
from dynaxx.training.finetune_module import FinetuneModule


def initial_network(task: Task, seed: int) -> tuple[nn.Module, Start]:
    """The network to be tuned, and how its head starts.

    It is the backbone itself where its own head gives the task's answers. Else it is a linear reading: a new head in
    the classifier's place, or, where every position has an answer, one on all tapped layers. This head starts as the
    fitted reading of the same seed.

    >>> network, start = initial_network(task, seed=0)  # doctest: +SKIP
    """
    if task.head != "probe":
        return task.backbone(), Start()
    model = concatenated(task, seed) if task.kind.probe_readout == "map" else probe(task, seed)
    return model, start_head(task, seed, model)


def backbone_of(network: nn.Module) -> nn.Module:
    """The backbone inside of what `initial_network` returns."""
    return network.backbone if isinstance(network, ResonantModel) else network


def train_network(
    task: Task,
    run: Run,
    network: nn.Module,
    *,
    arm: str,
    freeze_norm: bool,
    start: Start,
    finish: Callable[[], object] = lambda: None,
    notes: Notes | None = None,
) -> None:
    """Train all parameters of `network` that require gradients, and save the whole network.

    >>> network, start = initial_network(task, run.seed)
    >>> train_network(task, run, network, arm="full_finetune", freeze_norm=False, start=start)
    >>> ArmRecord.read(run.out).kind
    'resonance'

    Args:
        freeze_norm: whether the batch norms of the network keep their running statistics.
        start: how its head starts.
        finish: what is done to the trained network before it is saved, for example merging adapters.
    """
    budget, (kind, judge) = task.train, task.kinds(run.seed)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    module = FinetuneModule(
        network,
        kind,
        judge=judge,
        lr=budget.lr,
        weight_decay=budget.weight_decay,
        freeze_norm=freeze_norm,
        head_penalty=start.penalty,
    )
    score, seconds = fit_arm(task, run, module, image_data(task, run.seed))
    if not rank_zero():
        return
    finish()
    run.out.mkdir(parents=True, exist_ok=True)
    save_backbone(run.out, backbone_of(network))
    saved_as = "network"
    if isinstance(network, ResonantModel):
        network.save_pretrained(run.out)
        saved_as = "resonance"
    seconds += start.seconds
    ArmRecord(arm, run.seed, saved_as, [], trained, trained, seconds, score, notes or {}).write(run.out)
