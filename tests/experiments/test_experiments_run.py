"""The real thing, small: fits of both kinds of task, from nothing to findings."""

import json

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from safetensors.torch import load_file
from test_slices import write_zip

from dynaxx.data import Digits
from experiments import collect
from experiments.findings import find
from experiments.job import Job
from experiments.predictions import gather, read_predictions, read_scores
from experiments.run import dispatch
from experiments.tasks import (
    advice,
    cifar10 as conditions,
    convergence as settle,
    iterations,
    number_of_taps as taps,
    overcoupling,
    vision_transformer as transformer,
)
from experiments.tasks.membrane import shift as dense_shift, task as membrane
from pipelines.compose import compose_params


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = OmegaConf.create(yaml.safe_load(compose_params(["experiment=smoke"])))
    found.slices = str(write_zip(tmp_path / "slices.zip", count=30, side=144))
    return found


def run(jobs, params, root):
    return [dispatch(job, params, root) for job in jobs if not job.done(root)]


@pytest.mark.slow
def test_classes_from_nothing_to_findings(params, tmp_path):
    arms = ("baseline", "explicit", "direct", "implicit", "full_finetune")
    jobs = conditions.arms("coarse", "few", arms, {"task.n_train": 300}, seeds=(0,), corrupted=True, keep=False)
    run(jobs, params, tmp_path)
    assert all(job.done(tmp_path) for job in jobs)
    labels = Digits().test().labels.to(torch.uint8)
    gather(jobs, tmp_path, read_predictions(tmp_path), labels, folder=tmp_path / "answers")
    ((condition, by_arm),) = read_scores(tmp_path / "answers").items()
    assert condition == "coarse/few"
    found = find(condition, "accuracy", by_arm)
    assert set(found.scores) == set(arms)
    assert found.scores["baseline"] > 0.5  # of ten classes: labels and answers belong together
    # the student rests on the loop of its own seed, whose couplings it keeps
    taught, teacher = (
        load_file(next((tmp_path / "coarse" / "few" / arm / "seed-0").glob("resonance-*.safetensors")))
        for arm in ("implicit", "explicit")
    )
    couplings = [name for name in teacher if ".U." in name]
    assert couplings
    assert all(torch.equal(taught[name], teacher[name]) for name in couplings)
    tuned = tmp_path / "coarse" / "few" / "full_finetune" / "seed-0"
    small = ["answers.safetensors", "arm.json", "resonance.json"]
    assert sorted(p.name for p in tuned.iterdir() if not p.match("resonance-*.safetensors")) == small  # no backbone
    assert not [path for path in tmp_path.rglob(".*") if "checkpoints" in path.name]


@pytest.mark.slow
def test_a_trained_loop_is_asked_with_other_iterations_and_until_each_image_has_settled(params, tmp_path):
    jobs = conditions.arms("coarse", "main", ("baseline", "explicit", "direct"), {"task.n_train": 300}, seeds=(0, 1))
    run([job for job in jobs if (job.arm, job.seed) != ("direct", 1)], params, tmp_path)
    found, told = iterations.measure(params, tmp_path, jobs)
    assert told["seeds"] == 1  # the other one lacks an arm
    tensors, labels = found["coarse/main/T-2"]  # as it was trained
    assert labels.equal(Digits().test().labels.to(torch.uint8))
    for arm in ("explicit", "direct"):
        clean = load_file(tmp_path / "coarse" / "main" / arm / "seed-0" / "answers.safetensors")["clean"]
        assert tensors[f"{arm}/0"].equal(clean)
    # who has settled answers as after very many iterations
    tensors, _ = found["coarse/main/T-adaptive"]
    most, _ = found[f"coarse/main/T-{iterations.MAX_ITERATIONS}"]
    assert (tensors["explicit/0"] == most["explicit/0"]).double().mean() > 0.99
    hard, right = found["coarse/main/hard/T-2"]
    assert len(right) == told["images"]["hard"] == round(len(labels) / 4)
    baseline = load_file(tmp_path / "coarse" / "main" / "baseline" / "seed-0" / "answers.safetensors")["clean"]
    assert (hard["direct/0"] == right).double().mean() < (baseline == labels).double().mean()
    assert 1 <= told["iterations"]["hard"] <= iterations.MAX_ITERATIONS

    amplified = overcoupling.measure(params, tmp_path, jobs)
    assert amplified["seeds"] == 2
    by_factor = {entry["factor"]: entry for entry in amplified["factors"]}
    clean = [load_file(tmp_path / "coarse" / "main" / "explicit" / f"seed-{s}" / "answers.safetensors") for s in (0, 1)]
    right = np.mean([(answered["clean"] == labels).double().mean() for answered in clean])
    assert by_factor[overcoupling.AS_TRAINED]["accuracy"] == pytest.approx(right)
    assert by_factor[overcoupling.AS_TRAINED]["against trained"]["estimate"] == 0
    assert len({entry["accuracy"] for entry in by_factor.values()}) > 1


@pytest.mark.slow
def test_numbers_of_taps_are_compared_on_the_same_seeds_and_probes(params, tmp_path):
    found = taps.by_taps(params, tmp_path, (2, 3), (0,))
    assert set(found.scores) == {"baseline", "taps-2", "explicit"}
    assert {d.rival for d in found.differences} == {"baseline", "taps-2"}
    for n in (2, 3):
        facts = json.loads((tmp_path / "digits" / f"taps-{n}" / "explicit" / "seed-0" / "arm.json").read_text())
        assert len(facts["taps"]) == n


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:what lies behind .* reads the first token")  # it asks what that costs
def test_messages_of_a_transformer_are_about_all_tokens_or_about_each(params, tmp_path, monkeypatch):
    monkeypatch.setattr(transformer, "PRETRAINED", {"model.pretrain.epochs": 1})
    monkeypatch.setattr(transformer, "EVERY", ("baseline", "explicit", "lora"))
    monkeypatch.setattr(transformer, "LOOPS", ("baseline", "explicit"))
    found = {finding.condition: finding for finding in transformer.on_transformers(params, tmp_path, (0,))}
    assert set(found) == {"digits/class-token", "digits/mean-of-tokens"}
    for head, other in (("class-token", "by-place"), ("mean-of-tokens", "pooled")):
        assert {d.rival for d in found[f"digits/{head}"].differences} == {"baseline", "lora", f"explicit {other}"}
        for condition in ("pooled", "by-place"):
            (job,) = (job for job in transformer.jobs(head, condition, ("explicit",), (0,)) if job.condition)
            written = json.loads((job.folder(tmp_path) / "resonance.json").read_text())
            assert written["config"]["token_pool"] == (condition == "pooled")


@pytest.mark.slow
def test_the_dense_task_from_nothing_to_findings(params, tmp_path, monkeypatch):
    monkeypatch.setattr(membrane, "CROPS", 8)
    monkeypatch.setattr(membrane, "BATCH", 4)
    small = {"resonance.rank": 8, "train.epochs": 1, "model.pretrain.epochs": 1}
    names = ("baseline", "explicit", "direct", "explicit_T1", "full_finetune", "lora")
    jobs = conditions.arms("membrane", "labels-8", names, small | {"labels": 2}, seeds=(0,))
    lines = run(jobs, params, tmp_path)
    assert all("(test)" in line for line in lines[1:])
    counts = {}
    for job in jobs[1:]:
        facts = json.loads((job.folder(tmp_path) / "arm.json").read_text())
        assert 0 <= facts["notes"]["iou"] <= 1
        counts[job.arm] = facts["live_parameters"]
    assert counts["direct"] == pytest.approx(counts["explicit"], rel=0.2)
    assert counts["explicit_T1"] == pytest.approx(counts["explicit"], rel=0.2)
    assert counts["lora"] == pytest.approx(counts["explicit"], rel=0.3)

    # a tuning job looks at its validation slices, and at no test slice
    tuning = Job("membrane", "labels-8", "explicit_T1", 0, small | {"labels": 2}, tested=False)
    monkeypatch.setattr(membrane, "predict", lambda model, images, task: seen.append(images) or torch.zeros(2, 1, 1))
    monkeypatch.setattr(membrane, "intersection_over_union", lambda found, labels: torch.zeros(2))
    seen = []
    dispatch(tuning, params, tmp_path)
    images, _ = membrane.slices(params.slices)
    test = {tuple(images[index].flatten()[:99].tolist()) for index in membrane.TEST}
    assert len(seen[0]) == membrane.VAL
    assert not test & {tuple(image.flatten()[:99].tolist()) for image in seen[0]}


@pytest.mark.slow
def test_the_trained_loop_is_asked_with_other_iterations_and_on_worse_images(params, tmp_path, monkeypatch):
    monkeypatch.setattr(membrane, "CROPS", 8)
    monkeypatch.setattr(dense_shift, "STRENGTHS", (5,))
    monkeypatch.setattr(dense_shift, "ITERATIONS", (1, 2))
    monkeypatch.setattr(dense_shift, "read_params", lambda: params)
    params.resonance.rank = 4
    small = {"train.epochs": 1, "model.pretrain.epochs": 1}
    jobs = conditions.arms("membrane", "labels-8", ("baseline", "explicit", "direct"), small, seeds=(0,))
    run(jobs, params, tmp_path)
    found = {f.condition: f for f in dense_shift.shifted(tmp_path, params.slices, [0], lambda line: None)}
    assert {"membrane/noise", "membrane/jpeg", "membrane/T-1", "membrane/T-2"} <= set(found)
    assert np.isfinite([list(f.scores.values()) for f in found.values()]).all()
    assert found["membrane/T-1"].scores["direct"] == found["membrane/T-2"].scores["direct"]


@pytest.mark.parametrize("study", [settle, dense_shift, iterations, overcoupling])
def test_where_nothing_is_trained_what_was_found_before_stays(study, params, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(study, "read_params", lambda: params)
    slices = ["--slices", params.slices] if study is dense_shift else []
    assert study.main(["--root", str(tmp_path / "nothing"), *slices]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --root {tmp_path / 'nothing'}: no seed of ")
    assert not (tmp_path / "results").exists()


def test_without_slices_that_fit_the_dense_task_is_not_asked(params, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dense_shift, "read_params", lambda: params)
    assert dense_shift.main(["--slices", str(tmp_path / "none.zip"), "--root", str(tmp_path)]) == 1
    assert "none.zip: no .zip of image/K.png and label/K.png" in capsys.readouterr().err
    assert collect.main(["--slices", str(tmp_path / "none.zip"), "--root", str(tmp_path)]) == 1
    assert "none.zip: no .zip of image/K.png and label/K.png" in capsys.readouterr().err


def test_advice_needs_params_above_its_root(tmp_path, capsys):
    assert advice.main([str(tmp_path)]) == 1
    assert "no params.yaml two folders above it" in capsys.readouterr().err
