"""Small image trees on disk, as a directory and as a .zip of the same files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_tree(tmp_path: Path) -> Path:
    """train/ and test/ of the classes cat and dog, 4 and 2 random PNGs each, 6 x 5 pixels."""
    root = tmp_path / "tree"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("dog", "cat"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def zip_tree(tmp_path: Path) -> Callable[..., Path]:
    """Pack a directory into a .zip, with a folder around it or without."""

    def pack(root: Path, around: str = "") -> Path:
        path = tmp_path / f"packed_{around.strip('/')}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, around + file.relative_to(root).as_posix())
        return path

    return pack


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write files below a folder: text as it is, arrays as images; None removes a file. Returns the folder."""

    def write(files: dict, folder: str = "data") -> Path:
        root = tmp_path / folder
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            elif isinstance(content, str | bytes):
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            else:
                Image.fromarray(content).save(path)
        return root

    return write
