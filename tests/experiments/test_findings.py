"""From answers to differences, verdicts and pages."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from dynaxx.evaluation.statistics import Interval, verdict_over_tasks
from experiments import findings
from experiments.analysis import page, tables
from experiments.analysis.class_gains import class_gains
from experiments.analysis.learning_rates import best_rates
from experiments.analysis.outcomes import tasks, variants
from experiments.findings import RESULTS, Difference, beside, find, read, write
from experiments.predictions import read_scores


@pytest.fixture
def headline_alone(monkeypatch):
    """Pages without the tables of the committed predictions, which take long and are of no concern to a headline."""
    monkeypatch.setattr(page, "gains", lambda by_arm: "")
    monkeypatch.setattr(page, "class_gain_table", lambda condition: "")


def scores(mean, seeds=6, images=200):
    generator = np.random.default_rng(0)
    return {s: (generator.random(images) < mean).astype(float) for s in range(seeds)}


def test_differences_are_over_the_seeds_that_both_have():
    ours, theirs = scores(0.8), scores(0.6)
    del theirs[0]
    found = find("w/r", "accuracy", {"explicit": ours, "direct": theirs})
    (difference,) = found.differences
    assert difference.seeds == [1, 2, 3, 4, 5]
    assert difference.p is None  # five seeds can show nothing
    naive = [float(ours[s].mean() - theirs[s].mean()) for s in difference.seeds]
    assert difference.per_seed == pytest.approx(naive)
    assert difference.interval.estimate == pytest.approx(np.mean(naive))
    assert difference.interval.low < difference.interval.estimate < difference.interval.high


def test_what_is_written_is_read_again(tmp_path):
    found = [find("w/r", "IoU", {"explicit": scores(0.8), "direct": scores(0.6)})]
    write(found, tmp_path / "f.json", {"seeds": [1]})
    assert read(tmp_path / "f.json") == ({"seeds": [1]}, found)


def test_a_condition_that_was_fitted_elsewhere_stays_and_one_that_was_fitted_anew_is_replaced():
    old = [find(name, "IoU", {"explicit": scores(0.8), "direct": scores(0.6)}) for name in ("w/a", "w/b")]
    anew = find("w/b", "IoU", {"explicit": scores(0.5), "direct": scores(0.6)})
    assert beside([anew], old) == [old[0], anew]
    assert beside([anew], []) == [anew]


def test_of_a_pair_what_rests_on_more_seeds_stays():
    old = find("w/a", "IoU", {"explicit": scores(0.8), "direct": scores(0.6), "lora": scores(0.9)})
    by_arm = {"explicit": scores(0.7, 10), "direct": scores(0.5, 10), "lora": scores(0.4, 2)}
    anew = find("w/a", "IoU", by_arm)
    (merged,) = beside([anew], [old])
    by_rival = {difference.rival: difference for difference in merged.differences}
    assert by_rival["direct"] == next(d for d in anew.differences if d.rival == "direct")
    assert by_rival["lora"] == next(d for d in old.differences if d.rival == "lora")
    expected = {"explicit": anew.scores["explicit"], "direct": anew.scores["direct"], "lora": old.scores["lora"]}
    assert merged.scores == expected


@pytest.mark.parametrize(
    ("interval", "p", "expected"),
    [
        ((0.02, 0.01, 0.03), 0.03, "won"),
        ((0.008, 0.004, 0.012), 0.03, "ahead by less than a point"),
        ((0.02, 0.01, 0.03), None, "ahead, on too few seeds"),
        ((0.02, 0.01, 0.03), 0.3, "ahead, uncertain over seeds"),
        ((0.02, -0.01, 0.03), 0.03, "tie"),
        ((-0.02, -0.03, -0.01), 0.03, "lost"),
        ((-0.02, -0.03, -0.01), 0.3, "behind, uncertain over seeds"),
        ((-0.02, -0.03, -0.01), None, "behind, on too few seeds"),
    ],
)
def test_verdicts(interval, p, expected):
    difference = Difference("direct", list(range(6)), Interval(*interval, 0.95), [0.0] * 6, p)
    assert verdict_over_tasks(difference.interval, 0.7, p) == expected


def test_a_small_score_is_judged_by_its_own_size():
    difference = Difference("direct", list(range(6)), Interval(0.008, 0.004, 0.012, 0.95), [0.0] * 6, 0.03)
    assert verdict_over_tasks(difference.interval, 0.3, 0.03) == "won"


def test_the_rival_that_counts_is_the_best_single_pass():
    by_arm = {"explicit": scores(0.8), "direct": scores(0.5), "concat_probe": scores(0.7), "full_finetune": scores(0.9)}
    finding = find("w/r", "accuracy", by_arm)
    (outcome,) = tasks([finding])
    assert outcome.best.rival == "concat_probe"
    assert outcome.missing == ["explicit_T1", "concat_mlp", "lora"]
    table = tables.against([finding])
    assert table.splitlines()[0] == "| condition | direct | concat_probe | full_finetune |"


def test_the_best_rival_is_the_one_that_does_best_on_shared_seeds_not_the_one_with_the_highest_score():
    finding = find("w/r", "accuracy", {"explicit": scores(0.8), "direct": scores(0.75), "lora": scores(0.7)})
    own = [replace(d, interval=replace(d.interval, estimate=-0.01)) if d.rival == "lora" else d
           for d in finding.differences]  # fmt: skip
    (outcome,) = tasks([replace(finding, differences=own)])
    assert outcome.best.rival == "lora"


def test_seeds_have_to_agree_beyond_chance_over_all_tasks_at_once():
    alone = find("w/r", "accuracy", {"explicit": scores(0.9), "direct": scores(0.4)})
    (outcome,) = tasks([alone])
    assert (outcome.p, outcome.verdict) == (pytest.approx(2 / 2**6), "won")
    both = tasks([alone, replace(alone, condition="w/other")])
    assert [o.p for o in both] == [pytest.approx(4 / 2**6)] * 2  # Holm
    assert {o.verdict for o in both} == {"ahead, uncertain over seeds"}
    few = find("w/few", "accuracy", {"explicit": scores(0.9, 5), "direct": scores(0.4, 5)})
    assert [o.p for o in tasks([few, alone])] == [None, pytest.approx(2 / 2**6)]


def test_the_same_arms_on_worse_images_or_with_other_iterations_are_no_tasks_of_their_own(headline_alone):
    by_arm = {"explicit": scores(0.9), "direct": scores(0.4)}
    names = ("m/main", "m/main/corrupted", "m/noise", "m/T-4", "m/main/hard/T-adaptive")
    found = [find(name, "accuracy", by_arm) for name in names]
    found.append(find("m/no-rival", "accuracy", {"explicit": scores(0.9), "baseline": scores(0.4)}))
    assert [o.finding.condition for o in tasks(found)] == ["m/main"]
    assert [o.finding.condition for o in variants(found)] == list(names[1:])
    text = page.pays(found, {})
    assert "won" in text
    assert "in 1 of 1 tasks: m/main (not run: explicit_T1, concat_mlp, concat_probe, lora)" in text


def test_class_by_class_each_is_judged_on_its_own_images_and_p_over_all_classes():
    labels = np.repeat(np.arange(3, dtype=np.uint8), 20)
    generator = np.random.default_rng(0)
    other = {seed: (generator.random(60) < 0.5).astype(float) for seed in range(8)}
    own = {seed: np.where(labels == 2, 1.0, row) for seed, row in other.items() if seed != 3}
    found = class_gains(own, other, labels)
    gap = 100 * np.mean([1 - other[seed][labels == 2].mean() for seed in own])
    assert found[2][0].startswith(f"+{gap:.2f} [")
    assert found[2][1] == f"{3 * 2 / 2**7:.3f}"
    assert [text for text, _ in found[:2]] == ["+0.00 [0.00, 0.00]"] * 2
    few = {seed: own[seed] for seed in list(own)[:5]}
    assert {told for _, told in class_gains(few, other, labels)} == {"too few seeds"}


def test_gains_are_over_the_baseline_on_the_seeds_that_both_have():
    half = {0: np.array([1.0, 0, 1, 0]), 1: np.array([0.0, 0, 0, 0])}
    text = tables.gains({"baseline": {0: np.array([0.0, 0, 1, 0])}, "direct": half})
    assert "| direct | 50.0 | +25.00 [" in text
    assert "| 1 | too few seeds |" in text
    assert "baseline" not in text


def test_where_the_backbone_knows_the_classes_no_arm_is_a_gain():
    by_arm = read_scores()[page.SAME]
    assert set(by_arm) >= {"baseline", "explicit", "direct", "concat_probe", "concat_mlp"}
    for arm in set(by_arm) - {"baseline"}:
        assert findings.minus(by_arm[arm], "baseline", by_arm["baseline"]).interval.low <= 0


def test_where_nothing_is_won_the_headline_recommends_direct(headline_alone):
    text = page.pays([find("w/r", "accuracy", {"explicit": scores(0.6), "direct": scores(0.8)})], {})
    assert "take `direct`" in text


def test_the_committed_pages_are_what_the_committed_results_say():
    machines, found = page.everything()
    assert (page.DOCS / "when-it-pays.md").read_text() == page.pays(found, machines)
    looked_at = json.loads((RESULTS / "tried.json").read_text())
    assert (page.DOCS / "experiments.md").read_text() == page.experiments(looked_at)


def test_the_evidence_says_what_the_pages_say():
    docs = page.DOCS.parent
    evidence = (docs / "evidence.md").read_text()
    said = evidence[evidence.index("## When the loop pays") : evidence.index("### Trials on validation images")]
    figures = re.findall(r"[+-]\d+\.\d+ \[[^\]]+\]", said)
    assert len(figures) >= 5
    pages = (page.DOCS / "when-it-pays.md").read_text() + (page.DOCS / "claims.md").read_text()
    assert not [figure for figure in figures if figure not in pages]
    readme = (docs.parent / "README.md").read_text()
    gains = re.findall(r"[+-]\d+\.\d+", readme[readme.index("## When it pays") : readme.index("## Two commands")])
    assert gains
    pages = evidence + (docs / "results" / "suite.md").read_text()
    assert not [gain for gain in gains if gain not in pages]


def test_the_best_rate_is_named_and_whether_it_lies_at_an_edge():
    def entry(arm, rate, score):
        return {"setting": "w", "condition": f"lr-{rate:g}", "arm": arm, "seeds": 1, "score": score}

    looked_at = [entry("a", 0.001, 0.5), entry("a", 0.002, 0.6), entry("a", 0.004, 0.6)]
    looked_at += [entry("b", 0.001, 0.4), entry("b", 0.002, 0.6), entry("c", 0.001, 0.4), entry("c", 0.002, 0.3)]
    looked_at.append(entry("a", 0.008, 0.9) | {"setting": "other"})
    assert (
        best_rates(looked_at, "w", "lr-") == "`a` 0.002, `b` 0.002 (the largest tried), `c` 0.001 (the smallest tried)"
    )
