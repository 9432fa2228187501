"""Images that occur twice: in training and test, or in training with two labels."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from dynaxx.data.archive import Files
from dynaxx.data.images import LabelledImages


def same_pixels(train_NCHW: Tensor, test_NCHW: Tensor) -> dict[int, int]:
    """Number of a test image -> number of the first training image with the same pixels.

    >>> same_pixels(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    {0: 0}
    """
    first: dict[bytes, int] = {}
    for number, digest in enumerate(_digests(train_NCHW)):
        first.setdefault(digest, number)
    return {number: first[digest] for number, digest in enumerate(_digests(test_NCHW)) if digest in first}


def contradictions(data: LabelledImages) -> list[tuple[int, int]]:
    """Numbers of images that have the pixels and sources of an earlier image and another label: (earlier, later).

    >>> images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    >>> contradictions(LabelledImages(images, torch.tensor([0, 1]), ("cat", "dog")))
    [(0, 1)]
    """
    first: dict[bytes, int] = {}
    labels, found = _labels(data), []
    inputs = zip(_digests(data.images), *map(_digests, data.sources.values()), strict=True)
    for number, digests in enumerate(map(b"".join, inputs)):
        earlier = first.setdefault(digests, number)
        if labels[earlier] != labels[number]:
            found.append((earlier, number))
    return found


def _labels(data: LabelledImages) -> list:
    """What tells one label from another."""
    return list(_digests(data.labels)) if data.kind == "masks" else data.labels.tolist()


def same_bytes(files: Files, train: Sequence[str], test: Sequence[str]) -> dict[str, str]:
    """Test file -> first training file with the same bytes; nothing is decoded.

    >>> same_bytes(files, ["train/cat/0.png"], ["test/cat/0.png", "test/cat/1.png"])
    {'test/cat/1.png': 'train/cat/0.png'}
    """
    sizes = set(map(files.size, train)) & set(map(files.size, test))
    first: dict[bytes, str] = {}
    for name, digest in _file_digests(files, train, sizes):
        first.setdefault(digest, name)
    return {name: first[digest] for name, digest in _file_digests(files, test, sizes) if digest in first}


def _digests(images_NCHW: Tensor) -> Iterator[bytes]:
    return (hashlib.sha256(image.contiguous().numpy().data).digest() for image in images_NCHW)


def _file_digests(files: Files, names: Iterable[str], sizes: set[int]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if files.size(name) in sizes:
            try:
                content = files.read(name)
            except Exception:  # whoever decodes the file will say what is wrong with it
                continue
            yield name, hashlib.sha256(content).digest()
