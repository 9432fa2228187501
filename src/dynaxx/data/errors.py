"""The error class of the data package."""


class DataError(ValueError):
    """Data that cannot be used; the message is one line with the problem and its remedy."""


def one_line(error: BaseException) -> str:
    """The message of another library's error on one line, or the name of the error's class if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__
