"""The one error class of the evaluation package."""


class EvaluationError(ValueError):
    """Data or an argument does not fit the evaluation. The message names the argument."""
