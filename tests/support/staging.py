"""What stages are tried on without DVC: params.yaml in the current folder, and folders of images."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from pipelines.common.stage import run
from pipelines.compose import compose_params


def set_params(overrides: list[str], **changes: object) -> None:
    params = OmegaConf.create(compose_params(overrides))
    for key, value in changes.items():
        OmegaConf.update(params, key.replace("__", "."), value)
    Path("params.yaml").write_text(OmegaConf.to_yaml(params))


def change(**changes: object) -> None:
    params = OmegaConf.load("params.yaml")
    for key, value in changes.items():
        OmegaConf.update(params, key.replace("__", "."), value)
    Path("params.yaml").write_text(OmegaConf.to_yaml(params))


def fails(name, body, says, capsys) -> None:
    before = sorted(Path().rglob("outputs/*"))
    with pytest.raises(SystemExit) as ended:
        run(name, body)
    assert ended.value.code == 1
    # an earlier test of the same process may have let MLflow's logger write to stderr
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if " INFO mlflow." not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"error in stage {name}: ")
    for part in says if isinstance(says, tuple) else (says,):
        assert part in lines[0]
    assert sorted(Path().rglob("outputs/*")) == before


def folder_of_images(root: Path, classes=("a", "b", "c"), train=20, test=4) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for number, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 90, (8, 8, 3)).astype(np.uint8) + np.uint8(50 * number)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def use_folder(root: Path, **changes: object) -> None:
    set_params(
        [
            "experiment=smoke",
            "data=image_folder",
            f"data.root={root}",
            "task.seeds=[0]",
            "task.n_val=9",
            f"tracking.uri=sqlite:///{Path.cwd()}/mlflow.db",
        ],
        **changes,
    )
