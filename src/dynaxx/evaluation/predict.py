"""What a model answers for samples, in batches."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynaxx.data import Normalisation, batch_size, normalise


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Outputs of N normalised images, float32 (N, …), computed on the model's device and moved to the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model(batch.to(device)).float().cpu() for batch in images.split(batch_size(images))])


@torch.no_grad()
def outputs(
    model: nn.Module,
    images: Tensor,
    normalisation: Normalisation,
    sources: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Outputs of N raw images, float32 (N, …) on the CPU; only one batch is held as floats at a time.

    >>> outputs(model, torch.zeros(4, 3, 32, 32, dtype=torch.uint8), normalisation).shape
    torch.Size([4, 10])

    Args:
        model: model in eval mode.
        images: pixels, uint8 (N, C, H, W).
        normalisation: mean and standard deviation per channel.
        sources: name → what is given with each image, such as a click, (N, …); for models that have sources.
    """
    device = next(model.parameters()).device
    found = []
    for number in torch.arange(len(images)).split(batch_size(images)):
        given = {name: values[number].to(device, torch.float32) for name, values in (sources or {}).items()}
        x = normalise(images[number], normalisation).to(device)
        found.append((model(x, sources=given) if given else model(x)).float().cpu())
    return torch.cat(found)
