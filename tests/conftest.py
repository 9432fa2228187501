"""What every test starts from: one torch thread a worker (pytest-xdist runs several), and a fixed seed."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile("dynaxx", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("dynaxx")


GROUPS = {
    "integration/test_pipeline.py": "pipeline",
    "integration/test_sweep.py": "sweep",
    "integration/test_ddp.py": "ddp",
    "integration/test_serving.py": "pages",
    "integration/test_mlflow_ui.py": "pages",
    "benchmarks/test_run.py": "benchmarks",
}
"""Files whose tests share something that takes long to make, and so run in one worker; by group."""


def group_of(nodeid: str) -> str:
    """The group of a test, or the test by itself."""
    file = nodeid.split("::")[0]
    return next((group for ending, group in GROUPS.items() if file.endswith(ending)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Distribute by group. xdist's own groups are suffixes of node ids, which pytest 9.2 no longer lets it set."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin first: the smoke pipeline, beside it what does not wait for it, then what does."""
    order = ["pipeline", "slow", "sweep", "ddp", "pages", "benchmarks"]

    def place(item: pytest.Item) -> int:
        group = group_of(item.nodeid)
        if group == item.nodeid:
            return order.index("slow") if item.get_closest_marker("slow") else len(order)
        return order.index(group)

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
