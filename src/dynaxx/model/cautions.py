"""What a model warns of: passes that learn nothing or iterate in vain."""

import warnings
from collections.abc import Mapping
from typing import Any

from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceWarning
from dynaxx.model.losses import reached
from dynaxx.resonance import Resonator


def warn_of_no_loop(config: ResonanceConfig, options: Mapping[str, Any], training: bool) -> None:
    """Warn if an option of the loop is overridden where none runs."""
    if config.way(training) != "loop" and (idle := [name for name in options if name != "mode"]):
        warnings.warn(
            f"override({idle[0]}={options[idle[0]]!r}): mode={config.mode!r} runs no loop, so {idle[0]} changes "
            "nothing; override mode='explicit', too",
            ResonanceWarning,
            stacklevel=4,
        )


def warn_of_pruned_couplings(resonator: Resonator | None, T: int) -> None:
    """Warn if couplings that later iterations need were never made."""
    missing = 0 if resonator is None else resonator.exchange.pruned
    if T > 1 and missing:
        warnings.warn(
            f"T={T}: the model was built with T=1, for which {missing} couplings were pruned, so iterating has no "
            "feedback; wrap again with T=2 or more",
            ResonanceWarning,
            stacklevel=4,
        )


def warn_without_statistics(resonator: Resonator) -> None:
    """Warn if the anchors are not standardised."""
    if not bool(resonator.exchange.statistics.get_buffer("fitted")):
        warnings.warn(
            "training on anchors that were not standardised; call fit_statistics(batches) first",
            ResonanceWarning,
            stacklevel=3,
        )


def warn_of_lost_gradients(output: Any, resonator: Resonator, last: str) -> None:
    """Warn if no gradient of the output reaches the parameters; `last` is the path of the last tap."""
    parameters = [parameter for parameter in resonator.parameters() if parameter.requires_grad]
    if parameters and not reached(output, parameters):
        warnings.warn(
            "no gradient of the output reaches the couplings, so they cannot learn from it: the backbone detaches "
            f"what lies behind {last!r}",
            ResonanceWarning,
            stacklevel=4,
        )
