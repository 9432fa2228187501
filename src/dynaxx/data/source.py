"""What a source of images is."""

from typing import Protocol

from dynaxx.data.images import LabelledImages


class Source(Protocol):
    """A data set with a training and a test part of the same classes.

    `classes()` and `train()` never open a test image. A source that leaves files out also has `skipped`,
    their names.
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
