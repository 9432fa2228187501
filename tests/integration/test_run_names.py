"""Names that users choose, where the pipeline makes folders and runs of them."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dynaxx.tracking import main_checkout
from pipelines.common.subject import subject
from pipelines.sweep.plan import read_plan

SWEEPS = main_checkout() / ".dynaxx" / "sweeps"


@pytest.mark.parametrize("study", ["../../escape", "..", "/abs", "owl\\'s 50 %", "a/b", "🦉", "é" * 200])
def test_a_study_keeps_its_name_and_stays_in_its_folder(study: str) -> None:
    plan = read_plan([f"sweep.study='{study}'"])
    assert plan.study == study.replace("\\", "")
    assert plan.folder.parent == SWEEPS
    assert len(plan.folder.name.encode()) <= 250
    assert ".." not in Path(plan.folder).parts


def test_a_study_s_name_that_no_database_holds_is_refused_before_any_trial() -> None:
    with pytest.raises(ValueError, match=r"sweep\.study=ooo.*: has 300 characters; give 250 at most"):
        read_plan([f"sweep.study={'o' * 300}"])
    plan = read_plan([f"data.name={'o' * 300}"])  # of which the study's own name is made
    assert len(plan.study) <= 250


def test_two_studies_have_two_folders() -> None:
    names = ["Ann", "ann", "a/b", "a_0x2f_b", "a b"]
    assert len({read_plan([f"sweep.study='{name}'"]).folder for name in names}) == len(names)


@pytest.mark.parametrize(
    ("model", "backbone"),
    [
        ({"weights": None, "network": {"_target_": "dynaxx.training.small_resnet.SmallResNet"}}, "SmallResNet"),
        ({"weights": "timm:resnet50.a1_in1k", "network": None}, "resnet50.a1_in1k"),
        ({"weights": "/w.pt", "library": "torchvision", "name": "vit_b_16"}, "vit_b_16"),
        ({"weights": "/w.pt", "library": "python", "target": "owls.nets:small"}, "small"),
        ({"weights": "/w.pt"}, "backbone"),
    ],
)
def test_the_subject_names_data_and_backbone(model: dict[str, object], backbone: str) -> None:
    assert subject(OmegaConf.create({"data": {"name": "owls"}, "model": model})) == f"owls/{backbone}"
