"""Two processes train one arm (gloo): both take part, one writes."""

import shutil
import sys

import pytest

from dynaxx.evaluation.arms.facts import ArmFacts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


def test_explicit_trains_on_two_processes(ran, tmp_path):
    project, command, _ = ran
    copy = tmp_path / "copy"  # the other tests want the project as the pipeline left it
    shutil.copytree(project, copy)
    command(sys.executable, "-m", "pipelines.compose", "experiment=smoke", "trainer=ddp_cpu", at=copy)
    output = command(sys.executable, "-m", "pipelines.explicit", at=copy)
    assert output.stdout.count("explicit: explicit validation accuracy") == 1
    facts = ArmFacts.read(copy / "outputs/explicit/explicit/seed-1")
    assert facts.notes["processes"] == 2
    assert 0 <= facts.val_accuracy <= 1
