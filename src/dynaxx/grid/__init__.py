"""Where messages live: the taps of a network, and the grid on which all of them have the same positions.

`tap` describes one tapped layer, `pooling` takes its activation to the grid and back, and `standardise` brings it to
mean 0 and deviation 1. The formula knows no more of a network than this.
"""

from dynaxx.grid.pooling import (
    Grid as Grid,
    from_grid as from_grid,
    on_grid as on_grid,
    running_mean as running_mean,
    to_grid as to_grid,
)
from dynaxx.grid.standardise import Standardise as Standardise
from dynaxx.grid.tap import Tap as Tap
