"""Each task kind through all stages on small images; a fit that dies goes on to the same numbers; bad input is told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from support.staging import change, fails, set_params

from dynaxx.evaluation import Evaluation
from dynaxx.evaluation.arms import ARMS, ArmRecord, anomaly as anomaly_arms, explicit as explicit_arm, load_arm
from dynaxx.training.small_resnet import SmallResNet
from pipelines import (
    baseline,
    distill,
    evaluate,
    explicit,
    prepare,
    pretrain,
    report,
    select_layers,
    train_arms,
    tune,
    vary,
)
from pipelines.common.stage import run
from pipelines.common.task import build_task

SIZE = 24
STAGES = {
    "prepare": prepare.body,
    "pretrain": pretrain.body,
    "baseline": baseline.body,
    "select_layers": select_layers.body,
    "tune": tune.body,
    "vary": vary.body,
    "explicit": explicit.body,
    "distill": distill.body,
    "train_arms": train_arms.body,
    "evaluate": evaluate.body,
}
DATA = {"regression": "table", "segmentation": "masks", "prompted_segmentation": "clicks", "anomaly": "mvtec"}
METRIC = {"regression": "rmse", "segmentation": "iou", "prompted_segmentation": "iou", "anomaly": "auroc"}
OF_KIND = {"prompted_segmentation": ["data.crop=16", "data.crops_per_slice=2", "data.min_area=20"]}
ARMS_OF = {
    "regression": ["layer_probe", "concat_probe", "concat_mlp", "explicit_T1", "direct", "lora", "full_finetune"],
    "segmentation": ["layer_probe", "concat_probe", "explicit_T1", "direct", "lora", "full_finetune"],
    "prompted_segmentation": ["concat_probe", "direct", "conv_2", "conv_dilated", "unet"],
    "anomaly": ["layer_probe", "concat_probe", "direct"],
}


def trees(root: Path, train: int = 24, test: int = 10) -> Path:
    """The same squares in each layout: their side is the number, their place the mask, a bright one the defect."""
    random = np.random.default_rng(0)

    def save(name: str, pixels: np.ndarray) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)

    for split, count in (("train", train), ("test", test)):
        rows = []
        for number in range(count):
            side, (top, left) = int(random.integers(5, 12)), random.integers(0, SIZE - 12, 2)
            image = random.integers(0, 60, (SIZE, SIZE, 3)).astype(np.uint8)
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[top : top + side, left : left + side] = 255
            plain = image.copy()
            image[mask > 0] += 90
            save(f"table/{split}/{number}.png", image)
            save(f"masks/{split}/images/{number}.png", image)
            save(f"masks/{split}/masks/{number}.png", mask)
            save(f"mvtec/{split}/good/{number}.png", plain)
            if split == "test":
                save(f"mvtec/test/square/{number}.png", image)
                save(f"mvtec/ground_truth/square/{number}_mask.png", mask)
            rows.append(f"{split}/{number}.png,{side},place {split} {number // 2}")
        (root / "table" / f"{split}.csv").write_text("\n".join(["file,side,group", *rows]) + "\n")
    (root / "clicks").symlink_to(root / "masks")
    return root


def begin(kind: str, folder: Path, *overrides: str) -> None:
    """params.yaml of a kind, with a network whose weights stand in a file."""
    torch.manual_seed(0)
    save_file(SmallResNet(3, 3, (4, 8, 8), 1).state_dict(), folder / "w.safetensors")
    data = DATA[kind]
    root = folder / "data"
    if not root.exists():
        trees(root)
    set_params(
        [
            "experiment=smoke",
            f"data={data}",
            "data.image_size=null",
            "data.channels=3",
            "data.groups=null",
            "data.pretrain_fraction=0",
            f"data.root={root / data}",
            f"task={kind}",
            "task.seeds=[0, 1]",
            f"task.n_val={8 if kind == 'anomaly' else 6}",
            f"model.weights={folder / 'w.safetensors'}",
            "resonance.readout=null",
            "train.augmentation=flip",
            "train.epochs=2",
            f"tune.lr={[1e-3, 1e-2] if kind == 'regression' else [5e-3]}",
            "tune.epochs=[2]",
            "vary.rank=[2]",
            "vary.labels=[10]",
            f"train_arms.arms=[{', '.join(ARMS_OF[kind])}]",
            f"tracking.uri=sqlite:///{folder}/mlflow.db",
            *OF_KIND.get(kind, []),
            *overrides,
        ],
        model__network__num_classes=3,
    )


def stages(*names: str) -> None:
    for name in names:
        run(name, STAGES[name])


@pytest.mark.parametrize("kind", DATA)
def test_a_kind_goes_through_all_stages(kind, empty_project, capsys):
    begin(kind, empty_project)
    stages(*STAGES)
    told = capsys.readouterr().out
    found = Evaluation.from_json(Path("outputs/evaluate/evaluation.json"))
    assert found.task.kind == kind
    assert found.task.metric.name == METRIC[kind]
    labelled = kind != "anomaly"
    assert [arm.name for arm in found.arms] == ["baseline", *ARMS_OF[kind], "explicit", *["implicit"] * labelled]
    if kind == "regression":
        assert found.task.groups == 5
        assert "validation RMSE" in told
    params = OmegaConf.load("params.yaml")
    task = build_task(params)
    tested = load_file("outputs/evaluate/predictions.safetensors")
    for arm in found.arms:  # what the table says is what the arm answers, read back from its folder
        folder = Path("outputs") / ARMS[arm.name].stage / arm.name / "seed-0"
        oriented = found.task.metric.oriented(ArmRecord.read(folder).val_score)
        assert oriented == pytest.approx(arm.val_score_per_seed[0])
        assert torch.isfinite(tested[arm.name].float()).all()
        assert isinstance(load_arm(folder, task.backbone()), torch.nn.Module)
    assert json.loads(Path("outputs/evaluate/metrics.json").read_text()).keys() == {f"test_{METRIC[kind]}"}
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {evaluate: {cmd: none, outs: []}}\n")
    run("report", report.body)
    page = Path("outputs/report/report.md").read_text()
    assert {"regression": "RMSE", "anomaly": "AUROC"}.get(kind, "IoU") in page


@pytest.mark.parametrize("kind", DATA)
def test_a_stage_that_dies_goes_on_to_the_same_numbers(kind, empty_project, monkeypatch):
    """It dies between two seeds, and the seed that was finished is not trained again."""
    begin(kind, empty_project, "tune.lr=null", "tune.epochs=null")
    stages("prepare", "pretrain", "baseline", "select_layers", "tune", "explicit")
    whole = {path.name: path.read_bytes() for path in Path("outputs/explicit/explicit").rglob("*.safetensors")}
    seeds = {seed: ArmRecord.read(Path(f"outputs/explicit/explicit/seed-{seed}")).val_score for seed in (0, 1)}
    shutil.rmtree("outputs/explicit")
    module, function = (anomaly_arms, "train_explicit") if kind == "anomaly" else (explicit_arm, "train")
    real = getattr(module, function)

    def dies(task, run):
        if run.seed == 1:
            raise KeyboardInterrupt
        real(task, run)

    monkeypatch.setattr(module, function, dies)
    with pytest.raises(SystemExit) as ended:
        stages("explicit")
    assert ended.value.code == 130
    assert not Path("outputs/explicit").exists()
    trained: list[int] = []
    monkeypatch.setattr(module, function, lambda task, run: (trained.append(run.seed), real(task, run)))
    stages("explicit")
    assert trained == [1]
    again = {path.name: path.read_bytes() for path in Path("outputs/explicit/explicit").rglob("*.safetensors")}
    assert again == whole
    assert {s: ArmRecord.read(Path(f"outputs/explicit/explicit/seed-{s}")).val_score for s in (0, 1)} == seeds


def test_labels_of_another_kind_are_refused_by_the_first_stage_that_reads_them(empty_project, capsys):
    begin("regression", empty_project)
    stages("prepare", "pretrain")
    params = OmegaConf.load("params.yaml")
    params.task.kind, params.task.options = "segmentation", {"decides": "iou"}
    Path("params.yaml").write_text(OmegaConf.to_yaml(params))
    capsys.readouterr()
    fails("baseline", STAGES["baseline"], ("task=segmentation", "masks"), capsys)


def test_an_arm_that_needs_labels_is_refused_where_there_are_none(empty_project, capsys):
    begin("anomaly", empty_project)
    change(train_arms__arms=["lora"])
    fails("prepare", STAGES["prepare"], ("train_arms.arms", "lora", "layer_probe"), capsys)


@pytest.mark.filterwarnings("default::dynaxx.ResonanceWarning")  # the loop runs away first, as it says
def test_a_loss_that_is_not_finite_ends_a_stage_in_one_line(empty_project, capsys):
    begin("regression", empty_project, "tune.lr=null", "tune.epochs=null", "train.lr=1e30", "task.seeds=[0]")
    stages("prepare", "pretrain", "baseline", "select_layers", "tune")
    capsys.readouterr()
    fails("explicit", STAGES["explicit"], ("not finite", "lr"), capsys)
