"""Losses: those beside the task's own, for the loop, its gates and its student; and Hugging Face's, with a new head."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.resonance import ResonanceOutput


def extra_losses(
    outputs: Sequence[ResonanceOutput], config: ResonanceConfig, *, weight: float = 1.0, share: float = 1.0
) -> dict[str, Tensor]:
    """The losses of these passes by name, each the sum over the passes: `residual` and `extra`, where there are any.

    >>> with model.observed() as outputs:
    ...     loss = cross_entropy(model(x), y)
    >>> extra_losses(outputs, model.config).keys()
    dict_keys(['residual'])

    `residual` is, with `stability="regularized"`, the mean over samples and taps of the relative residual at the loop's
    end. `extra` trains the gates' critic (`gate="mutual_information"`) and the student (`mode="hybrid"`); nothing else
    receives its gradient, so its weight weighs against nothing.

    Args:
        outputs: the outputs of the passes, from `ResonantModel.observed`.
        config: the options of the model.
        weight: factor of `residual`; 0 leaves it out.
        share: share of each batch on which the residual is computed, which costs this share of one iteration.

    Raises:
        ResonanceError: no outputs, or a weight or share out of range.
    """
    if not 0 < share <= 1 or not weight >= 0:
        raise ResonanceError(f"weight={weight!r}, share={share!r}: give a weight of at least 0 and a share in (0, 1]")
    if not outputs:
        raise ResonanceError(
            "outputs: no pass was observed; call the model within `with model.observed() as outputs:`, and eagerly: a "
            "compiled graph returns no outputs"
        )
    found: dict[str, list[Tensor]] = {"residual": [], "extra": []}
    for output in outputs:
        samples = len(output.delta[0])
        if weight > 0 and samples and config.stability == "regularized" and output.residual is not None:
            found["residual"].append(weight * output.residual(max(1, round(share * samples))).mean())
        if output.extra_loss is not None:
            found["extra"].append(output.extra_loss)
    return {name: torch.stack(losses).sum() for name, losses in found.items() if losses}


def reached(output: Any, parameters: Iterable[nn.Parameter]) -> bool:
    """Whether the gradient of any tensor in `output` reaches any of these parameters.

    >>> weight, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    >>> reached({"out": weight * 2}, [weight]), reached({"out": weight * 2}, [other])
    (True, False)
    """
    wanted = {id(parameter) for parameter in parameters}
    todo = [leaf.grad_fn for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if id(getattr(node, "variable", None)) in wanted:
            return True
        seen.add(node)
        todo += [before for before, _ in node.next_functions]
    return False


def computes_its_loss(backbone: nn.Module) -> bool:
    """Whether the network is one of Hugging Face's, which computes a loss for its own number of classes."""
    return hasattr(getattr(backbone, "config", None), "num_labels")


def with_loss(output: Any, labels: Tensor, backbone: nn.Module, causal: bool) -> Any:
    """The output of a Hugging Face model with the loss of a new head's logits, as the model would compute it.

    >>> output = (torch.zeros(2, 4),)
    >>> with_loss(output, torch.tensor([0, 3]), network, causal=False)[0]
    tensor(1.3863)

    Whole numbers as labels give the cross-entropy of sequences or tokens (-100 is left out). Others, of the logits'
    shape, give the squared error for one output, and the binary cross-entropy for several.

    Raises:
        ResonanceError: labels of another shape or range, or a causal language model, which compares with later tokens.
    """
    logits: Tensor = output[0] if isinstance(output, tuple) else output.logits
    if causal and getattr(backbone, "get_output_embeddings", lambda: None)() is not None:
        raise ResonanceError(
            "labels: the loss of a language model with a new head is not known; leave them out, and compute it from "
            "the logits"
        )
    where = f"labels: {tuple(labels.shape)} beside logits {tuple(logits.shape)} of the new head"
    labels, classes = labels.to(logits.device), logits.shape[-1]
    if labels.is_floating_point() or classes == 1:
        if labels.numel() != logits.numel():
            raise ResonanceError(f"{where}: give one number for each logit")
        target = labels.reshape(logits.shape).to(logits.dtype)
        loss = F.mse_loss(logits, target) if classes == 1 else F.binary_cross_entropy_with_logits(logits, target)
    else:
        if labels.numel() * classes != logits.numel():
            raise ResonanceError(f"{where}: give one label for each row of logits")
        loss = F.cross_entropy(logits.reshape(-1, classes), labels.reshape(-1))
    return (loss, *output) if isinstance(output, tuple) else dataclasses.replace(output, loss=loss)
