"""Tiles and pictures of the report, and their PNG files.

Shape legend: H and W of a picture in pixels; colours are uint8.
"""

import io
from collections.abc import Sequence

import torch
from torch import Tensor

TILE_GAP = 4
"""White pixels between two tiles."""
TILE_SIDE = 64
"""Minimum length of the longer side of a tile, in pixels."""


def photograph(image_CHW: Tensor) -> Tensor:
    """A uint8 image as a tile (H, W, 3); a number of channels other than 1 or 3 is averaged to grey."""
    if image_CHW.shape[0] not in (1, 3):
        image_CHW = image_CHW.float().mean(0, keepdim=True).round().to(torch.uint8)
    return enlarged(image_CHW.expand(3, -1, -1).permute(1, 2, 0))


def heat(values_HW: Tensor, scale: float) -> Tensor:
    """A map of values as a coloured tile (H, W, 3): white at zero, red towards `scale`, blue towards -`scale`."""
    t = (values_HW.float() / max(scale, 1e-12)).clamp(-1, 1)
    red, blue = torch.tensor([165.0, 15.0, 21.0]), torch.tensor([8.0, 69.0, 148.0])
    end = torch.where((t > 0)[..., None], red, blue)
    return enlarged((255 + t.abs()[..., None] * (end - 255)).round().to(torch.uint8))


def enlarged(tile: Tensor) -> Tensor:
    """Enlarge a tile by repeating pixels until the longer side has at least `TILE_SIDE` pixels."""
    times = -(-TILE_SIDE // max(tile.shape[:2]))
    return tile.repeat_interleave(times, 0).repeat_interleave(times, 1)


def tiled(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Arrange rows of tiles in one picture, `TILE_GAP` apart; each row and column fits its largest tile."""
    heights = [max(tile.shape[0] for tile in row) for row in rows]
    widths = [max(row[n].shape[1] for row in rows) for n in range(len(rows[0]))]
    picture = torch.full(
        (sum(heights) + TILE_GAP * (len(rows) - 1), sum(widths) + TILE_GAP * (len(widths) - 1), 3),
        255,
        dtype=torch.uint8,
    )
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            top, left = sum(heights[:i]) + TILE_GAP * i, sum(widths[:j]) + TILE_GAP * j
            picture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return picture


def png(picture: Tensor) -> bytes:
    """The picture (H, W, 3) as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.contiguous().numpy()).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
