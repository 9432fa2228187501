"""The arm `lora`: low-rank updates of the backbone's layers (peft), with about as many parameters as `explicit`."""

from typing import Any

from torch import nn

from dynaxx import ResonantModel
from dynaxx.backbone import find_classifier
from dynaxx.evaluation.arms.matching import explicit_parameters, warn_of_another_size
from dynaxx.evaluation.arms.network import backbone_of, initial_network, train_network
from dynaxx.evaluation.arms.task import Run, Task


def train(task: Task, run: Run) -> None:
    """Train adapters and head; the saved network has the adapters merged, so the adapters add no latency."""
    network, start = initial_network(task, run.seed)
    head = network.head if isinstance(network, ResonantModel) else None
    head_parameters = 0 if head is None else sum(parameter.numel() for parameter in head.parameters())
    target = explicit_parameters(task, run.seed)
    adapted, rank = adapt(backbone_of(network), target - head_parameters)
    warn_of_another_size(sum(p.numel() for p in network.parameters() if p.requires_grad), target)
    train_network(
        task,
        run,
        network,
        arm="lora",
        freeze_norm=True,
        start=start,
        finish=adapted.merge_and_unload,
        notes={"rank": rank},
    )


def adapt(network: nn.Module, parameters: int) -> tuple[Any, int]:
    """Add LoRA adapters to all dense layers except the classifier, at the rank with about `parameters` parameters.

    >>> adapt(torchvision.models.resnet18(), 100_000)[1]
    3

    Args:
        network: network to adapt; changed in place, its own weights are frozen.
        parameters: number of parameters of all adapters together.

    Returns:
        (network with adapters, rank)
    """
    from peft import LoraConfig, get_peft_model

    layers = dense_layers(network)
    rank = nearest_rank(network, layers, parameters)
    return get_peft_model(network, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers)), rank


def dense_layers(network: nn.Module) -> list[str]:
    """Paths of all dense convolutions, attentions and linear layers, except the classifier.

    >>> dense_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4)))
    ['0']

    LoRA in peft has no rank below the number of groups, so depthwise convolutions are left out. `nn.MultiheadAttention`
    reads the weights of its linear layers without calling these layers, so the whole attention is adapted.
    """
    classifier, _ = find_classifier(network, None)
    attentions = [path for path, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)]
    return attentions + [
        path
        for path, module in network.named_modules()
        if (
            isinstance(module, nn.Linear)
            and path != classifier
            and not path.startswith(tuple(f"{a}." for a in attentions))
        )
        or (isinstance(module, nn.Conv2d) and module.groups == 1)
    ]


def nearest_rank(network: nn.Module, layers: list[str], parameters: int) -> int:
    """The rank, at least 1, at which adapters on `layers` have closest to `parameters` parameters in total."""
    return max(1, round(parameters / sum(adapter_size(network.get_submodule(path)) for path in layers)))


def adapter_size(module: nn.Module) -> int:
    """Parameters of a rank-1 adapter: inputs (times kernel) plus outputs; an attention counts both its layers."""
    if isinstance(module, nn.MultiheadAttention):
        weights = [module.get_parameter("in_proj_weight"), module.out_proj.weight]
    else:
        weights = [module.get_parameter("weight")]
    return sum(weight[0].numel() + len(weight) for weight in weights)
