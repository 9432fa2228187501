"""Pictures that show images beside their feature maps and pixel attributions."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.evaluation.inside.pictures import heat, photograph, tiled
from dynaxx.evaluation.predict import AnchorSource
from dynaxx.model import states_of


def feature_maps(model: ResonantModel, anchors: AnchorSource, originals: Tensor) -> Tensor | None:
    """One row per image: the image, then each receiving layer's activation before and after the loop, and the change.

    >>> feature_maps(model, live(images[:2]), originals[:2]).shape  # three taps: ten tiles of 64 pixels per row
    torch.Size([132, 676, 3])

    Each position shows the norm of its activation over channels. The activations before and after the loop share one
    colour scale; the change has its own. Returns None if the tapped activations have no height and width.

    Args:
        anchors: function that gives the anchors of test images.
        originals: these images as uint8, (N, C, H, W).
    """
    batches = [states_of(model, batch) for batch in anchors(model)]
    if any(len(state.grid) != 2 for state in batches[0]):
        return None
    of_image = [(states, number) for states in batches for number in range(len(states[0].before))]
    rows = []
    for original, (states, number) in zip(originals, of_image, strict=True):
        row = [photograph(original)]
        for state in states:
            before, after = state.before[number].float().cpu(), state.after[number].float().cpu()
            shown = [x.norm(dim=1).view(*state.grid) for x in (before, after)]
            change = (after - before).norm(dim=1).view(*state.grid)
            scale = float(torch.stack(shown).max())
            row += [*(heat(x, scale) for x in shown), heat(change, float(change.max()))]
        rows.append(row)
    return tiled(rows)


def attribution_maps(maps: Mapping[str, Tensor], originals: Tensor) -> Tensor:
    """One row per image: the image and the attributions of each model, red for and blue against the prediction.

    >>> attribution_maps({"explicit": torch.zeros(2, 32, 32)}, torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([132, 132, 3])

    Args:
        maps: name of the model → pixel attributions (N, H, W).
        originals: the attributed images as uint8, (N, C, H, W).
    """
    return tiled(
        [
            [
                photograph(original),
                *(heat(of[number], float(of[number].abs().quantile(0.99))) for of in maps.values()),
            ]
            for number, original in enumerate(originals)
        ]
    )
