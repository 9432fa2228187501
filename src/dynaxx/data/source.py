"""The interface of a source of images, such as a folder or a torchvision data set."""

from typing import Protocol

from dynaxx.data.images import LabelledImages


class Source(Protocol):
    """A data set with a training part and a test part of the same classes.

    `classes()` and `train()` never open a test image. A source of files has three members more, see `ImageFolder`:
    `skipped`, `links()` and `copies()`.

    >>> source: Source = Digits()
    >>> source.classes()[:3]
    ('0', '1', '2')
    """

    def train(self) -> LabelledImages:
        """The training images."""
        ...

    def test(self) -> LabelledImages:
        """The test images."""
        ...

    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        ...
