"""What cannot be submitted is said before anything is."""

import pytest
from omegaconf import OmegaConf

from pipelines.common.submit import submit
from pipelines.compose import compose_all


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("launcher.cluster", "kubernetes"), "launcher.cluster=kubernetes: give one of slurm, local"),
        (("launcher.options.nonsense", 1), "launcher: Parameter 'nonsense' need to be prefixed"),
        (("launcher.options.slurm_nonsense", 1), "launcher: Unknown argument 'nonsense' for executor 'slurm'"),
        (("launcher.timeout_min", "long"), 'launcher: Parameter "timeout_min" expected type'),
        (("trainer.num_nodes", 2), "launcher: LocalExecutor can use only one node"),
        (("launcher.cluster", "slurm"), 'launcher: Could not detect "srun"'),
    ],
)
def test_what_cannot_be_submitted_is_said_in_one_line(tmp_path, monkeypatch, edit, said):
    """As a params.yaml that was edited after it was composed may have it."""
    monkeypatch.setenv("PATH", "")  # no SLURM, wherever this runs
    params = OmegaConf.create(compose_all(["trainer=slurm", "launcher.cluster=local"]))
    OmegaConf.update(params, *edit, force_add=True)
    with pytest.raises(ValueError, match="^launcher") as raised:
        submit("explicit", params, tmp_path / "jobs")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.rglob("*.pkl"))
