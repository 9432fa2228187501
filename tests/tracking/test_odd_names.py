"""Odd names of groups, data, experiments and studies, through the store and back."""

from pathlib import Path

import pytest

from dynaxx import tracking
from dynaxx.tracking import ChildRecord, TrackingError, TrialRecord, fail_sweep, record_sweep, record_trial
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")
from support.stores import content, reconcile, record, runs

GROUPS = {"gulls & terns": ["0"], "hawks (all)": ["1"], "50 % grey": ["2"], "C#": ["3"], "gulls _0x26_ terns": ["4"],
          "owls//night": ["5"], "../up": ["6"], ".hidden": ["7"], "it's\n🎉": ["8"], "w" * 300: ["9"]}  # fmt: skip


def test_a_pipeline_with_odd_names_is_recorded_once(uri: str, artifacts: list[Path]) -> None:
    options = {
        "params": {"data": {"name": "l'été", "groups": GROUPS, "long": ["class"] * 2000}},
        "tags": {"dynaxx.data": "d" * 9000},
        "data": ("owls' eyes" * 60, "ab" * 32, "two images"),
    }
    parent = reconcile(uri, artifacts, [record()], **options)
    before = content(uri)
    assert reconcile(uri, artifacts, [record()], **options) == parent
    assert content(uri) == before
    (run,) = runs(uri, "tags.`dynaxx.kind` = 'pipeline'")
    groups = {value for name, value in run.data.params.items() if name.startswith("data.groups.")}
    assert groups == {str(members) for members in GROUPS.values()}
    assert run.data.params["data.groups.gulls _0x26_ terns"] == "['0']"
    assert run.data.params["data.long"].endswith(")")
    assert "characters, sha256" in run.data.tags["dynaxx.data"]


@pytest.mark.parametrize(
    "name", ["last night's", 'the "best"', "a/b", "100 %", ".x", "s" * 400, "tick`", "no;--", "é\n"]
)
def test_an_experiment_may_have_any_name(uri: str, artifacts: list[Path], name: str) -> None:
    ids = []
    for _ in range(2):
        ids.append(
            tracking.reconcile(
                name, uri=uri, key="k", children=[], parent_metrics={}, params={}, artifacts=artifacts, tags={}
            )
        )
    assert ids[0] == ids[1]
    client = connect(uri)
    experiment = client.get_experiment(client.get_run(ids[0]).info.experiment_id)
    assert experiment.name == name or (len(experiment.name) == 250 and "400 characters" in experiment.name)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_an_experiment_without_a_name_is_refused(uri: str, artifacts: list[Path], name: str | None) -> None:
    with pytest.raises(TrackingError, match=r"tracking\.experiment="):
        tracking.reconcile(
            name,
            uri=uri,
            key="k",
            children=[],
            parent_metrics={},
            params={},
            artifacts=artifacts,
            tags={},  # type: ignore[arg-type]
        )


def test_studies_with_odd_names_stay_apart(uri: str) -> None:
    studies = ["Ann's", 'Ann"s', "ann's", "Ann_0x27_s", "a/b", "..", "q" * 300, "q" * 301, "50 %"]
    for study in studies:
        for state in ("RUNNING", "COMPLETE"):
            record_trial("digits", study, TrialRecord(0, state, {"resonance.T": 3}), uri=uri)
    parents = {
        record_sweep("digits", study, [TrialRecord(0, "COMPLETE", {"resonance.T": 3})], uri=uri, metrics={},
                     params={"resonance.T": 3}, artifacts=[], tags={})
        for study in studies
    }  # fmt: skip
    assert len(parents) == len(studies)
    assert len(runs(uri)) == 2 * len(studies)
    assert {run.info.status for run in runs(uri)} == {"FINISHED"}
    assert {tuple(run.data.params.items()) for run in runs(uri)} == {(("resonance.T", "3"),)}


def test_names_of_runs_say_data_backbone_and_arm(uri: str, artifacts: list[Path]) -> None:
    reconcile(uri, artifacts, [record("direct", 2)], subject="owls/ResNet")
    record_trial("digits", "s", TrialRecord(4, "RUNNING", {}), uri=uri, subject="owls/ResNet/explicit")
    assert sorted(run.info.run_name for run in runs(uri)) == [
        "owls/ResNet/direct/seed-2",
        "owls/ResNet/explicit/sweep-s",
        "owls/ResNet/explicit/trial-4",
        "owls/ResNet/pipeline-aaaaaaaa",
    ]


def test_a_sweep_that_failed_is_opened_again_by_its_next_trial(uri: str) -> None:
    def parent() -> str:
        (run,) = runs(uri, "tags.`dynaxx.kind` = 'sweep'")
        return str(run.info.status)

    record_trial("digits", "s", TrialRecord(0, "RUNNING", {}), uri=uri)
    fail_sweep("digits", "s", uri=uri)
    assert parent() == "FAILED"
    record_trial("digits", "s", TrialRecord(0, "FAIL", {}), uri=uri)
    assert parent() == "RUNNING"
    (trial,) = runs(uri, "tags.`dynaxx.kind` = 'trial'")
    assert trial.info.status == "FAILED"


def test_an_arm_s_record_is_checked_before_anything_is_written(uri: str, artifacts: list[Path]) -> None:
    before = content(uri)
    with pytest.raises(TrackingError, match="twice"):
        reconcile(uri, artifacts, [ChildRecord("owl's", 0, "k", {}, {}), ChildRecord("owl's", 0, "k", {}, {})])
    assert content(uri) == before
