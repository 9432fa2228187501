"""What stages `prepare` and `evaluate` tell about the data: links, files left out, images that occur twice."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.staging import folder_of_images, use_folder

from pipelines import evaluate, prepare, pretrain
from pipelines.common.stage import run


def test_the_two_stages_tell_what_they_know(empty_project, capsys, monkeypatch) -> None:
    root = folder_of_images(empty_project / "images", train=24)
    (root / "train" / "c").rename(empty_project / "elsewhere")
    (root / "train" / "c").symlink_to(empty_project / "elsewhere")
    for name in ("clip.mov", "notes.txt", "more.txt"):
        (root / "train" / "a" / name).write_text("x")
    (root / "test" / "b" / "photo.heic").write_text("x")
    shutil.copy(root / "train" / "a" / "5.png", root / "test" / "a" / "same.png")
    with Image.open(root / "train" / "a" / "6.png") as image:
        image.save(root / "test" / "a" / "same.ppm")
        image.save(root / "train" / "b" / "also.bmp")
    use_folder(root)
    run("prepare", prepare.body)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "warning in stage prepare: test images that are training images too: 1 (test/a/same.png is train/a/5.png)",
        "warning in stage prepare: training images that have another label elsewhere in training: 1 "
        "(train/a/6.png and train/b/also.bmp)",
        "warning in stage prepare: folders that are links: 1 (train/c); DVC does not look behind links, "
        "run `dvc repro -f` when something changed there",
    ]
    assert ", 2 of suffix .txt, 1 of suffix .mov skipped (" in printed.out  # behind it, the seconds
    manifest = json.loads(Path("outputs/prepare/manifest.json").read_text())
    assert manifest["copies"] == {"test/a/same.png": "train/a/5.png"}
    assert manifest["contradictions"] == [["train/a/6.png", "train/b/also.bmp"]]
    assert manifest["skipped"]["train/a/clip.mov"] == "of suffix .mov"

    def seen(_kind, _folders, _backbone, _test, _normalisation, summary, *_rest):
        raise ValueError("\t".join(summary.remarks))

    run("pretrain", pretrain.body)
    monkeypatch.setattr(evaluate, "trained_arms", lambda *_: {})
    monkeypatch.setattr(evaluate, "evaluate", seen)
    monkeypatch.setenv("DYNAXX_TRACEBACK", "1")
    with pytest.raises(ValueError, match="test images") as caught:
        run("evaluate", evaluate.body)
    assert str(caught.value).split("\t") == [
        "test images that are training images too: 2 of 14 (test/a/same.png, test/a/same.ppm)",
        "training images that have another label elsewhere in training: 1 (train/a/6.png and train/b/also.bmp)",
        "training files left out: 2 of suffix .txt, 1 of suffix .mov",
        "test files left out: 1 of suffix .heic",
    ]
