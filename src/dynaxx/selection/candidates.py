"""The layers of a backbone that resonance can couple."""

from torch import Tensor, nn

from dynaxx import ResonanceError, stages


def candidates(backbone: nn.Module, example: Tensor) -> list[str]:
    """Module paths of the candidate layers in depth order: stages or blocks, without stem and classifier.

    >>> candidates(torchvision.models.resnet18(), torch.zeros(1, 3, 224, 224))
    ['layer1', 'layer2', 'layer3', 'layer4']

    Raises:
        ResonanceError: the backbone has fewer than two candidates.
    """
    found = stages(backbone, ((example,), {}))
    if len(found) < 2:
        raise ResonanceError(
            f"layers='auto': {len(found)} layers of {type(backbone).__name__} can be coupled, two are needed; "
            "name module paths in select.layers"
        )
    return found
