"""The error class of the search package."""


class SearchError(ValueError):
    """A search that cannot be run as configured; the message is one line with argument, value and remedy."""
