"""The options of a resonant model, validated in one place."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dynaxx.errors import ResonanceError

ACTIVATIONS = ("gelu", "silu", "relu", "tanh", "identity")
DYNAMICS = ("anchored", "reentrant")
ORDERS = ("gauss_seidel", "jacobi")
MODES = ("explicit", "implicit", "hybrid", "folded", "direct", "probe", "layer_probe", "concat_probe")
LINEAR = ("probe", "layer_probe", "concat_probe")
"""Modes without couplings: a linear head on the last layer, on one tapped layer, on all of them."""
STUDENT = ("implicit", "hybrid", "direct")
"""Modes with a student, the network of one pass."""
READOUTS = ("classifier", "mean", "moments", "map")
COUPLINGS = ("learned", "identity", "random")
GATES = ("none", "learned", "mutual_information", "position")
SOLVERS = ("picard", "anderson")
GRADIENTS = ("unrolled", "implicit")
STABILITY = ("regularized", "certified", "monitored")
TOKENS = ("BC", "BNC", "NBC")
MAPS = ("BCN", "BCHW", "BHWC", "BCDHW", "BDHWC")
"""Layouts of activations: B samples, C channels, N or D, H, W positions. `BCN` are computed as maps of one row."""

GROUPS: dict[str, tuple[str, ...]] = {
    "measured": (
        "T",
        "mode",
        "dynamics",
        "rank",
        "damping",
        "activation",
        "depthwise",
        "gate",
        "strength",
        "solver",
        "tolerance",
        "stability",
        "kappa_max",
        "token_pool",
        "num_classes",
        "readout",
        "student_hidden",
    ),
    "supported": ("order", "checkpoint", "grid", "sources", "causal", "prefix_tokens", "layout", "classifier"),
    "experimental": ("couplings", "feedback", "gradient"),
}
"""Options by the evidence for them; docs/guide.md lists the values that stand behind published figures.

`measured`: the default and the other values that docs/guide.md lists stand behind published figures. `supported`: fits
the loop to a model or a machine; tested, but no published figure compares its values. `experimental`: the default
stands behind all figures; other values are tested to be correct, but no figure says what they are worth.
"""


@dataclass(frozen=True)
class ResonanceConfig:
    """Options of both dynamics. Every field is checked when the object is made.

    The description of each field begins with its group in `GROUPS`: measured, supported or experimental.

    Raises:
        ResonanceError: a field is out of its range; the message names the field, its value and valid values.
    """

    T: int = 5
    """Measured. Iterations of the loop, at least 1."""
    mode: str = "explicit"
    """Measured. `explicit` runs the loop. `implicit` predicts the loop's fixed point in one pass, by the student
    network. `hybrid` is explicit in training, which also trains the student, and implicit in inference. `folded` solves
    a linear loop once, exactly. `direct` is the student alone, trained on labels from the start. Three modes couple
    nothing and read linearly: `probe` the last layer, `layer_probe` one tapped layer, `concat_probe` all of them."""
    dynamics: str = "anchored"
    """Measured. `anchored` keeps the tapped layers' activations fixed and changes only messages. In `reentrant` every
    iteration runs the backbone's segments between the taps again; torch.fx must be able to trace the backbone."""
    order: str = "gauss_seidel"
    """Supported. Order of a reentrant iteration: `gauss_seidel` reads the new states of earlier taps, `jacobi` the
    old states."""
    rank: int = 32
    """Measured. Channels `r` of each message."""
    damping: float = 0.9
    """Measured. λ in (0, 1]: the weight of the new message in each step."""
    activation: str = "gelu"
    """Measured. Nonlinearity of the bottleneck φ; `identity` makes the whole loop one linear map."""
    depthwise: bool | None = None
    """Measured. Whether φ has a learned depthwise convolution `D` (3x3 on maps; 1-D, 3 wide and causal on token
    sequences). `None` becomes True for learned couplings and False for fixed ones."""
    couplings: str = "learned"
    """Experimental. `learned`; or fixed, for data sets too small to learn them: `identity` (eye(C_l, C_k), with
    its own rank) or `random`. In a fixed coupling only one of the two factor matrices is trained."""
    gate: str = "none"
    """Measured. `none`; or one factor in (0, 2) per coupling and sample: `learned` from the pooled anchors, or computed
    from the `mutual_information` of the two taps, which a critic estimates; or one in (0, 1) for each `position`, from
    the anchors there, where messages travel and have to be stopped."""
    strength: float = 1.0
    """Measured. `s`, the factor of every update written to taps; training raises `s` from 0.01 to this value."""
    feedback: float = 1.0
    """Experimental. `α`, the gain with which messages feed back into the states that other messages read."""
    solver: str = "picard"
    """Measured. `picard` takes damped steps; `anderson` combines the last few steps, for loops that converge slowly."""
    tolerance: float | None = None
    """Measured. Relative residual at which a sample stops iterating, independently of the others and after at most `T`
    iterations; `None` runs all `T`."""
    gradient: str = "unrolled"
    """Experimental. `unrolled` differentiates through the iterations; `implicit` differentiates at the fixed point,
    with the memory of one iteration."""
    checkpoint: bool = False
    """Supported. Whether the backward pass recomputes each iteration: training then stores T messages instead of T
    iterations."""
    stability: str = "regularized"
    """Measured. `regularized`: training adds the residual to its loss. `certified`: in every step the feedback that
    closes a cycle is scaled down until κ ≤ `kappa_max`. `monitored`: training does nothing; calibration reports."""
    kappa_max: float = 0.95
    """Measured. The upper limit of κ in `stability="certified"`, in (0, 1)."""
    grid: tuple[int, int] | None = None
    """Supported. Height and width of the grid of messages; `None` is the resolution of the last tap that has positions.
    With feature maps among the taps only."""
    sources: Mapping[str, int] = field(default_factory=dict)
    """Supported. Inputs of the call that are read and never written, such as a click: channels by name. They are given
    as `model(images, sources={name: tensor})`."""
    token_pool: bool = False
    """Measured. Whether messages describe the mean of all tokens, the same for every token, instead of each token; in
    causal models, the running mean. Token taps only."""
    causal: bool | None = None
    """Supported. Whether pooling, gates and the depthwise convolution read earlier tokens alone; `None` tests the
    model on the example input. Token taps only."""
    prefix_tokens: int | None = None
    """Supported. Number of leading tokens without a position (class, distillation, registers), which the depthwise
    convolution skips; `None` counts them from the backbone's parameters."""
    layout: str | None = None
    """Supported. Axes of the tapped layers' activations, for example `BHWC` for maps with channels last; `None` finds
    them on the example input."""
    num_classes: int | None = None
    """Measured. Outputs of a new linear head; `None` keeps the backbone's head."""
    readout: str | None = None
    """Measured. What the new head reads. `classifier`: the input of the backbone's classifier, in whose place it is.
    Or the agreed activations of all taps on the grid, while nothing behind the last tap runs: their `mean` over
    positions; `moments`, the mean and the standard deviation over the layer's own positions; `map`, every position,
    for outputs (B, num_classes, H, W) of the input's size. `None`: `mean` in the modes layer_probe and concat_probe,
    else `classifier`."""
    classifier: str | None = None
    """Supported. Path of the linear module that a new head replaces; `None` finds the backbone's last linear module."""
    student_hidden: int = 64
    """Measured. Hidden channels of the student, the gating network of the implicit mode."""

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
        if self.layout is not None:
            _choice("layout", self.layout, TOKENS + MAPS)
        if self.num_classes is not None:
            _whole("num_classes", self.num_classes, 1)
        _choice("mode", self.mode, MODES)
        self._check_readout()
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
        if not isinstance(self.sources, Mapping):
            raise ResonanceError(f"sources={self.sources!r}: give a dict from names to numbers of channels")
        for name, channels in self.sources.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise ResonanceError(f"sources={self.sources!r}: {name!r} is no name; give a word")
            _whole(f"sources[{name!r}]", channels, 1)
        if self.sources and self.mode in LINEAR:
            raise ResonanceError(
                f"sources={self.sources!r}: mode={self.mode!r} has no couplings to read them; give {{}}"
            )
        object.__setattr__(self, "sources", dict(self.sources))

    def _check_readout(self) -> None:
        of_taps = self.mode in ("layer_probe", "concat_probe")
        if self.readout is None:
            object.__setattr__(self, "readout", "mean" if of_taps else "classifier")
        _choice("readout", self.readout, READOUTS)
        if of_taps and self.readout == "classifier":
            raise ResonanceError(f"readout='classifier': mode={self.mode!r} reads tapped layers; give 'mean'")
        if self.mode in LINEAR and self.num_classes is None:
            raise ResonanceError(f"num_classes=None: mode={self.mode!r} is a new linear head; give its outputs")
        if self.reads_taps:
            if self.num_classes is None:
                raise ResonanceError(f"num_classes=None: readout={self.readout!r} is a new head; give its outputs")
            if self.dynamics == "reentrant":
                raise ResonanceError(
                    f"readout={self.readout!r}: the reentrant dynamics run the backbone; give dynamics='anchored'"
                )
            if self.classifier is not None:
                raise ResonanceError(
                    f"classifier={self.classifier!r}: readout={self.readout!r} replaces none; leave it out"
                )

    @property
    def reads_taps(self) -> bool:
        """Whether the new head reads the taps, and nothing behind them runs."""
        return self.readout != "classifier"

    def way(self, training: bool) -> str:
        """How a pass runs: `linear` without couplings, `loop`, `student`, or `folded`.

        >>> ResonanceConfig(mode="hybrid").way(training=True)
        'loop'
        """
        if self.mode in LINEAR:
            return "linear"
        if self.mode in ("implicit", "direct") or (self.mode == "hybrid" and not training):
            return "student"
        return "folded" if self.mode == "folded" else "loop"

    def to_dict(self) -> dict[str, Any]:
        """The options as plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "ResonanceConfig":
        """Build from keyword options; an unknown option raises an error that names the nearest valid option."""
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
