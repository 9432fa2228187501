"""The answers to --help."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"

STAGE = """usage: python -m pipelines.{name}

{about}

A stage takes no options: it reads params.yaml and the results of earlier stages, and writes outputs/{name}.
Run it by `dvc repro {name}`, which brings the stages before it up to date.
Settings: python -m pipelines.compose --help
"""

COMPOSE = """usage: python -m pipelines.compose [GROUP=OPTION ...] [KEY=VALUE ...]

Composes the settings in conf/ into params.yaml, which `dvc repro` reads. Bad settings are one line, exit status 1, and
params.yaml stays as it is.

{groups}

{keys}

examples:
  python -m pipelines.compose data=image_folder data.root=photos data.image_size=64
  python -m pipelines.compose data=image_folder data.root=photos model=timm model.name=resnet18
  python -m pipelines.compose experiment=cifar10 data.root=cifar10.zip 'task.seeds=[0,1,2]'

A path that exists is taken as it is, with spaces and all. Other values with , ( ) [ ] {{ }} or letters beyond ASCII are
quoted twice, once for the shell and once for Hydra: "tracking.experiment='a, b'". New keys begin with +, as
+trainer.max_time=00:01:00:00.
"""

SWEEP = """usage: python -m pipelines.sweep [sweep=OPTION] [n_trials=N] [GROUP=OPTION ...] [KEY=VALUE ...]

Searches settings of explicit with Optuna, on validation images alone. It begins by bringing the stages up to
select_layers up to date, and ends with a front, a page, and the chosen settings as conf/experiment/best.yaml. The same
command resumes a sweep. Give it the settings that params.yaml was composed with.

options of a sweep:
  n_trials=60                     trials in all, those of earlier runs included
  workers=2                       processes on this machine
  storage=FILE or postgresql://…  where trials are kept; several machines share a database
  sweep.seeds=[100,101]           seeds of each trial, none of task.seeds
  sweep.max_gflops_ratio=1.1      the metric alone counts, within this cost
  sweep.space.resonance.T='int(interval(1, 10))'   what is tuned, in Hydra's syntax

{groups}

{keys}

examples:
  python -m pipelines.sweep n_trials=20
  python -m pipelines.sweep sweep=constrained sweep.max_gflops_ratio=1.2 n_trials=100 workers=4
  python -m pipelines.sweep experiment=cifar10 data.root=cifar10.zip n_trials=200
"""

SHOW = """usage: python -m pipelines.show

Prints the table of the last evaluation, the reasons of its decision, and the paths of the report's pages.
"""

UI = """usage: python -m pipelines.ui

Opens MLflow's UI on the store that the pipeline logs to, on http://127.0.0.1:5000, until Ctrl-C.
"""

WORKER = """usage: python -m pipelines.sweep.worker NUMBER PARENT [OVERRIDE ...]

One process of a sweep. `python -m pipelines.sweep` starts it and gives its own process id as PARENT.
"""

KEYS = """most used keys (all of them, with comments: conf/):
  data.root=PATH                  folder or .zip of train/<class>/… and test/<class>/…
  data.image_size=64              images of several sizes are brought to this one
  data.target=COLUMN              of data=table: the column of numbers to predict
  data.pretrain_fraction=0.5      share of the images that trains the stand-in backbone; 0 with a trained model
  model.name=NAME                 of model=timm and model=torchvision
  model.target=MODULE:FUNCTION    of model=python: a function that returns your network
  model.weights=FILE              a .safetensors or .pt file of a state dict
  task.seeds=[0,1,2]              every arm is trained once a seed
  task.n_val=auto                 images to validate on
  select.layers=auto              or a list of stage numbers or module paths
  resonance.T=4, resonance.rank=16  iterations of the loop, and the size of its messages
  train.epochs=15, train.lr=5e-3, train.batch_size=128   the budget of every arm
  train.augmentation=none         none, flip, shift_flip, crop_flip or dihedral
  tune.lr=[2e-3,6e-3]             learning rates to try for every arm; null: none
  vary.labels=null                null leaves out the plots of fewer labels; as do vary.rank and vary.taps
  train_arms.arms=[direct,lora]   rivals to train
  evaluate.latency_budget=0.2     largest slowdown that the decision accepts"""


def groups(*left_out: str) -> str:
    """The groups of conf/ and their options.

    >>> print(groups().splitlines()[1])
      data        digits image_folder torchvision
    """
    lines = ["groups and their options:"]
    for folder in sorted(path for path in CONF.iterdir() if path.is_dir() and path.name not in left_out):
        options = sorted(file.stem for file in folder.glob("*.yaml"))
        lines.append(f"  {folder.name:<11} {' '.join(options)}")
    return "\n".join(lines)


def asked(arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for help."""
    return any(argument in ("-h", "--help") for argument in arguments)


def answered(text: str) -> int | None:
    """The exit status of a command without options if it is asked for help, or given arguments; else None.

    >>> answered(SHOW)  # run as `python -m pipelines.show`
    """
    arguments = sys.argv[1:]
    if asked(arguments):
        print(text, end="")
        return 0
    if arguments:
        print(f"error: {' '.join(arguments)}: this command takes no arguments", file=sys.stderr)
        return 1
    return None


def compose_help() -> str:
    """The help of `pipelines.compose`."""
    return COMPOSE.format(groups=groups("sweep"), keys=KEYS)


def sweep_help() -> str:
    """The help of `pipelines.sweep`."""
    return SWEEP.format(groups=groups(), keys=KEYS)


def answer_stage(name: str) -> None:
    """End a stage that is asked for help, or given arguments, which it would otherwise pass over in silence.

    >>> answer_stage("explicit")  # run as `python -m pipelines.explicit`: goes on
    """
    if Path(sys.argv[0]).stem != name or len(sys.argv) < 2:
        return  # called by another program, whose arguments these are
    if asked(sys.argv[1:]):
        about = re.sub(r"^Stage `\w+`: ", "", sys.modules["__main__"].__doc__ or "").strip()
        print(STAGE.format(name=name, about=about[:1].upper() + about[1:]), end="")
        sys.exit(0)
    print(
        f"error in stage {name}: {' '.join(sys.argv[1:])}: a stage takes no arguments; compose params.yaml with them, "
        "`python -m pipelines.compose …`",
        file=sys.stderr,
    )
    sys.exit(1)
