"""The one error class of the evaluation package."""


class EvaluationError(ValueError):
    """Input data or an argument is not valid for the evaluation; the message names it."""
