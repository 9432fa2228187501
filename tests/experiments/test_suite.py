"""The suite on small data: each fit runs once, results of several machines add up, and pages come from files alone."""

import copy
import json
import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dynaxx import wrap_with_resonance
from dynaxx.data import ClickedMasks, LabelledImages, Normalisation
from dynaxx.evaluation import Judge
from dynaxx.evaluation.arms import BASELINE, ArmRecord
from dynaxx.evaluation.statistics import Bootstrap, Scores
from dynaxx.selection import PAIRS
from dynaxx.tasks import Metric, Segmentation
from dynaxx.training.small_resnet import SmallResNet
from experiments.suite import __main__ as suite, advice, bars, cases, elsewhere
from experiments.suite.cases import CASES, Case, Elsewhere
from experiments.suite.components import WholeMasks, component
from experiments.suite.elsewhere import on_grid
from experiments.suite.fit import jobs
from experiments.suite.iterate import PAGE, PICTURE, write_iterate_page
from experiments.suite.page import README, write_page, write_readme
from experiments.suite.results import Fit, read_case, write_about
from experiments.suite.standing import standing

SMALL = (
    "data=coarse_digits",
    "model=small_resnet",
    "model.pretrain.epochs=1",
    "task.n_train=60",
    "task.n_val=40",
    "train.batch_size=32",
    "resonance.rank=2",
    "resonance.T=2",
    "select.max_images=60",
    "select.folds=2",
)


@pytest.fixture
def small(monkeypatch):
    """A case of two readings and a rival, with one learning rate, on a stand-in network."""
    case = Case(
        "small", SMALL, readings=("baseline", "explicit", "implicit"), rivals=("lora",), lrs=(1e-3,), epochs=(1,)
    )
    monkeypatch.setitem(CASES, "small", case)
    monkeypatch.setattr(cases, "SEEDS", 2)
    monkeypatch.setattr(cases, "RIVAL_SEEDS", 1)
    return case


def test_a_suite_that_was_stopped_goes_on_and_its_page_comes_from_the_files(small, tmp_path, capsys):
    command = ["small", "--root", str(tmp_path / "work"), "--results", str(tmp_path / "found"), "--threads", "1"]
    assert suite.main([*command, "--seconds", "0"]) == 1
    assert "jobs are missing" in capsys.readouterr().out
    assert suite.main(command) == 0
    files = sorted((tmp_path / "found" / "small").glob("*/seed-*.safetensors"))
    assert [f"{path.parent.name}/{path.stem}" for path in files] == [
        "baseline/seed-0", "baseline/seed-1", "explicit/seed-0", "explicit/seed-1",
        "implicit/seed-0", "implicit/seed-1", "lora/seed-0",
    ]  # fmt: skip
    page = (tmp_path / "found" / "suite.md").read_text()
    assert "| explicit |" in page or "| **explicit** |" in page
    results = read_case("small", tmp_path / "found")
    assert results is not None
    assert results.scores["explicit"][0].values.shape == (1, results.about["test"])
    assert results.fits["explicit"][0].test == pytest.approx(results.scores["explicit"][0].values.mean())
    assert all(fit.seconds > 0 for some in results.fits.values() for fit in some.values())
    assert results.fits["explicit"][0].settings == {"lr": 1e-3, "epochs": 1}

    # another machine: the results are here, the weights are not; only what is missing is fitted, to the same numbers
    before = {path: path.read_bytes() for path in files}
    lost = tmp_path / "found" / "small" / "implicit" / "seed-1.safetensors"
    lost.unlink()
    shutil.rmtree(tmp_path / "work" / "suite" / "small" / "fits")
    capsys.readouterr()
    assert suite.main(command) == 0
    assert capsys.readouterr().out.count("on test") == 1
    again = read_case("small", tmp_path / "found")
    assert again is not None
    assert (again.scores["implicit"][1].values == results.scores["implicit"][1].values).all()
    assert all(path.read_bytes() == content for path, content in before.items() if path != lost)


def test_what_cannot_be_run_is_told_in_one_line(tmp_path, capsys):
    assert suite.main(["birds", "--results", str(tmp_path)]) == 0
    assert "birds: skipped, it needs cub_birds26.zip; give its folder with --data" in capsys.readouterr().out
    assert suite.main(["birds", "--data", str(tmp_path), "--results", str(tmp_path)]) == 0
    assert f"birds: skipped, there is no {tmp_path.resolve()}/cub_birds26.zip" in capsys.readouterr().out
    for words, line in (
        (["cats"], "cats: no such case; known are digits-600"),
        (["birds", "task=regression"], "give names of cases, or the settings of a task of yours"),
        (
            ["task=regression", "--name", "birds"],
            "--name birds: give letters, digits and dashes, and no name of a case",
        ),
    ):
        with pytest.raises(SystemExit):
            suite.main(words)
        assert line in capsys.readouterr().err


def test_every_case_composes_but_for_its_data():
    for case in CASES.values():
        if not case.pack:
            kind = "prompted_segmentation" if case.name.startswith("lines") else "classification"
            assert case.params(None).task.kind == kind
        assert set(bars.BARS) <= set(CASES)


def test_a_job_comes_after_what_it_needs():
    for case in CASES.values():
        seen = set()
        for job in jobs(case, None):
            assert set(job.needs()) <= seen, job.name
            seen.add(job.name)


def test_fits_on_other_data_are_not_laid_beside(tmp_path):
    write_about("grains", {"taps": ["a"], "fingerprint": "1"}, tmp_path)
    write_about("grains", {"taps": ["a"], "fingerprint": "1"}, tmp_path)
    with pytest.raises(ValueError, match="another fingerprint; move the folder away"):
        write_about("grains", {"taps": ["a"], "fingerprint": "2"}, tmp_path)
    assert json.loads((tmp_path / "grains" / "case.json").read_text())["fingerprint"] == "1"


def made(folder, case, arms, metric, labels=(), classes=(), groups=()):
    """Results of made arms: arm → (scores of each seed (S, N), validation, live parameters)."""
    samples = next(iter(arms.values()))[0].shape[1]
    about = {"metric": asdict(metric), "groups": list(groups), "labels": list(labels), "classes": list(classes)}
    write_about(case, about | {"taps": ["a"], "train": 9, "validation": 9, "test": samples}, folder)
    for arm, (rows, validation, live) in arms.items():
        for seed, row in enumerate(rows):
            scores = Scores.of(row[None])
            hardware = {"cpu": "one", "cores": 2, "gpu": None, "torch": torch.__version__}
            fit = Fit(arm, seed, metric.of(row), validation, {}, live, live, 1.0, {}, {}, hardware)
            fit.write(folder / case / arm / f"seed-{seed}.safetensors", scores)
    results = read_case(case, folder)
    assert results is not None
    return results


def test_bars_are_judged_by_the_reading_that_is_best_on_validation(tmp_path):
    random = np.random.default_rng(0)

    def right(share):
        return (random.random((6, 400)) < share).astype(float)

    labels = (np.arange(400) % 2).tolist()
    probe, rare = right(0.8), right(0.8)
    rare[:, ::2] = 1.0
    arms = {
        BASELINE: (probe, 0.8, 10),
        "concat_probe": (rare, 0.9, 20),
        "direct": (right(0.99), 0.7, 20),  # the best on test is not asked
    }
    results = made(tmp_path, "landcover-rare-river", arms, Metric("accuracy"), labels, ("river", "other"))
    now = standing(results)
    assert now.best.arm == "concat_probe"
    (one,) = bars.judged("landcover-rare-river", results)
    assert one.met
    assert one.found.startswith("concat_probe +2")
    assert bars.gain_over_probe(12)(results, now).met is False
    assert bars.nothing_gained(results, now).met is False
    assert bars.no_worse_than("direct")(results, now).met is False
    assert bars.reaches(0.85)(results, now).met
    write_page(tmp_path, tmp_path / "suite.md")
    assert "**concat_probe**" in (tmp_path / "suite.md").read_text()


def test_an_error_is_held_below_its_bar(tmp_path):
    random = np.random.default_rng(0)
    arms = {
        BASELINE: (random.random((6, 90)), 0.5, 10),
        "direct": (0.05 * random.random((6, 90)), 0.3, 50_000),
        "layer_probe": (0.2 * random.random((6, 90)), 0.4, 20),
    }
    rmse = Metric("rmse", higher_is_better=False, root=True)
    results = made(tmp_path, "grains", arms, rmse, groups=[str(n // 3) for n in range(90)])
    now = standing(results)
    assert now.best.arm == "direct"
    assert now.best.over_probe.better
    grouped, alone = (
        now.best.over_probe,
        standing(replace(results, about=results.about | {"groups": []})).best.over_probe,
    )
    assert (grouped.difference.low, grouped.image_p) != (alone.difference.low, alone.image_p)
    assert bars.reaches(0.28)(results, now).met
    few = bars.reaches(0.28, 30_000)(results, now)
    assert (few.met, few.found.split()[0]) == (False, "layer_probe")


def traced(folder):
    """Made results of lines and of a click: the loop traces all, a pass half of it."""
    random = np.random.default_rng(0)
    for case in ("lines", "click"):
        click = case == "click"
        places = {there.name: {"groups": [], "areas": list(range(40))} for there in CASES[case].elsewhere}
        about = {"metric": asdict(Metric("iou")), "groups": [str(n // 10) for n in range(40)] if click else []}
        write_about(case, about | {"elsewhere": places, "taps": ["a"], "train": 9, "validation": 9, "test": 40}, folder)
        for arm, share in (("baseline", 0.0), ("explicit", 0.9), ("conv_2", 0.2), ("conv_dilated", 0.5)):
            for seed in range(2):
                values = torch.as_tensor((share + 0.05 * random.random(40)).clip(0, 1))
                there = {
                    name: values - 0.1
                    for other in CASES[case].elsewhere
                    for name, _ in other.runs(loops=arm == "explicit")
                }
                means = {name: float(scores.mean()) for name, scores in there.items()}
                fit = Fit(arm, seed, float(values.mean()), 0.5, {}, 9, 9, 1.0, {}, {}, elsewhere=means)
                fit.write(folder / case / arm / f"seed-{seed}.safetensors", Scores.of(values.numpy()[None]), there)


def test_the_page_of_reach_has_lengths_other_lengths_and_the_click(tmp_path):
    traced(tmp_path)
    page, picture = tmp_path / "when.md", tmp_path / "reach.svg"
    write_iterate_page(tmp_path, page, picture)
    text, drawn = page.read_text(), picture.read_text()
    assert "| arm | seeds | 4 steps | 8 steps | 16 steps |" in text
    assert "| **explicit** | 2 | 82." in text
    assert "(conv_dilated)" in text  # the best single pass
    assert "| explicit, T three times the length | 2 | 82." in text
    assert (
        "| explicit over the best single pass |  | +39" in text
        or "| explicit over the best single pass |  | +40" in text
    )
    assert "| crops of | T=8 | T=16 | T=24 |" in text
    assert ">explicit</text>" in drawn
    write_iterate_page(tmp_path, page, picture)
    assert picture.read_text() == drawn  # and no date in it


def test_the_loop_is_judged_against_every_single_pass(tmp_path):
    traced(tmp_path)
    results = read_case("click", tmp_path)
    assert results is not None
    now = standing(results)
    found = {one.bar: one for one in bars.judged("click", results)}
    assert found["loop ≥ every single pass + 8 points"].met
    assert found["loop ≥ every single pass + 8 points"].found.startswith("+4")  # 0.9 beside 0.5
    assert found["loop ≥ every single pass + 5 points on crops of 256"].met
    assert found["loop with T=96 as with T=24, ± 1 point, on crops of 256"].met
    assert not any("components" in bar for bar in found)  # it was not fitted, and nothing is said of it
    assert bars.loop_over_single_passes(60)(results, now).met is False
    assert bars.loop_no_worse_than("conv_dilated")(results, now).met
    assert bars.loop_no_worse_than("explicit")(results, now).met


def test_the_committed_page_of_reach_is_what_the_files_give(tmp_path):
    write_iterate_page(page=tmp_path / PAGE.name, picture=tmp_path / PICTURE.name)
    made = (tmp_path / PAGE.name).read_text().replace(f"({PICTURE.name})", f"(../images/{PICTURE.name})")
    assert made == PAGE.read_text()
    assert (tmp_path / PICTURE.name).read_text() == PICTURE.read_text()


def test_without_lines_there_is_no_page(tmp_path):
    write_iterate_page(tmp_path, tmp_path / "when.md", tmp_path / "reach.svg")
    assert not list(tmp_path.iterdir())


def test_a_component_is_what_is_connected_with_the_click():
    probability = np.zeros((9, 9))
    probability[1:4, 1:4], probability[5:8, 5:8], probability[2, 4:8] = 0.9, 0.9, 0.3
    click = np.zeros((9, 9))
    click[2, 2] = 1
    assert component(probability, click, 0.5).sum() == 9
    assert component(probability, click, 0.2).sum() == 9 + 4
    assert component(probability, np.roll(click, 2, 1), 0.5).sum() == 0  # it lies below the threshold


def test_whole_masks_are_those_of_the_same_crops(tmp_path):
    for split in ("train", "test"):
        for number in range(2):
            image = np.random.default_rng(number).integers(0, 255, (48, 48, 3)).astype(np.uint8)
            mask = np.zeros((48, 48), np.uint8)
            mask[2:20, 2:20] = mask[24:44, 26:46] = 255
            for part, pixels in (("images", image), ("masks", mask)):
                (tmp_path / split / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / split / part / f"{number}.png")
    options = {"root": str(tmp_path), "crop": 32, "crops_per_slice": 3, "min_area": 20}
    clicked, whole = ClickedMasks(**options).train(), WholeMasks(**options).train()
    assert torch.equal(clicked.images, whole.images[:, :3])
    masks = whole.images[:, 3] > 0
    assert ((clicked.labels > 0) <= masks).all()
    assert (masks.sum() > (clicked.labels > 0).sum()).item()  # another object is in some of the crops


def test_a_loop_is_tested_with_other_iterations_and_another_pass_once(tmp_path, monkeypatch):
    there = Elsewhere("crops", ("data.crop=256",), (128, 128), (8, 16))
    assert there.runs(loops=True) == [("crops, T=8", 8), ("crops, T=16", 16)]
    assert there.runs(loops=False) == [("crops", None)]
    assert replace(there, iterations=()).runs(loops=True) == [("crops", None)]
    assert Elsewhere("here", iterations=(8,)).runs(loops=False) == []
    torch.manual_seed(0)
    model = wrap_with_resonance(
        SmallResNet(3, 3, (4, 6, 8), 1).eval(), [1, 2], T=2, rank=2, readout="map", num_classes=1, grid=(8, 8),
        example_input=torch.zeros(1, 3, 16, 16),
    )  # fmt: skip
    model.fit_statistics([torch.randn(8, 3, 16, 16)])
    model.save_pretrained(tmp_path)
    ArmRecord("explicit", 0, "resonance", ["layer1", "layer2"], 1, 1, 1.0, 0.5, {}).write(tmp_path)
    backbone = model.remove()
    larger = on_grid(tmp_path, backbone, (16, 16))
    assert larger(torch.randn(2, 3, 32, 32)).shape == (2, 1, 32, 32)
    assert larger.read(torch.randn(2, 3, 32, 32)).grid == (16, 16)
    larger.remove()
    assert on_grid(tmp_path, backbone, None).read(torch.randn(2, 3, 16, 16)).grid == (8, 8)

    seen = []

    class Noting(Judge):
        def outputs(self, model):
            seen.append(model.T)
            return super().outputs(model)

    pixels = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    data = LabelledImages(pixels, torch.zeros(3, 32, 32, dtype=torch.uint8), ("background", "thing"))
    monkeypatch.setattr(elsewhere, "samples", lambda case, there, folder: data)
    one = replace(CASES["click"], elsewhere=(replace(there, grid=(16, 16)),))
    bootstrap = Bootstrap(resamples=10, confidence=0.95, seed=0)
    judge = Noting(Segmentation(), data, Normalisation((0.5,) * 3, (0.2,) * 3), bootstrap)
    task = SimpleNamespace(backbone=lambda: copy.deepcopy(backbone))
    found = dict(elsewhere.scored(tmp_path, task, one, judge, None))
    assert seen == [8, 16]
    assert {name: values.shape for name, values in found.items()} == {"crops, T=8": (3,), "crops, T=16": (3,)}


def test_what_the_advice_is_calibrated_on_comes_from_the_results(small, tmp_path, monkeypatch, capsys):
    command = ["small", "--root", str(tmp_path / "work"), "--results", str(tmp_path / "found"), "--threads", "1"]
    assert suite.main(command) == 0
    pairs = tmp_path / "advice.json"
    shutil.copy(PAIRS, pairs)
    monkeypatch.setattr(advice, "PAIRS", pairs)
    assert advice.main(["--root", str(tmp_path / "work"), "--results", str(tmp_path / "found")]) == 0
    written = json.loads(pairs.read_text())
    (mine,) = [pair for pair in written["pairs"] if pair["name"] == "small"]
    results = read_case("small", tmp_path / "found")
    best = standing(results).best
    assert mine["gains"]["baseline"] == pytest.approx(100 * best.over_probe.difference.estimate)
    assert written["said"][-1]["name"] == "small"
    assert len(written["left_out"]) == len(written["pairs"])
    assert "small: " in capsys.readouterr().out
    assert advice.main(["--root", str(tmp_path / "none"), "--results", str(tmp_path / "found")]) == 1
    assert "run `make suite`" in capsys.readouterr().err


def test_the_table_of_the_readme_is_what_the_files_give(tmp_path):
    readme = tmp_path / "README.md"
    shutil.copy(README, readme)
    write_readme(readme=readme)
    assert readme.read_text() == README.read_text()
    readme.write_text("no table\n")
    with pytest.raises(ValueError, match="between which the table is written"):
        write_readme(readme=readme)
    assert readme.read_text() == "no table\n"
