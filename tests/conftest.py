"""What every test starts from: one torch thread a worker (pytest-xdist runs several), and a fixed seed."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile("dynaxx", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("dynaxx")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest chains of tests begin first; the sweep's wait for the smoke pipeline, and begin when it has run."""

    def place(item: pytest.Item) -> int:
        group = item.get_closest_marker("xdist_group")
        if group is not None and group.args[0] in ("pipeline", "sweep"):
            return 0 if group.args[0] == "pipeline" else 2
        return 1 if item.get_closest_marker("slow") else 3

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder.parent.name}/{folder.name} is not beside the project")
    return folder


@pytest.fixture
def plain():
    """The hand-written network."""
    from support.nets import Plain

    return Plain().eval()
