"""Stores that are moved, copied or mounted elsewhere: artifacts lie beside the database where it is now."""

import os
import shutil
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from dynaxx import tracking
from dynaxx.tracking import TrackingError, places
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")
from support.stores import KEY, OTHER_KEY, content, reconcile, runs

pytestmark = pytest.mark.filterwarnings("ignore:MLflow store:UserWarning")


def folder_of(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///")).parent


def moved_to(uri: str, folder: Path) -> str:
    return f"sqlite:///{folder / Path(uri).name}"


def listed(uri: str, run: str) -> list[str]:
    return sorted(item.path for item in connect(uri).list_artifacts(run))


def elsewhere(uri: str) -> list[str]:
    """The places in the database that are not beside it."""
    here = (folder_of(uri) / "mlruns").as_uri()
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        return [
            place
            for table, column in places.PLACES
            for (place,) in database.execute(f"SELECT {column} FROM {table}")
            if place and place.startswith("file:") and not place.startswith(here)
        ]


def test_a_moved_store_finds_its_artifacts_and_leaves_nothing_behind(
    uri: str, artifacts: list[Path], tmp_path: Path
) -> None:
    first = reconcile(uri, artifacts, [])
    old, new = folder_of(uri), tmp_path / "näw home %20"
    old.rename(new)
    there = f"sqlite:///{(tmp_path / 'link')}/mlflow.db"
    os.symlink(new, tmp_path / "link")  # SQLAlchemy reads % in a URI as an escape
    with pytest.warns(UserWarning, match="was moved here from"):
        second = reconcile(there, artifacts, [], key=OTHER_KEY)
    assert not old.exists()
    assert listed(there, first) == listed(there, second) == ["model", "params.yaml"]
    assert len(list((new / "mlruns").glob("*/artifacts/params.yaml"))) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        connect(there)


def test_a_copy_and_its_original_keep_apart(uri: str, artifacts: list[Path], tmp_path: Path) -> None:
    run = reconcile(uri, artifacts, [])
    shutil.copytree(folder_of(uri), tmp_path / "copy")
    copy = moved_to(uri, tmp_path / "copy")
    before, files = content(uri), sorted(folder_of(uri).rglob("*"))
    artifacts[0].write_text("seed: 7\n")
    assert reconcile(copy, artifacts, []) == run
    assert (content(uri), sorted(folder_of(uri).rglob("*"))) == (before, files)
    assert (folder_of(uri) / "mlruns" / run / "artifacts" / "params.yaml").read_text() == "seed: 0\n"
    assert (folder_of(copy) / "mlruns" / run / "artifacts" / "params.yaml").read_text() == "seed: 7\n"
    assert elsewhere(copy) == elsewhere(uri) == []


def test_a_database_that_moves_alone_reads_old_artifacts_and_writes_new_ones_beside_it(
    uri: str, artifacts: list[Path], tmp_path: Path
) -> None:
    first = reconcile(uri, artifacts, [])
    (tmp_path / "new").mkdir()
    here = moved_to(uri, tmp_path / "new")
    os.rename(folder_of(uri) / "mlflow.db", tmp_path / "new" / "mlflow.db")
    second = reconcile(here, artifacts, [], key=OTHER_KEY)
    assert listed(here, first) == listed(here, second) == ["model", "params.yaml"]
    assert [path.name for path in (folder_of(uri) / "mlruns").iterdir()] == [first]
    assert [path.name for path in (folder_of(here) / "mlruns").iterdir()] == [second]


@pytest.mark.parametrize("place", ["s3://bucket/runs", "mlflow-artifacts:/7", "file:///big/disk/runs"])
def test_places_that_somebody_chose_stay(uri: str, tmp_path: Path, place: str) -> None:
    client = connect(uri)
    chosen = client.create_experiment("chosen", artifact_location=place)
    shared = tmp_path / "shared" / "mlruns"  # the default root of a server: it exists, and no database is beside it
    shared.mkdir(parents=True)
    own = client.create_experiment("own")
    with closing(sqlite3.connect(folder_of(uri) / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                         [f"{shared}/{own}", own])  # fmt: skip
    folder_of(uri).rename(tmp_path / "new")
    client = connect(moved_to(uri, tmp_path / "new"))
    assert client.get_experiment(chosen).artifact_location == place
    assert client.get_experiment(own).artifact_location == f"{shared}/{own}"
    assert client.get_experiment("0").artifact_location == (tmp_path / "new/mlruns/0").as_uri()


def test_one_store_under_two_paths_is_not_moved(uri: str, artifacts: list[Path], tmp_path: Path) -> None:
    """A folder that is mounted a second time holds the same files; a hard link does, too."""
    reconcile(uri, artifacts, [])
    (tmp_path / "mount").mkdir()
    os.link(folder_of(uri) / "mlflow.db", tmp_path / "mount" / "mlflow.db")
    before = content(uri)
    connect(moved_to(uri, tmp_path / "mount"))
    assert content(uri) == before


def test_a_moved_store_that_cannot_be_written_to_is_named(
    uri: str, artifacts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile(uri, artifacts, [])
    old = folder_of(uri)
    old.rename(tmp_path / "mounted")

    def read_only(_: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(places, "exclusive", read_only)
    with pytest.raises(TrackingError) as error:
        connect(moved_to(uri, tmp_path / "mounted"))
    assert len(str(error.value).splitlines()) == 1
    assert f"was moved here from {str(old)!r}" in str(error.value)
    assert "Read-only file system" in str(error.value)
    assert not old.exists()


def test_a_relative_store_moves_with_its_checkout(
    empty_store: Path, first_use: object, artifacts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del first_use
    ids = []
    for name, key in (("one", KEY), ("two", OTHER_KEY)):
        if name == "one":
            (tmp_path / "one" / "runs").mkdir(parents=True)
            shutil.copy(empty_store, tmp_path / "one" / "runs" / "all.db")
        else:
            (tmp_path / "one").rename(tmp_path / "two")
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        uri = tracking.tracking_uri("sqlite:///runs/all.db")
        ids.append(reconcile(uri, artifacts, [], key=key))
    assert [listed(uri, run) for run in ids] == [["model", "params.yaml"]] * 2
    assert not (tmp_path / "one").exists()
    assert len(runs(uri)) == 2
