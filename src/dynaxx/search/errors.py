"""The one error class of the search package."""


class SearchError(ValueError):
    """A search that cannot be run as asked: one line that names the argument, its value and what would do."""
