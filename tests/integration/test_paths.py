"""Paths on the command line are taken as they are; other values show how they are quoted."""

from pathlib import Path

import pytest

from pipelines.common.paths import with_quoted_paths
from pipelines.compose import ComposeError, compose_all

NAMES = (
    "naïve",
    "two words",
    "lr=0.1",
    "(copy)",
    "[1]",
    "{x}",
    "don't",
    'a"b',
    "n#1",
    "x,y",
    "a:b",
    "50%",
    "-d",
    "c\\d'",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_exists_is_taken_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    Path(name, "w.pt").touch()
    params = compose_all(["data=image_folder", f"data.root={name}", f"model.weights={name}/w.pt"])
    whole = str((tmp_path / name).resolve())
    assert params["data"]["root"] == params["data"]["watch"] == params["data"]["source"]["root"] == whole
    assert params["model"]["weights"] == f"{whole}/w.pt"
    once = with_quoted_paths([f"data.root={name}"])
    assert with_quoted_paths(once) == once  # a sweep hands them to its workers


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my images").mkdir()
    for written in ("~/my images", "'~/my images'"):
        assert compose_all(["data=image_folder", f"data.root={written}"])["data"]["root"] == f"{tmp_path}/my images"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.root=/nowhere (2)", r"data.root=/nowhere \(2\): no such file or folder"),
        ("data.root=/nöwhere", "data.root=/nöwhere: no such file or folder"),
        ("train.pretrained=/nowhere", "train.pretrained=/nowhere: no such file or folder"),
        ("tracking.experiment=a (b", r"quote the value: \"tracking.experiment='a \(b'\""),
        ("data.name", "'data.name' is no override; give KEY=VALUE"),
    ],
)
def test_what_cannot_be_read_is_shown_as_it_must_be_written(override, says):
    with pytest.raises(ComposeError, match=says):
        compose_all(["data=image_folder", "data.root=.", override])


def test_what_is_shown_is_read():
    written = ["tracking.experiment='a (b'", r"data.name='it\'s ü'"]
    params = compose_all(written)
    assert params["tracking"]["experiment"] == "a (b"
    assert params["data"]["name"] == "it's ü"
