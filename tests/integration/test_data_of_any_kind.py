"""Data groups for labels that are no classes: what compose refuses, what `prepare` writes and says, what is drawn."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from support.staging import fails, set_params

from dynaxx.data import LabelledImages, load_prepared, remarks
from pipelines import baseline, prepare, pretrain
from pipelines.common.adapt import folds_for, validation_images
from pipelines.common.judge import judge
from pipelines.common.stage import run
from pipelines.compose import compose_all

SIZE = 16


def trees(root):
    """A small folder in each layout, below `root`."""
    random = np.random.default_rng(0)

    def picture(name, values=None):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), np.uint8) if values is None else values).save(path)

    square = np.zeros((SIZE, SIZE), np.uint8)
    square[2:12, 3:13] = 255
    for split, count in (("train", 12), ("test", 4)):
        rows = [f"{split}/{number}.png,{number},place {number // 2}" for number in range(count)]
        (root / "table").mkdir(parents=True, exist_ok=True)
        (root / "table" / f"{split}.csv").write_text("\n".join(["file,size,group", *rows]) + "\n")
        for number in range(count):
            picture(f"table/{split}/{number}.png")
            picture(f"masks/{split}/images/{number}.png")
            picture(f"masks/{split}/masks/{number}.png", square)
            picture(f"mvtec/{split}/good/{number}.png")
    picture("mvtec/test/crack/1.png")
    picture("mvtec/ground_truth/crack/1_mask.png", square)
    (root / "clicks").symlink_to(root / "masks")
    return root


TASK = {"table": "regression", "masks": "segmentation", "mvtec": "anomaly", "clicks": "prompted_segmentation"}
OF_KIND = {
    "clicks": ["data.crop=12", "data.crops_per_slice=2", "data.min_area=50"],
    "mvtec": ["train_arms.arms=[direct]"],
}
SAYS = {
    "table": "12 training images in 6 groups with size, (3, 16, 16)",
    "masks": "12 training images with masks of background, foreground, (3, 16, 16)",
    "mvtec": "12 training images of one class, good, (3, 16, 16)",
    "clicks": "24 training images in 12 groups with masks of background, object, (3, 12, 12)",
}


@pytest.mark.parametrize("data", SAYS)
def test_each_kind_is_judged_and_prepared(data, empty_project, capsys):
    root = trees(empty_project)
    overrides = [f"data={data}", f"data.root={root / data}", f"task={TASK[data]}", *OF_KIND.get(data, [])]
    params = OmegaConf.create(compose_all(overrides))
    judge(params)
    assert capsys.readouterr().err == ""
    set_params([*overrides, "task.seeds=[0]"])
    run("prepare", prepare.body)
    assert SAYS[data] in capsys.readouterr().out
    task = load_prepared(empty_project / "outputs" / "prepare").task()
    assert set(task.sources) == ({"click"} if data == "clicks" else set())
    assert bool(task.groups) == (data in ("table", "clicks"))


@pytest.mark.parametrize(
    ("data", "overrides", "says"),
    [
        ("table", ["data.pretrain_fraction=0.5"], "data.pretrain_fraction=0.5: .* here they are numbers"),
        ("masks", ["data.groups={a: [background], b: [foreground]}"], "data.groups=.* here they are masks"),
        ("masks", ["task.rare={foreground: 0.5}"], "task.rare=.*foreground.* here they are masks"),
        ("table", ["task.imbalance=5"], "task.imbalance=5.*here they are numbers"),
        ("table", ["data.target=depth"], "train.csv has no column 'depth'"),
        ("masks", ["data.mask_values=[0]"], r"data.mask_values=\[0\]: give a value"),
        ("mvtec", ["task.rare={dent: 0.5}"], "task.rare names 'dent', which is no class; classes: good, crack"),
        ("clicks", ["data.crop=1"], "data.crop=1: give a whole number of at least 8"),
        ("table", ["task.rare={a: 2}"], "task.rare=.*give classes and the share of each"),
    ],
)
def test_what_does_not_suit_the_labels_is_said_by_compose(data, overrides, says, tmp_path):
    root = trees(tmp_path)
    with pytest.raises(ValueError, match=says) as raised:
        judge(OmegaConf.create(compose_all([f"data={data}", f"data.root={root / data}", f"task={TASK[data]}",
                                            *OF_KIND.get(data, []), *overrides])))  # fmt: skip
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "overrides", "says"),
    [
        ("masks", ["task=regression"], "task.kind=regression: its labels are numbers.*masks; give task=segmentation"),
        ("table", [], "task.kind=classification: its labels are classes.*numbers; give task=regression"),
        ("mvtec", ["task=anomaly"], "train_arms.arms: explicit_T1 learns from labels.*layer_probe"),
    ],
)
def test_a_task_of_another_kind_than_the_labels_is_said_by_compose(data, overrides, says, tmp_path):
    root = trees(tmp_path)
    with pytest.raises(ValueError, match=says):
        judge(OmegaConf.create(compose_all([f"data={data}", f"data.root={root / data}", *overrides])))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("table", "the labels are no classes"),
        ("masks", "the labels are no classes"),
        ("mvtec", "all training images are 'good'"),
    ],
)
def test_labels_that_the_task_does_not_have_are_said_by_the_first_stage_that_trains(data, says, empty_project, capsys):
    root = trees(empty_project)
    set_params([f"data={data}", f"data.root={root / data}", "model=efficientnet_lite0", "task.seeds=[0]"])
    run("prepare", prepare.body)
    run("pretrain", pretrain.body)
    fails("baseline", baseline.body, (says,), capsys)


def test_a_bad_mask_ends_prepare_in_one_line(empty_project, capsys):
    root = trees(empty_project) / "masks"
    Image.new("L", (SIZE, SIZE), 9).save(root / "train" / "masks" / "3.png")
    set_params(["data=masks", f"data.root={root}", "model=efficientnet_lite0", "task.seeds=[0]"])
    fails("prepare", prepare.body, ("masks/3.png: has the value 9", "give data.mask_classes"), capsys)


PARAMS = OmegaConf.create(
    {"task": {"n_val": "auto", "n_train": None, "seeds": [0, 1, 2]}, "tune": {"seed": 100}, "vary": {"seed": 100}}
)


def labelled(labels, groups=(), classes=("a", "b")):
    return LabelledImages(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, classes, groups=groups)


def test_images_to_validate_on_where_labels_are_no_classes():
    assert validation_images(PARAMS, labelled(torch.rand(60, 2))) == 12
    assert validation_images(PARAMS, labelled(torch.zeros(4, 2, 2, dtype=torch.uint8))) == 2
    assert validation_images(PARAMS, labelled(torch.zeros(50).long())) == 10  # all of one class of two
    grouped = tuple(f"g{number // 4}" for number in range(60))
    assert validation_images(PARAMS, labelled(torch.rand(60, 2), grouped)) == 12
    with pytest.raises(ValueError, match="60 images in 1 groups: too few .* give more groups, a smaller"):
        validation_images(PARAMS, labelled(torch.rand(60, 2), ("one",) * 60))


def test_folds_keep_groups_whole_and_each_class_in_each_fold():
    assert folds_for(5, labelled(torch.rand(60, 2))) == 5
    assert folds_for(5, labelled(torch.rand(3, 2))) == 3
    assert folds_for(5, labelled(torch.rand(60, 2), tuple(f"g{number % 4}" for number in range(60)))) == 4
    classes = torch.arange(60) % 2
    assert folds_for(5, labelled(classes, tuple(f"g{number % 6}" for number in range(60)))) == 3
    with pytest.raises(ValueError, match="all 60 images to train on are of group 'one'"):
        folds_for(5, labelled(classes, ("one",) * 60))


def test_groups_on_both_sides_are_told(empty_project):
    root = trees(empty_project) / "table"
    set_params(["data=table", f"data.root={root}", "model=efficientnet_lite0", "task.seeds=[0]"])
    run("prepare", prepare.body)
    prepared = load_prepared(empty_project / "outputs" / "prepare")
    test = labelled(torch.rand(3, 1), ("place 0", "place 9", "place 0"), ("size",))
    assert "groups that have images in training and in test: 1 of 2 (place 0)" in remarks(prepared, test, {})
