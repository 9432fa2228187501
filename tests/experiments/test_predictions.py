"""Predictions that are kept: fits of several machines come together, and the findings are what the answers say."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from experiments.findings import RESULTS, find, read
from experiments.job import Job
from experiments.predictions import gather, read_scores
from experiments.trials import validation_scores

LABELS = torch.tensor([0, 1, 2, 3], dtype=torch.uint8)


def fits(root, *seeds, arm="explicit"):
    """Jobs of the condition w/r, complete."""
    jobs = [Job("w", "r", arm, seed) for seed in seeds]
    for job in jobs:
        job.folder(root).mkdir(parents=True)
        (job.folder(root) / "arm.json").write_text("{}")
    return jobs


def wrong_in(image):
    """Reads an answer that is right but for one image."""

    def read(job):
        answer = LABELS.clone()
        answer[image] = 9
        return answer

    return read


def test_fits_of_two_machines_come_together_and_one_fitted_anew_is_replaced(tmp_path):
    folder, one, other = tmp_path / "answers", tmp_path / "one", tmp_path / "other"
    gather(fits(one, 0, 1), one, wrong_in(0), LABELS, folder=folder)
    gather(fits(other, 1, 2), other, wrong_in(3), LABELS, folder=folder)
    seeds = read_scores(folder)["w/r"]["explicit"]
    assert {seed: score.tolist() for seed, score in seeds.items()} == {
        0: [0, 1, 1, 1],
        1: [1, 1, 1, 0],
        2: [1, 1, 1, 0],
    }
    assert [path.name for path in (folder / "w").iterdir()] == ["r.safetensors"]


def test_a_fit_that_is_not_complete_is_left_out(tmp_path):
    jobs = [*fits(tmp_path, 0), Job("w", "r", "explicit", 1)]
    gather(jobs, tmp_path, wrong_in(0), LABELS, folder=tmp_path / "answers")
    assert list(read_scores(tmp_path / "answers")["w/r"]["explicit"]) == [0]


def test_answers_to_other_images_are_refused_and_nothing_is_lost(tmp_path):
    folder, jobs = tmp_path / "answers", fits(tmp_path, 0)
    gather(jobs, tmp_path, wrong_in(0), LABELS, folder=folder)
    before = load_file(folder / "w" / "r.safetensors")
    with pytest.raises(ValueError, match="other test images"):
        gather(jobs, tmp_path, wrong_in(0), LABELS.flip(0), folder=folder)
    after = load_file(folder / "w" / "r.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_answers_of_arms_on_another_backbone_are_refused_and_nothing_is_lost(tmp_path):
    folder, one, other = tmp_path / "answers", tmp_path / "one", tmp_path / "other"
    gather(fits(one, 0, arm="baseline") + fits(one, 0), one, wrong_in(0), LABELS, folder=folder)
    before = load_file(folder / "w" / "r.safetensors")
    with pytest.raises(ValueError, match="baseline/0 has another backbone"):
        gather(fits(other, 0, arm="baseline") + fits(other, 0, arm="direct"), other, wrong_in(1), LABELS, folder=folder)
    after = load_file(folder / "w" / "r.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    gather(fits(one, 0, arm="direct"), one, wrong_in(2), LABELS, folder=folder)
    assert set(read_scores(folder)["w/r"]) == {"baseline", "direct", "explicit"}


def test_a_corrupted_image_scores_its_mean_over_the_kinds_and_a_slice_its_own_score(tmp_path):
    folder, jobs = tmp_path / "answers", fits(tmp_path, 0)
    kinds = torch.stack([LABELS, LABELS.flip(0), LABELS])
    gather(jobs, tmp_path, lambda job: kinds, LABELS, within="/corrupted", folder=folder)
    gather(jobs, tmp_path, lambda job: torch.tensor([0.5, 0.25]), folder=folder)
    scores = read_scores(folder)
    assert scores["w/r/corrupted"]["explicit"][0] == pytest.approx([2 / 3] * 4)
    assert scores["w/r"]["explicit"][0].tolist() == [0.5, 0.25]


def test_the_committed_findings_are_what_the_committed_answers_say():
    by_condition = read_scores()
    assert len(by_condition) >= 6
    committed = {f.condition: f for name in ("classes", "dense") for f in read(RESULTS / f"{name}.json")[1]}
    for condition, scores in by_condition.items():
        found = find(condition, committed[condition].metric, scores)
        kept = {difference.rival: difference for difference in committed[condition].differences}
        for difference in found.differences:
            if len(kept[difference.rival].seeds) > len(difference.seeds):
                continue  # of fits whose answers were not kept
            assert kept[difference.rival].seeds == difference.seeds
            assert kept[difference.rival].per_seed == pytest.approx(difference.per_seed)
            ends = (difference.interval.low, difference.interval.high)
            assert (kept[difference.rival].interval.low, kept[difference.rival].interval.high) == pytest.approx(ends)
            score = np.mean([rows.mean() for rows in scores[difference.rival].values()])
            assert committed[condition].scores[difference.rival] == pytest.approx(score)


def test_what_was_tried_elsewhere_stays(tmp_path):
    before = [{"setting": "w", "condition": "other", "arm": "explicit", "seeds": 1, "score": 0.5}]
    assert validation_scores([Job("w", "r", "explicit", 0)], tmp_path, before) == before
