"""The one error class of the data package."""


class DataError(ValueError):
    """Data that cannot be used: the message is one line that names what is wrong and what would do."""


def one_line(error: BaseException) -> str:
    """A foreign error's message on one line, or its class name where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
