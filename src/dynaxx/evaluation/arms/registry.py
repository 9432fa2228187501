"""All arms by name: the only list of arm names in the project.

Importing this module does not load Lightning. `Arm.train` imports the training code of one arm on first use.

To add an arm, write `train(task, run)` in a file of this folder and add one line to `_ALL`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dynaxx.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from dynaxx.evaluation.arms.task import Run, Task
    from dynaxx.tasks import Kind

BASELINE, EXPLICIT, IMPLICIT = "baseline", "explicit", "implicit"
"""Linear probe or own head; trained loop between layers; single-pass student of this loop."""


@dataclass(frozen=True)
class Arm:
    """One competitor of the comparison: its name, its training function and its properties.

    Example: `ARMS["direct"].train(task, Run(seed=0, out=folder, checkpoints=work))` trains `direct`.
    """

    name: str
    trainer: str
    """Module and function that train the arm, such as `direct:train`; the module lies in this folder."""
    unlabelled: str = ""
    """The same where a task kind has no labels to learn from; empty: the arm needs labels."""
    stage: str = "train_arms"
    """Name of the DVC stage that trains the arm."""
    role: str = "reading"
    """`reading`: a way of Dynaxx's own to use what layers know, which a user may deploy. `control`: it tells why
    something works. `rival`: what a user would pick instead of Dynaxx."""
    converged: bool = False
    """Whether the arm is fitted to convergence, without a learning rate or epochs."""
    sized: bool = False
    """Whether the parameter count of the arm is matched to `explicit`."""
    frozen: bool = True
    """Whether the backbone weights stay unchanged, or the trained updates are separate and mergeable."""
    cached: bool = True
    """Whether the arm trains from cached activations where the augmentation allows a cache."""
    positions: bool = False
    """Whether the arm is for kinds alone that answer in every position."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `wrap_with_resonance` in which a variant differs from `explicit`; or of the network that is built."""

    def learns(self, kind: "Kind") -> bool:
        """Whether the arm can learn a task of this kind: some need labels, some of them in every position.

        >>> ARMS["lora"].learns(Anomaly())
        False
        """
        if self.positions and kind.readout != "map":
            return False
        return kind.labelled or bool(self.unlabelled)

    @property
    def train(self) -> Callable[..., None]:
        """The function `train(task, run)`; `implicit` also needs a teacher folder and distillation options.

        Raises:
            EvaluationError: when it is called for a task without labels, from which the arm cannot learn.
        """

        def train(task: "Task", run: "Run", **options: Any) -> None:
            if not self.learns(task.kind):
                needs = "labels in every position" if self.positions else "labels"
                raise EvaluationError(
                    f"train_arms.arms: {self.name} learns from {needs}, and {task.kind.name} has none; leave it out"
                )
            module, function = (self.trainer if task.kind.labelled else self.unlabelled).split(":")
            of_module = getattr(import_module(f"dynaxx.evaluation.arms.{module}"), function)
            given = (self.name, self.options) if self.options else ()
            of_module(*given, task, run, **options)

        return train


_ALL = (
    # readings, the simplest first: of equally cheap ones the decision takes the first
    Arm(
        BASELINE,
        "linear:train_baseline",
        "anomaly:train_baseline",
        stage="baseline",
        converged=True,
        cached=False,
    ),
    Arm("layer_probe", "linear:train_layer_probe", "anomaly:train_layer_probe", converged=True),
    Arm("concat_probe", "linear:train_concat_probe", "anomaly:train_concat_probe", converged=True),
    Arm("concat_mlp", "concat_mlp:train", sized=True),
    Arm("direct", "direct:train", "anomaly:train_direct", sized=True),
    Arm("explicit_T1", "explicit:train_single_pass", sized=True),
    Arm(IMPLICIT, "implicit:train", stage="distill"),
    Arm(EXPLICIT, "explicit:train", "anomaly:train_explicit", stage="explicit"),
    Arm("hybrid", "explicit:train_variant", options={"mode": "hybrid"}),
    Arm("last_tap_only", "last_tap_only:train", role="control", sized=True),
    Arm("reentrant", "explicit:train_variant", role="control", options={"dynamics": "reentrant"}),
    Arm("explicit_monitored", "explicit:train_variant", role="control", options={"stability": "monitored"}),
    Arm("explicit_certified", "explicit:train_variant", role="control", options={"stability": "certified"}),
    Arm("lora", "lora:train", role="rival", sized=True, cached=False),
    Arm("conv_2", "one_pass:train", role="rival", sized=True, positions=True, options={"dilations": "1,1"}),
    Arm("conv_4", "one_pass:train", role="rival", sized=True, positions=True, options={"dilations": "1,1,1,1"}),
    Arm("conv_8", "one_pass:train", role="rival", sized=True, positions=True, options={"dilations": "1,1,1,1,1,1,1,1"}),
    Arm(
        "conv_dilated",
        "one_pass:train",
        role="rival",
        sized=True,
        positions=True,
        options={"dilations": "1,2,4,8,1,2,4,8"},
    ),
    Arm("unet", "one_pass:train", role="rival", sized=True, positions=True, options={"unet": "3 resolutions"}),
    Arm("full_finetune", "full_finetune:train", role="rival", frozen=False, cached=False),
)

ARMS: dict[str, Arm] = {arm.name: arm for arm in _ALL}
"""Name of the arm → arm."""


def named(*names: str) -> tuple[str, ...]:
    """The given arm names, each checked against `ARMS`.

    >>> named("direct", "lora")
    ('direct', 'lora')

    Experiments choose their arms with `named`, so that a misspelt name fails at import.

    Raises:
        KeyError: a name is not in `ARMS`.
    """
    if unknown := [name for name in names if name not in ARMS]:
        raise KeyError(f"no arm {unknown[0]!r}; known are {', '.join(ARMS)}")
    return names


def arms_where(condition: Callable[[Arm], bool]) -> tuple[str, ...]:
    """Names of the arms that satisfy a condition: `arms_where(lambda arm: not arm.frozen)` is `("full_finetune",)`."""
    return tuple(arm.name for arm in _ALL if condition(arm))
