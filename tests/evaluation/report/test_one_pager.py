"""The decision on a page of its own, and as data."""

import json
import re
from dataclasses import replace

import pytest
from markupsafe import escape
from support.example_evaluation import HOSTILE, make_evaluation, with_costs

from dynaxx.evaluation.business_value import with_value
from dynaxx.evaluation.decision import CHEAPEST, MORE
from dynaxx.evaluation.report.one_pager import write_one_pager
from dynaxx.evaluation.results import Answer, Decision


def test_the_page_says_what_to_do_why_and_how_every_arm_did(tmp_path):
    evaluation = make_evaluation()
    write_one_pager(evaluation, tmp_path)
    page = (tmp_path / "decision.html").read_text(encoding="utf-8")
    assert "<h1>Use explicit: +17.83 points of accuracy over the last layer alone</h1>" in page
    for arm in evaluation.arms:
        assert f"<th>{arm.name}</th>" in page
        assert f"× {arm.latency.ratio:.2f}" in page
    decision = evaluation.decision
    for answer in decision.answers:
        assert f"{escape(answer.question)} <strong>{escape(answer.answer)}</strong>" in page
    for reason in [*decision.beside, *(reason for answer in decision.answers for reason in answer.reasons)]:
        assert escape(reason) in page
    assert page.index(MORE) < page.index(CHEAPEST) < page.index("<table>")
    assert page.count('class="chosen"') == 1
    assert len(page) < 20_000  # a page to mail, without Plotly's megabytes


def test_names_of_strangers_stay_text_and_nothing_is_fetched(tmp_path):
    evaluation = make_evaluation()
    strange = replace(evaluation.arms[0], name=HOSTILE[0])
    decision = Decision("adopt", HOSTILE[0], HOSTILE[2], [Answer(HOSTILE[1], HOSTILE[0], [HOSTILE[2]])], [HOSTILE[3]])
    write_one_pager(replace(evaluation, arms=[*evaluation.arms, strange], decision=decision), tmp_path)
    page = (tmp_path / "decision.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|<b>|<i>|<link|<img|src=|href=", page)
    assert "photos &amp; &lt;b&gt;more&lt;/b&gt;" in page


def test_the_data_carry_the_numbers_that_decided(tmp_path):
    evaluation = with_costs(make_evaluation())
    decision = with_value(evaluation.decision, evaluation.cost_comparisons, 1000)
    write_one_pager(replace(evaluation, decision=decision), tmp_path)
    data = json.loads((tmp_path / "decision.json").read_text(encoding="utf-8"))
    assert (data["verdict"], data["arm"], data["beside"]) == (decision.verdict, decision.arm, decision.beside)
    assert [answer["question"] for answer in data["answers"]] == [MORE, CHEAPEST]
    assert decision.yearly_value is not None
    assert data["yearly_value"]["low"] == decision.yearly_value.low
    assert data["arms"]["explicit"]["accuracy"] == pytest.approx(evaluation.arms[3].mean)
    assert data["arms"]["explicit"]["cost_per_1000"]["low"] > 0
    gain = next(row for row in data["gains"] if (row["a"], row["b"]) == ("explicit", "baseline"))
    assert gain["low"] < gain["estimate"] < gain["high"]
    assert data["task"]["seeds"] == [0, 1, 2]
    assert data["task"]["metric"]["name"] == "accuracy"
    assert data["timings"]["latency"]["batch"] == 1
    assert len(data["cost_gains"]) == len(data["gains"])


def test_a_number_that_json_cannot_hold_leaves_the_folder_as_it_was(tmp_path):
    evaluation = make_evaluation()
    broken = replace(evaluation.arms[0], gflops=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        write_one_pager(replace(evaluation, arms=[broken]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_pays_the_probe_is_marked(tmp_path):
    kept = Decision("keep_probe", "baseline", "explicit", [Answer(MORE, "No.", ["No gain."])])
    write_one_pager(replace(make_evaluation(), decision=kept), tmp_path)
    page = (tmp_path / "decision.html").read_text(encoding="utf-8")
    assert "Keep the probe on the last layer" in page
    assert '<tr class="chosen"><th>baseline</th>' in page
    assert CHEAPEST not in page
    assert json.loads((tmp_path / "decision.json").read_text(encoding="utf-8"))["yearly_value"] is None
