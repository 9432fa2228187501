"""The one error class of the services package."""


class ServicesError(RuntimeError):
    """A server cannot be started: one line that says which, why, and what would do."""
