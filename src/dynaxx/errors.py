"""What the core raises and warns with."""


class ResonanceError(ValueError):
    """Bad input to the resonance core: one line that names the argument, its value and what would do."""


class ResonanceWarning(UserWarning):
    """Something legal that is rarely meant, for example training on anchors that were never standardised."""
