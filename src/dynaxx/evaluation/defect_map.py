"""The disagreement of a model's layers as a network: images to maps of evidence, above 0 where a place is unusual."""

from collections.abc import Sequence

from torch import Tensor, nn

from dynaxx import Anchors, ResonantModel


class DefectMap(nn.Module):
    """Evidence (B, 1, H, W) less the threshold, from a model whose disagreement is fitted.

    >>> DefectMap(model)(images).shape  # doctest: +SKIP
    torch.Size([8, 1, 224, 224])

    Args:
        model: the model.
    """

    def __init__(self, model: ResonantModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor | Anchors, size: Sequence[int] | None = None) -> Tensor:
        """The map of each image; from cached anchors, on their grid or of the given size."""
        found = self.model.disagreement(x, size)
        return found.places - found.threshold
