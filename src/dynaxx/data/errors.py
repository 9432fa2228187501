"""The error class of the data package, and the parts of its messages."""

from collections import Counter
from collections.abc import Mapping, Sequence


class DataError(ValueError):
    """Data that cannot be used; the message is one line with the problem and its remedy."""


def one_line(error: BaseException) -> str:
    """The message of another library's error on one line, or the name of the error's class if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def check_whole(source: object, **least: int) -> None:
    """Check that attributes of a source are whole numbers, each of at least the given number.

    >>> check_whole(TracedLines(length=8), length=1, seed=0)

    Raises:
        DataError: one is not; the message names the option of the section `data`.
    """
    for name, smallest in least.items():
        value = getattr(source, name)
        if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value < 2**32:
            raise DataError(f"data.{name}={value!r}: give a whole number of at least {smallest}")


def few(names: Sequence[str], shown: int = 5) -> str:
    """The first names of many.

    >>> few(["a.png", "b.png", "c.png"], shown=2)
    'a.png, b.png and 1 more'
    """
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest:,} more" if rest > 0 else "")


def count_reasons(left_out: Mapping[str, str]) -> str:
    """How many files were left out for which reason; what stands behind a colon is a detail of one file.

    >>> count_reasons({"a.txt": "of suffix .txt", "b.txt": "of suffix .txt", "c.png": "unreadable: no image"})
    '2 of suffix .txt, 1 unreadable'
    """
    counts = Counter(reason.split(": ")[0] for reason in left_out.values())
    return few([f"{count:,} {reason}" for reason, count in counts.most_common()])
