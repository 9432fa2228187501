"""Two answers to one input, for those who must be able to show the first untouched."""

from typing import Any, NamedTuple


class Posthoc(NamedTuple):
    """What `ResonantModel.posthoc` returns."""

    own: Any
    """The backbone's own output, its own head included: bit for bit what it gave before it was wrapped, as long as
    it is frozen; after `unfreeze_backbone` it is what training made of it."""
    refined: Any
    """The resonant model's output for the same input."""
