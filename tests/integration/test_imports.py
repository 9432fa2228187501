"""What a stage or a command does not need, it does not import: each starts anew, eleven of them in a `dvc repro`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import dynaxx

ROOT = Path(__file__).resolve().parents[2]

SERVING = ("optuna", "plotly", "captum", "peft", "timm", "torchvision", "transformers", "submitit", "jax")
ANALYSING = ("sklearn", "scipy", "statsmodels", "pandas")
WATCHED = {"torch", "lightning", "torchmetrics", "mlflow", *SERVING, *ANALYSING}

READS = {"torch"}
"""A stage that trains nothing, or trains only where its options say so, begins with torch alone."""

TRAINS = {"torch", "lightning", "torchmetrics", "torchvision", "transformers", "pandas", "scipy"}
"""One that trains takes Lightning, too, which brings the others; MLflow comes with the first run that it logs."""

NEEDED = [
    (("compose", "ui", "services"), set()),
    (("show", "prepare", "pretrain", "baseline", "select_layers", "evaluate", "report"), READS),
    (("tune", "vary", "explicit", "distill", "train_arms"), TRAINS),
]


def imported(code: str) -> dict[str, str]:
    """The watched packages that a new process has imported after `code`, each with the line that it came with."""
    program = ["import json, sys", f"found, watched = {{}}, {sorted(WATCHED)}"]
    for line in code.split("; "):
        program += [line, f"[found.setdefault(name, {line!r}) for name in watched if name in sys.modules]"]
    program.append("print(json.dumps(found))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("stages", "needed"), NEEDED)
def test_a_stage_imports_no_more_than_it_needs(stages, needed):
    found = imported("; ".join(f"import pipelines.{stage}" for stage in stages))
    assert not {name: line for name, line in found.items() if name not in needed}
    assert needed & {"torch", "lightning"} <= found.keys()  # else what is allowed would be too much


def test_every_stage_is_looked_at():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(stages) <= {name for group, _ in NEEDED for name in group}


def test_the_package_and_its_command_import_no_torch_before_a_name_needs_it():
    names = "; ".join(f"dynaxx.{name}" for name in dynaxx.__all__)
    found = imported(f"import dynaxx; import dynaxx.cli; import dynaxx.tracking; {names}")
    assert found == {"torch": "dynaxx.Anchors"}
    assert set(dynaxx.__all__) <= set(dir(dynaxx))
    with pytest.raises(AttributeError, match="no attribute 'wrap'"):
        dynaxx.wrap  # noqa: B018
