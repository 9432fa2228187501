"""A tap: one layer of the user's network, as a first pass finds it."""

from dataclasses import dataclass

from dynaxx.config import TOKENS


@dataclass(frozen=True)
class Tap:
    """One tap, as a first forward pass finds it.

    Attributes:
        path: module path.
        channels: C_l.
        layout: axes of the activation in the network; see `config.MAPS`.
        overwritten: whether a later in-place operation changes the activation, so that it must be copied.
        nested: whether the layer returns a tuple, whose first item is the activation.
        causal: whether a token depends only on itself and the tokens before it.
        prefix: number of leading tokens without a position.
        output: whether the rest of the network reads it; the last tap is always read.
        pooled: whether these are tokens beside maps that do not lie on the grid, so that their mean is a point.
    """

    path: str
    channels: int
    layout: str
    overwritten: bool = False
    nested: bool = False
    causal: bool = False
    prefix: int = 0
    output: bool = False
    pooled: bool = False

    @property
    def point(self) -> bool:
        """Whether it has no positions on the grid."""
        return self.pooled or self.layout == "BC"

    @property
    def dims(self) -> int:
        """Spatial axes of a map; 0 for tokens."""
        return 0 if self.layout in TOKENS else max(len(self.layout) - 2, 2)
