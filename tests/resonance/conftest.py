"""Small networks that the tests of the core wrap."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the naive reference lies beside the tests


@pytest.fixture
def plain():
    """The hand-written network."""
    from support.nets import Plain

    return Plain().eval()
