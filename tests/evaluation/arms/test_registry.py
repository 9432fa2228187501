"""The one list of arms: what is derived from it, that its names are known everywhere, and that judging stays light."""

import inspect
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from dynaxx.evaluation import decision
from dynaxx.evaluation.arms import ARMS, Run, arms_where, is_trained, named, no_logger
from dynaxx.evaluation.arms.record import ArmRecord
from dynaxx.tasks import Anomaly, Classification, Segmentation
from experiments.analysis import outcomes
from experiments.tasks import cifar10
from pipelines.common.trained import trained_arm, trained_arms

ROOT = Path(__file__).parents[3]


def test_the_lists_that_are_derived_have_the_content_that_they_had_by_hand():
    assert decision.READINGS == (
        "baseline", "layer_probe", "concat_probe", "concat_mlp", "direct", "explicit_T1", "implicit", "explicit",
        "hybrid",
    )  # fmt: skip
    assert decision.CONTROLS == ("last_tap_only", "reentrant", "explicit_monitored", "explicit_certified")
    one_pass = ("conv_2", "conv_4", "conv_8", "conv_dilated", "unet")
    assert arms_where(lambda arm: arm.role == "rival") == ("lora", *one_pass, "full_finetune")
    assert set(outcomes.ONE_PASS) <= set(ARMS)
    assert arms_where(lambda arm: arm.converged) == ("baseline", "layer_probe", "concat_probe")
    assert set(arms_where(lambda arm: arm.stage == "train_arms")) == {
        "layer_probe", "concat_probe", "concat_mlp", "lora", "full_finetune", "last_tap_only", "explicit_T1", "direct",
        "explicit_monitored", "explicit_certified", "hybrid", "reentrant", *one_pass,
    }  # fmt: skip
    assert set(arms_where(lambda arm: not arm.cached)) == {"baseline", "lora", "full_finetune"}
    assert {name: arm.stage for name, arm in ARMS.items() if arm.stage != "train_arms"} == {
        "baseline": "baseline", "explicit": "explicit", "implicit": "distill",
    }  # fmt: skip
    assert arms_where(lambda arm: arm.learns(Anomaly())) == (
        "baseline", "layer_probe", "concat_probe", "direct", "explicit",
    )  # fmt: skip
    assert arms_where(lambda arm: arm.learns(Segmentation())) == tuple(ARMS)
    assert set(ARMS) - set(arms_where(lambda arm: arm.learns(Classification()))) == set(one_pass)
    assert {name: arm.options for name, arm in ARMS.items() if arm.options and not arm.positions} == {
        "explicit_monitored": {"stability": "monitored"},
        "explicit_certified": {"stability": "certified"},
        "hybrid": {"mode": "hybrid"},
        "reentrant": {"dynamics": "reentrant"},
    }


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_trained_by_a_function_of_task_and_run(name):
    parameters = inspect.signature(ARMS[name].train).parameters
    assert [p for p, value in parameters.items() if value.kind is value.POSITIONAL_OR_KEYWORD] == ["task", "run"]


def test_every_stage_of_an_arm_exists_and_every_arm_that_is_configured_is_known():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {arm.stage for arm in ARMS.values()} <= set(stages)
    for path in [ROOT / "params.yaml", *(ROOT / "conf").rglob("*.yaml")]:
        arms = (yaml.safe_load(path.read_text()) or {}).get("train_arms", {}).get("arms") or []
        assert {ARMS[arm].stage for arm in arms} <= {"train_arms"}, path
    assert {job.arm for experiment in cifar10.EXPERIMENTS.values() for job in experiment()} <= {*ARMS, "world", "cache"}


def test_an_unknown_name_is_named_beside_those_that_are_known():
    assert named("direct", "lora") == ("direct", "lora")
    with pytest.raises(KeyError, match="no arm 'dirct'; known are baseline, layer_probe, concat_probe"):
        named("direct", "dirct")


def test_trained_arms_lie_where_their_stage_leaves_them():
    assert trained_arm("implicit", 3) == Path("outputs/distill/implicit/seed-3")
    assert trained_arm("lora", 0) == Path("outputs/train_arms/lora/seed-0")
    assert list(trained_arms(Classification(), [0], ["direct"])) == ["baseline", "direct", "explicit", "implicit"]
    assert list(trained_arms(Anomaly(), [0], ["direct"])) == ["baseline", "direct", "explicit"]


def test_a_run_is_a_frozen_record_without_a_log_unless_it_is_given_one(tmp_path):
    run = Run(seed=3, out=tmp_path / "arm", checkpoints=tmp_path / "work")
    assert run.logger is no_logger
    assert run.logger() is False
    with pytest.raises(FrozenInstanceError):
        run.seed = 4  # type: ignore[misc]


def test_an_arm_is_trained_once_its_record_stands(tmp_path):
    assert not is_trained(tmp_path)
    ArmRecord("direct", 0, "resonance", [], 1, 1, 0.0, 0.5, {}).write(tmp_path)
    assert is_trained(tmp_path)


@pytest.mark.parametrize(
    "package",
    ["", ".arms", ".cost", ".inside", ".report", ".robustness", ".statistics", ".validation"],
)
def test_no_package_of_the_evaluation_loads_lightning_or_plotly(package):
    code = f"import sys, dynaxx.evaluation{package}; print([m for m in ('lightning', 'plotly') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
