"""The one error class of the evaluation package."""


class EvaluationError(ValueError):
    """An evaluation was asked for something that its data cannot answer. The message names the argument."""
