"""Lines to trace from a click at their end: made images whose difficulty is a dial, the length of the lines."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch

from dynaxx.data.clicked_masks import RADIUS
from dynaxx.data.errors import DataError, check_whole
from dynaxx.data.images import LabelledImages

CELL = 4
"""Pixels of a step: lines run along cells, and other lines keep a cell away."""
ATTEMPTS = 500
"""Starts of one line before there is no room for it."""
LAYOUTS = 20
"""Images that are begun anew before there is no room for their lines."""
STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))

Cells = list[tuple[int, int]]


@dataclass(frozen=True)
class TracedLines:
    """Images of lines that wind and do not touch, each with a click at the end of one, which is to be traced.

    All lines look alike, so only the click says which it is: what is said at one end has to get to the other. Images
    depend on `seed` alone.

    >>> source = TracedLines(length=8, images=20)
    >>> source.train().images.shape, source.train().sources["click"].shape
    (torch.Size([20, 3, 128, 128]), torch.Size([20, 1, 128, 128]))

    Raises:
        DataError: at construction for an option out of range; in the methods where there is no room for the lines.
    """

    kind: ClassVar[str] = "masks"

    length: int = 16
    """Number of steps of 4 pixels of each line."""
    shortest: int | None = None
    """Number of steps of the shortest lines: each image draws how long its lines are, up to `length`. None: all lines
    are of that length."""
    lines: int = 4
    """Number of lines of an image, one of which is clicked at."""
    image_size: int = 128
    """Height and width in pixels."""
    images: int = 320
    """Number of images to train on, and as many to test on."""
    noise: float = 20.0
    """Standard deviation of the pixels' noise; lines are 160 brighter than what is around them."""
    seed: int = 0
    """Seed of the images."""

    def __post_init__(self) -> None:
        check_whole(self, length=1, lines=1, image_size=4 * CELL, images=1, seed=0)
        if self.shortest is not None:
            check_whole(self, shortest=1)
            if self.shortest > self.length:
                raise DataError(f"data.shortest={self.shortest}: give at most data.length={self.length}, or null")
        if not 0 <= self.noise < 1000:
            raise DataError(f"data.noise={self.noise!r}: give a number from 0 to 1000")

    def classes(self) -> tuple[str, ...]:
        """Background and line."""
        return "background", "line"

    def train(self) -> LabelledImages:
        """The images to train on."""
        return self._part(0)

    def test(self) -> LabelledImages:
        """The images to test on."""
        return self._part(1)

    def _part(self, which: int) -> LabelledImages:
        made = [self._image(np.random.default_rng([self.seed, which, number])) for number in range(self.images)]
        images, clicks, masks = (torch.from_numpy(np.stack(parts)) for parts in zip(*made, strict=True))
        return LabelledImages(
            images[:, None].repeat(1, 3, 1, 1), masks, self.classes(), sources={"click": clicks[:, None]}
        )

    def _image(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, click and mask of one image, uint8 (H, W)."""
        length = self.length if self.shortest is None else int(random.integers(self.shortest, self.length + 1))
        drawn = self._lines(length, random)
        lines = [_pixels(cells, self.image_size) for cells in drawn]
        bright = 40 + 160 * np.any(lines, axis=0) + self.noise * random.standard_normal((self.image_size,) * 2)
        end = [_centre(number) for number in drawn[0][0]]
        rows, columns = np.ogrid[: self.image_size, : self.image_size]
        click = (rows - end[0]) ** 2 + (columns - end[1]) ** 2 <= RADIUS**2
        return np.clip(bright, 0, 255).astype(np.uint8), click.astype(np.uint8), lines[0].astype(np.uint8)

    def _lines(self, length: int, random: np.random.Generator) -> list[Cells]:
        """Cells of all lines of an image, of `length` steps each."""
        for _ in range(LAYOUTS):
            free = np.ones((self.image_size // CELL,) * 2, bool)
            drawn: list[Cells] = []
            while len(drawn) < self.lines and (line := self._line(length, free, random)):
                drawn.append(line)
                for row, column in line:
                    free[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = False
            if len(drawn) == self.lines:
                return drawn
        raise DataError(
            f"data.length={self.length}: no room for {self.lines} such lines on {self.image_size} x {self.image_size} "
            "pixels; give shorter or fewer lines, or a larger data.image_size"
        )

    def _line(self, length: int, free: np.ndarray, random: np.random.Generator) -> Cells:
        """Cells of a line of `length` steps through free cells that never comes back to itself; none without room."""
        starts = np.argwhere(free)
        for _ in range(ATTEMPTS if len(starts) else 0):
            cells: Cells = [tuple(starts[random.integers(len(starts))].tolist())]
            while len(cells) <= length:
                open_cells = [cell for cell in _around(cells[-1]) if _may_take(cell, cells, free)]
                if not open_cells:
                    break
                cells.append(open_cells[random.integers(len(open_cells))])
            if len(cells) > length:
                return cells
        return []


def _around(cell: tuple[int, int]) -> Cells:
    return [(cell[0] + down, cell[1] + right) for down, right in STEPS]


def _may_take(cell: tuple[int, int], cells: Cells, free: np.ndarray) -> bool:
    """Whether a line may go on to a cell: it is free, and no cell of the line but the last two is next to it."""
    if not all(0 <= number < size for number, size in zip(cell, free.shape, strict=True)) or not free[cell]:
        return False
    return all(max(abs(cell[0] - row), abs(cell[1] - column)) > 1 for row, column in cells[:-2])


def _pixels(cells: Cells, size: int) -> np.ndarray:
    """The pixels of a line two wide, bool (H, W)."""
    mask = np.zeros((size, size), bool)
    for one, other in pairwise(cells):
        (top, bottom), (left, right) = (sorted(map(_centre, ends)) for ends in zip(one, other, strict=True))
        mask[top - 1 : bottom + 1, left - 1 : right + 1] = True
    return mask


def _centre(number: int) -> int:
    return CELL * number + CELL // 2
