"""A registered model for each task of a store, and an alias within it."""

from pathlib import Path

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from dynaxx.tracking import CHAMPION, register, registry
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")
from support.stores import reconcile

IMAGES = np.zeros((1, 1, 8, 8), np.uint8)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is registered; what lies in it does not matter here."""
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(registry, "_log", lambda *_: (tmp_path / "weights").as_uri())


def registered(uri: str, artifacts: list[Path], key: str, name: str, digest: str, **changes: object) -> str:
    """Record a pipeline on this data and register its winner; the URI of the version."""
    run = reconcile(uri, artifacts, [], key=key, data=(name, digest, "ten images"), tags={"dynaxx.data": name})
    options = {"arm": "explicit", "promote": True, "model": None} | changes
    return register(uri, run, key, deployment=Path("none"), example=IMAGES, tags={"verdict": "x"}, **options)  # type: ignore[arg-type]


def champion(uri: str, version: str) -> str:
    name = version.removeprefix("models:/").rpartition("/")[0]
    return f"models:/{name}/{connect(uri).get_model_version_by_alias(name, CHAMPION).version}"


def test_each_task_keeps_its_champion(uri: str, artifacts: list[Path]) -> None:
    tasks = [
        ("owls", "a1" * 32),
        ("owls", "b2" * 32),
        ("Owls", "a1" * 32),
        ("o/w:ls' & 🎉", "a1" * 32),
        ("o" * 300, "a1" * 32),
    ]
    versions = [registered(uri, artifacts, f"k{n}", *task) for n, task in enumerate(tasks)]
    assert versions[0] == "models:/dynaxx-owls-a1a1a1a1/1"
    assert len(set(versions)) == len(tasks)
    assert [champion(uri, version) for version in versions] == versions
    later = registered(uri, artifacts, "later", *tasks[0])
    assert later == "models:/dynaxx-owls-a1a1a1a1/2"
    assert champion(uri, later) == later
    assert champion(uri, versions[1]) == versions[1]


def test_a_pipeline_that_is_judged_again_registers_nothing_twice(uri: str, artifacts: list[Path]) -> None:
    task = ("owls", "a1" * 32)
    first = registered(uri, artifacts, "k", *task)
    assert registered(uri, artifacts, "k", *task, promote=False) == first
    with pytest.raises(MlflowException):
        champion(uri, first)
    other = registered(uri, artifacts, "k", *task, arm="direct")
    assert registered(uri, artifacts, "k", *task, arm="direct") == other != first
    assert champion(uri, other) == other


def test_a_configured_name_is_taken_and_an_old_model_stays(uri: str, artifacts: list[Path]) -> None:
    client = connect(uri)
    client.create_registered_model("dynaxx")
    client.create_model_version("dynaxx", "file:///old/weights")
    client.set_registered_model_alias("dynaxx", CHAMPION, "1")
    assert registered(uri, artifacts, "k", "owls", "a1" * 32, model="Owl's best") == "models:/Owl_0x27_s best/1"
    registered(uri, artifacts, "k2", "owls", "a1" * 32, promote=False)
    (old,) = client.search_model_versions("name = 'dynaxx'")
    assert (old.source, champion(uri, "models:/dynaxx/1")) == ("file:///old/weights", "models:/dynaxx/1")


def test_a_run_without_data_belongs_to_the_task_of_its_experiment(uri: str, artifacts: list[Path]) -> None:
    run = reconcile(uri, artifacts, [])
    version = register(uri, run, "k", "direct", Path("none"), IMAGES, promote=False, tags={})
    assert version.startswith("models:/dynaxx-digits-")
