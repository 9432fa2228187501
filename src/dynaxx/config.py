"""The options of a resonant model, validated in one place."""

import difflib
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from dynaxx.errors import ResonanceError

ACTIVATIONS = ("gelu", "silu", "relu", "tanh", "identity")
DYNAMICS = ("anchored", "reentrant")
ORDERS = ("gauss_seidel", "jacobi")
MODES = ("explicit", "implicit", "hybrid", "folded")
COUPLINGS = ("learned", "identity", "random")
GATES = ("none", "learned", "mutual_information")
SOLVERS = ("picard", "anderson")
GRADIENTS = ("unrolled", "implicit")
STABILITY = ("regularized", "certified", "monitored")


@dataclass(frozen=True)
class ResonanceConfig:
    """Options of both dynamics. Every field is checked when the object is made.

    Raises:
        ResonanceError: a field is out of its range; the line names the field, its value and what would do.
    """

    T: int = 5
    """Iterations of the loop, at least 1."""
    mode: str = "explicit"
    """`explicit` runs the loop; `implicit` lets the student predict its end; `hybrid` runs the loop in training, where
    it teaches the student as it goes, and is implicit in inference; `folded` has solved a linear loop once."""
    dynamics: str = "anchored"
    """`anchored`: the taps' anchors stay and only messages move. `reentrant`: the backbone's segments between the taps
    are run again in every iteration; the backbone has to be traceable by torch.fx."""
    order: str = "gauss_seidel"
    """Of a reentrant sweep: `gauss_seidel` reads what earlier taps have just become, `jacobi` what they were."""
    rank: int = 32
    """Channels `r` of each message."""
    damping: float = 0.9
    """λ in (0, 1]: the share of the new message in each step."""
    activation: str = "gelu"
    """Nonlinearity of the bottleneck φ; `identity` makes the whole loop one linear map."""
    depthwise: bool | None = None
    """Whether φ has a depthwise step `D` (3x3 on maps; on token sequences 1-D, 3 wide and causal). It is learned:
    `None` becomes True for learned couplings and False for fixed ones."""
    couplings: str = "learned"
    """`learned`; or fixed, for data sets too small to learn them on: `identity` (eye(C_l, C_k), of its own rank) or
    `random`. Fixed ones train nothing but a factor each."""
    gate: str = "none"
    """`none`; or one gate in (0, 2) a coupling and sample: `learned` from the pooled anchors, or driven by the
    `mutual_information` that a critic sees between the two taps."""
    strength: float = 1.0
    """`s`, what training warms up to."""
    feedback: float = 1.0
    """`α`, the gain with which messages feed back into the states that other messages read."""
    solver: str = "picard"
    """`picard` takes damped steps; `anderson` mixes the last few, for loops that settle slowly."""
    tolerance: float | None = None
    """Relative residual at which a sample stops iterating, each at its own time and after `T` at most; `None` runs all
    `T` iterations."""
    gradient: str = "unrolled"
    """`unrolled` differentiates through the iterations; `implicit` through the fixed point they reach, in the memory of
    one iteration."""
    checkpoint: bool = False
    """Whether training forgets what an iteration computed and computes it again in the backward pass: memory for T
    messages instead of T iterations."""
    stability: str = "regularized"
    """`regularized`: training adds the residual to its loss, so that the loop learns to settle. `certified`: the
    feedback that closes a circle is cut in every step until κ ≤ `kappa_max`, so that it must; see `certificate`.
    `monitored`: nothing is done; calibration tells."""
    kappa_max: float = 0.95
    """The bound that `certified` keeps, in (0, 1)."""
    grid: tuple[int, int] | None = None
    """Height and width on which messages live; `None` is the last tap's own resolution. Maps only."""
    token_pool: bool = False
    """Whether token sequences exchange messages about their mean, and every token hears the same, instead of each token
    by itself; in causal models the running mean. Token taps only."""
    causal: bool | None = None
    """Whether no token may hear a later one, in pooling and gates as in the depthwise step; `None` tries it out on the
    example input. Token taps only."""
    prefix_tokens: int | None = None
    """Tokens in front of a sequence that stand for no place (class, registers), which the depthwise step leaves out;
    `None` counts those that the model is seen to have."""
    num_classes: int | None = None
    """Outputs of a new linear head; `None` keeps the backbone's."""
    classifier: str | None = None
    """Path of the linear module that a new head replaces; `None` finds the backbone's last one."""
    student_hidden: int = 64
    """Hidden channels of the gating network of the implicit mode."""

    def __post_init__(self) -> None:
        _whole("T", self.T, 1)
        _whole("rank", self.rank, 1)
        _whole("student_hidden", self.student_hidden, 1)
        if self.prefix_tokens is not None:
            _whole("prefix_tokens", self.prefix_tokens, 0)
        if self.causal is not None and not isinstance(self.causal, bool):
            raise ResonanceError(f"causal={self.causal!r}: give True, False or None")
        if not isinstance(self.token_pool, bool):
            raise ResonanceError(f"token_pool={self.token_pool!r}: give True or False")
        if self.num_classes is not None:
            _whole("num_classes", self.num_classes, 1)
        _choice("mode", self.mode, MODES)
        _choice("dynamics", self.dynamics, DYNAMICS)
        _choice("order", self.order, ORDERS)
        _choice("gate", self.gate, GATES)
        _choice("solver", self.solver, SOLVERS)
        _choice("gradient", self.gradient, GRADIENTS)
        _choice("stability", self.stability, STABILITY)
        _choice("activation", self.activation, ACTIVATIONS)
        _number("damping", self.damping, 0.0, 1.0, "in (0, 1]")
        _number("strength", self.strength, 0.0, math.inf, "above 0")
        _number("feedback", self.feedback, 0.0, math.inf, "above 0")
        _number("kappa_max", self.kappa_max, 0.0, math.nextafter(1.0, 0.0), "in (0, 1)")
        if not isinstance(self.checkpoint, bool):
            raise ResonanceError(f"checkpoint={self.checkpoint!r}: give True or False")
        if self.tolerance is not None:
            _number("tolerance", self.tolerance, 0.0, math.nextafter(1.0, 0.0), "in (0, 1), or None")
        if self.gradient == "implicit" and self.stability == "regularized":
            raise ResonanceError(
                "gradient='implicit': at a fixed point the residual has no gradient to learn from; "
                "give stability='certified' or 'monitored'"
            )
        if self.gradient == "implicit" and self.checkpoint:
            raise ResonanceError("checkpoint=True: the implicit gradient keeps one iteration anyway; give False")
        if self.dynamics == "reentrant":
            for name, only in (("stability", ("regularized", "monitored")), ("feedback", (1.0,))):
                if getattr(self, name) not in only:
                    raise ResonanceError(
                        f"{name}={getattr(self, name)!r}: in the reentrant dynamics the feedback runs through the "
                        f"backbone; give {only[0]!r}"
                    )
            if self.mode == "folded":
                raise ResonanceError("mode='folded': a loop through the backbone is no matrix; give 'explicit'")
        elif self.order != "gauss_seidel":
            raise ResonanceError(f"order={self.order!r}: the anchored dynamics have none; give dynamics='reentrant'")
        if self.classifier is not None and self.num_classes is None:
            raise ResonanceError(f"classifier={self.classifier!r}: a new head replaces it; give num_classes too")
        if self.token_pool and self.prefix_tokens:
            raise ResonanceError(f"prefix_tokens={self.prefix_tokens}: pooled tokens have no neighbours; give None")
        _choice("couplings", self.couplings, COUPLINGS)
        learned = self.couplings == "learned"
        if self.depthwise is None:
            object.__setattr__(self, "depthwise", learned)
        if not isinstance(self.depthwise, bool):
            raise ResonanceError(f"depthwise={self.depthwise!r}: give True, False or None")
        for name, value, fixed in (("depthwise", self.depthwise, False), ("gate", self.gate, "none")):
            if not learned and value != fixed:
                raise ResonanceError(
                    f"{name}={value!r}: {self.couplings} couplings train nothing but their strength; give {fixed!r}"
                )
        if self.grid is not None:
            if not isinstance(self.grid, (tuple, list)) or len(self.grid) != 2:
                raise ResonanceError(f"grid={self.grid!r}: give (height, width) or None for the last tap's own")
            for side in self.grid:
                _whole("grid", side, 1)
            object.__setattr__(self, "grid", (int(self.grid[0]), int(self.grid[1])))

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, as they go to JSON."""
        return asdict(self)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "ResonanceConfig":
        """Build from keyword options; an unknown one raises and names its nearest neighbour."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise ResonanceError(f"unknown option {name}={options[name]!r}: {hint}known are {', '.join(known)}")
        return cls(**options)


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ResonanceError(f"{name}={value!r}: give a whole number of at least {least}")


def _number(name: str, value: object, above: float, most: float, say: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value <= most or math.isinf(value):
        raise ResonanceError(f"{name}={value!r}: give a number {say}")


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ResonanceError(f"{name}={value!r}: give one of {', '.join(allowed)}")
