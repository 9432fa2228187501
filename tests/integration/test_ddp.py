"""Two processes train one arm (gloo), whoever starts them: both take part, one writes."""

import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from dynaxx.evaluation.arms import ArmRecord

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(ran, tmp_path):
    """The other tests want the project as the pipeline left it."""
    return shutil.copytree(ran[0], tmp_path / "copy")


def couplings(copy):
    (file,) = (copy / "outputs/explicit/explicit/seed-0").glob("resonance-*.safetensors")
    return load_file(file)


def checked(copy, output) -> None:
    assert output.stdout.count("explicit: explicit validation accuracy") == 1
    facts = ArmRecord.read(copy / "outputs/explicit/explicit/seed-1")
    assert facts.notes["processes"] == 2
    assert 0 <= facts.val_score <= 1
    assert not list((copy / ".dynaxx/work").glob("explicit-*"))


def test_explicit_trains_on_two_processes_which_build_the_cache_together(ran, copy):
    command = ran[1]
    command(sys.executable, "-m", "pipelines.compose", "experiment=smoke", "trainer=ddp_cpu", at=copy)
    before = {path.name for path in (copy / ".dynaxx/features").iterdir()}
    shutil.rmtree(copy / ".dynaxx/features")
    checked(copy, command(sys.executable, "-m", "pipelines.explicit", at=copy))
    built = [path for path in (copy / ".dynaxx/features").iterdir() if path.is_dir()]
    assert len(built) == 1
    assert built[0].name in before


def test_explicit_trains_under_torchrun(ran, copy):
    command = ran[1]
    command(sys.executable, "-m", "pipelines.compose", "experiment=smoke", "trainer=ddp_cpu", at=copy)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    checked(copy, command(*torchrun, "-m", "pipelines.explicit", at=copy))


def test_explicit_is_submitted_as_a_job_and_waited_for(ran, copy):
    """submitit's own local executor in place of a cluster: two tasks as processes, started by nobody but it."""
    command = ran[1]
    own = ["trainer=slurm", "launcher.cluster=local", "launcher.timeout_min=10", "trainer.accelerator=cpu"]
    command(sys.executable, "-m", "pipelines.compose", "experiment=smoke", *own, "trainer.devices=2",
            "trainer.num_nodes=1", at=copy)  # fmt: skip
    output = command(sys.executable, "-m", "pipelines.explicit", at=copy)
    assert "explicit: submitted as job" in output.stdout
    checked(copy, output)
    # what goes wrong inside is the stage's one line, and its exit code
    (copy / "outputs/prepare/manifest.json").write_text("{}")
    output = command(sys.executable, "-m", "pipelines.explicit", at=copy, check=False)
    assert output.returncode == 1
    assert "manifest.json" in output.stdout + output.stderr


def test_a_backbone_in_shards_trains_what_a_whole_one_does(ran, copy):
    command = ran[1]
    shutil.rmtree(copy / ".dynaxx/features")
    (copy / ".dynaxx/features").mkdir()
    live = ["experiment=smoke", "train.cache_limit_gb=0", "task.seeds=[0]"]
    command(sys.executable, "-m", "pipelines.compose", *live, "trainer=ddp_cpu", at=copy)
    command(sys.executable, "-m", "pipelines.explicit", at=copy)
    whole = ArmRecord.read(copy / "outputs/explicit/explicit/seed-0")
    adapter = couplings(copy)
    shutil.rmtree(copy / "outputs/explicit")
    sharded = ["trainer=sharded", "trainer.accelerator=cpu", "trainer.devices=2"]
    command(sys.executable, "-m", "pipelines.compose", *live, *sharded, at=copy)
    command(sys.executable, "-m", "pipelines.explicit", at=copy)
    facts = ArmRecord.read(copy / "outputs/explicit/explicit/seed-0")
    assert (facts.val_score, facts.notes, facts.live_parameters) == (
        whole.val_score,
        whole.notes,
        whole.live_parameters,
    )
    again = couplings(copy)
    assert not list((copy / ".dynaxx/features").glob("[!.]*"))
    assert all(torch.allclose(tensor, adapter[name], atol=1e-5) for name, tensor in again.items())
