"""The error class of the services package."""


class ServicesError(RuntimeError):
    """A server that cannot be started; the message is one line with server, cause and remedy."""
