"""Where and how much the layers disagree: what of each tap the others do not predict, as a length in every place.

    e_l      = y_l⁰ - ŷ_l                                     what is left of tap l; ŷ_l is made of the other taps
    length_l = √( (e_l - μ_l)ᵀ Σ_l⁻¹ (e_l - μ_l) )            in each position of the grid
    evidence = Σ_l (length_l - m_l) / d_l                     m_l, d_l: mean and deviation over held-out normal samples
    score    = mean of the evidence over the top share of positions

An input is unusual if its score is above the threshold, which a share of held-out normal samples exceeds.

Shape suffixes: B batch, P positions of the grid, C channels of a tap.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dynaxx.config import ACTIVATIONS, ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.grid import Tap
from dynaxx.model.gaussian import Gaussian
from dynaxx.model.predictors import PREDICTORS, Nothing, Predictor, Resonance, Ridge, side_by_side
from dynaxx.model.readout import as_map
from dynaxx.resonance import Anchors, finite

COVARIANCES = ("position", "shared")


class Disagreement(NamedTuple):
    """How unlike the normal samples each sample of a batch is, from `ResonantModel.disagreement`.

    Attributes:
        score: (B,), larger for stranger samples; infinite where an anchor is not finite.
        places: evidence in each place: (B, 1, H, W) of the input's size, or (B, P) of tokens, vectors and such.
        is_unusual: (B,) bool, whether the score is above the threshold.
        threshold: the score that a share `false_alarms` of normal samples exceeds.
        by_tap: standardised length of each scored tap in each position, (B, P) by its path.
    """

    score: Tensor
    places: Tensor
    is_unusual: Tensor
    threshold: float
    by_tap: dict[str, Tensor]


@dataclass(frozen=True)
class DisagreementOptions:
    """Options of `ResonantModel.fit_disagreement`.

    >>> DisagreementOptions(predictor="resonance", T=3).covariance
    'position'

    Raises:
        ResonanceError: a field is out of its range.
    """

    predictor: str = "ridge"
    """How a tap is predicted from the others: `ridge` linearly, in closed form; `resonance` by messages that are
    trained to. `none` predicts nothing: then anchors themselves are scored."""
    covariance: str = "position"
    """`position` gives each position of the grid its own mean and covariance, for objects that are always seen alike;
    `shared` gives all one."""
    shrinkage: float | None = None
    """ρ in [0, 1], the weight of a multiple of the identity in each covariance; `None` estimates it."""
    together: bool = False
    """Whether what is left of all taps is one long vector with one covariance, instead of one per tap."""
    taps: tuple[str, ...] | None = None
    """Paths of the taps that are scored; `None` scores all."""
    top: float = 0.0
    """Share of the positions, the strangest ones, whose mean is the score, in [0, 1]; 0 takes the maximum."""
    penalty: float = 1e-3
    """Penalty of `ridge`, in units of a standardised channel's variance."""
    T: int = 2
    """Iterations of `resonance`."""
    rank: int = 32
    """Channels of a message of `resonance`."""
    activation: str = "gelu"
    """Nonlinearity of `resonance`."""
    epochs: int = 20
    """Passes over the batches in which `resonance` is trained."""
    lr: float = 1e-2
    """Learning rate of `resonance`."""
    false_alarms: float = 0.05
    """Share of normal samples that may be called unusual, in (0, 1)."""

    def __post_init__(self) -> None:
        for name, allowed in (("predictor", PREDICTORS), ("covariance", COVARIANCES), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in allowed:
                raise ResonanceError(f"{name}={getattr(self, name)!r}: give one of {', '.join(allowed)}")
        for name in ("T", "rank", "epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ResonanceError(f"{name}={value!r}: give a whole number of at least 1")
        for name, low, high, say in (
            ("top", 0.0, 1.0, "in [0, 1]"),
            ("shrinkage", 0.0, 1.0, "in [0, 1], or None"),
            ("penalty", 0.0, math.inf, "of at least 0"),
            ("lr", math.ulp(0.0), math.inf, "above 0"),
            ("false_alarms", math.ulp(0.0), math.nextafter(1.0, 0.0), "in (0, 1)"),
        ):
            value = getattr(self, name)
            if value is None and name == "shrinkage":
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not low <= value <= high or math.isinf(value):
                raise ResonanceError(f"{name}={value!r}: give a number {say}")
        if self.taps is not None:
            object.__setattr__(self, "taps", tuple(self.taps))
        if self.taps == ():
            raise ResonanceError("taps=(): name at least one, or give None for all")


def disagreement_options(options: dict[str, Any]) -> DisagreementOptions:
    """The options of these names.

    >>> disagreement_options({"top": 0.1}).top
    0.1

    Raises:
        ResonanceError: an unknown name, or a value out of range.
    """
    known = [field.name for field in fields(DisagreementOptions)]
    if unknown := [name for name in options if name not in known]:
        raise ResonanceError(f"unknown option {unknown[0]}={options[unknown[0]]!r}: known are {', '.join(known)}")
    return DisagreementOptions(**options)


class Detector(nn.Module):
    """The fitted disagreement of one adapter: standardisation, predictor, Gaussians and threshold.

    It stays in float32 whatever the model is cast to: half precision has no room for squared lengths.

    Args:
        taps: the adapter's taps, in depth order.
        config: the adapter's options.
        options: the options.
        positions: number of positions that have a Gaussian of their own; 1 if all share one.

    Raises:
        ResonanceError: scored taps that the adapter does not have, or one tap alone, which nothing predicts.
    """

    centre: Tensor
    scale: Tensor
    threshold: Tensor

    def __init__(
        self, taps: Sequence[Tap], config: ResonanceConfig, options: DisagreementOptions, positions: int = 1
    ) -> None:
        super().__init__()
        self.options, self.dims = options, max(tap.dims for tap in taps)
        paths, channels = [tap.path for tap in taps], [tap.channels for tap in taps]
        if options.predictor != "none" and len(taps) < 2:
            raise ResonanceError(
                f"predictor={options.predictor!r}: {paths[0]!r} is the only tap, so nothing predicts it; wrap two "
                "layers or more, or give predictor='none'"
            )
        if unknown := [path for path in options.taps or () if path not in paths]:
            raise ResonanceError(f"taps={unknown[0]!r}: give some of the model's taps, {', '.join(paths)}")
        self.scored = [number for number, path in enumerate(paths) if options.taps is None or path in options.taps]
        self.names = ["together"] if options.together else [paths[number] for number in self.scored]
        points = [number for number, tap in enumerate(taps) if tap.point]
        points = points if len(points) < len(taps) else []
        self.predictor: Predictor = Nothing()
        if options.predictor == "ridge":
            self.predictor = Ridge(channels, options.penalty, points)
        elif options.predictor == "resonance":
            self.predictor = Resonance(taps, loop_options(config, options), options.epochs, options.lr)
        for tap, width in enumerate(channels):
            self.register_buffer(f"mean_{tap}", torch.zeros(width))
            self.register_buffer(f"std_{tap}", torch.ones(width))
        parts = [(channels[number], 1 if number in points else positions) for number in self.scored]
        if options.together:
            parts = [(sum(width for width, _ in parts), max(places for _, places in parts))]
        self.positions = positions
        self.gaussians = nn.ModuleList(Gaussian(*part) for part in parts)
        self.register_buffer("centre", torch.zeros(len(parts)))
        self.register_buffer("scale", torch.ones(len(parts)))
        self.register_buffer("threshold", torch.tensor(math.inf, dtype=torch.float64))

    def describe(self) -> dict[str, Any]:
        """The options and the number of positions as plain values, for `from_description`."""
        return {"options": asdict(self.options), "positions": self.positions}

    @classmethod
    def from_description(cls, taps: Sequence[Tap], config: ResonanceConfig, description: dict[str, Any]) -> "Detector":
        """A detector without values, of the shapes that `describe` described."""
        return cls(taps, config, DisagreementOptions(**description["options"]), description["positions"])

    @property
    def scorers(self) -> list[Gaussian]:
        """The Gaussian of each scored part."""
        return [module for module in self.gaussians if isinstance(module, Gaussian)]

    def standardised(self, anchors: Anchors) -> Anchors:
        """The anchors in deviations of each channel, without what only a pass of the backbone needs."""
        y_BPC = [
            (x.float() - self.get_buffer(f"mean_{tap}")) / self.get_buffer(f"std_{tap}")
            for tap, x in enumerate(anchors.pooled)
        ]
        return Anchors(y_BPC, [], anchors.grid)

    def left_over(self, standardised: Anchors) -> list[Tensor]:
        """What is left of each scored tap, (B, P, C), or of all together."""
        predicted = self.predictor(standardised)
        rest = [standardised.pooled[number] - predicted[number] for number in self.scored]
        return [side_by_side(rest)] if self.options.together else rest

    def lengths(self, standardised: Anchors) -> list[Tensor]:
        """The length of each scored part in each position, (B, P), or (B, 1) of a point."""
        rest = self.left_over(standardised)
        return [gaussian(e_BPC).sqrt() for gaussian, e_BPC in zip(self.scorers, rest, strict=True)]

    @torch.no_grad()
    def forward(
        self, anchors: Anchors, size: Sequence[int] | None = None, counts_BP: Tensor | None = None
    ) -> Disagreement:
        """The disagreement of one batch.

        Args:
            anchors: anchors, as `ResonantModel.read` gives them.
            size: spatial size of the maps; None leaves them on the grid.
            counts_BP: bool, the positions that are no padding; None if all count.
        """
        with torch.autocast(anchors.pooled[0].device.type, enabled=False):
            finite_B = finite(anchors.pooled)
            lengths = self.lengths(self.standardised(anchors.zero_except(finite_B)))
            found = [(l - m) / d for l, m, d in zip(lengths, self.centre, self.scale, strict=True)]
            # what overflowed is as strange as it gets
            found = [part.nan_to_num(nan=math.inf, posinf=math.inf, neginf=math.inf) for part in found]
            positions = math.prod(anchors.grid)
            by_tap = [only_counted(_of_lost(part.expand(-1, positions), finite_B), counts_BP) for part in found]
            evidence_BP = torch.stack(by_tap).sum(0)
            score_B = mean_of_top(evidence_BP, self.options.top, counts_BP)
            places = evidence_BP
            if self.dims:
                drawn_BP = torch.where(finite_B[:, None], evidence_BP, 0.0)  # an infinity would leak to its neighbours
                places = _of_lost(as_map(drawn_BP[..., None], anchors.grid, size), finite_B)
        return Disagreement(
            score_B,
            places,
            score_B.double() > self.threshold,
            float(self.threshold),
            dict(zip(self.names, by_tap, strict=True)),
        )

    def _apply(self, fn: Any, recurse: bool = True) -> "Detector":
        """Follow to another device, but not to another precision."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)


def loop_options(config: ResonanceConfig, options: DisagreementOptions) -> ResonanceConfig:
    """The options of the loop that predicts: those of messages from `options`, those of layers from the adapter's."""
    return ResonanceConfig(
        T=options.T,
        rank=options.rank,
        activation=options.activation,
        stability="monitored",
        grid=config.grid,
        token_pool=config.token_pool,
        causal=config.causal,
        prefix_tokens=config.prefix_tokens,
        layout=config.layout,
    )


def mean_of_top(evidence_BP: Tensor, share: float, counts_BP: Tensor | None = None) -> Tensor:
    """The mean over the largest share of the positions that count, at least one, (B,).

    >>> mean_of_top(torch.tensor([[1.0, 5.0, 3.0, 2.0]]), 0.5)
    tensor([4.])
    """
    counts_BP = torch.ones_like(evidence_BP, dtype=torch.bool) if counts_BP is None else counts_BP
    sorted_BP = torch.where(counts_BP, evidence_BP, -math.inf).sort(1, descending=True).values
    taken_B1 = (share * counts_BP.sum(1, keepdim=True)).round().clamp_min(1)
    among_BP = torch.arange(sorted_BP.shape[1], device=sorted_BP.device) < taken_B1
    return torch.where(among_BP, sorted_BP, 0.0).sum(1) / taken_B1[:, 0]


def only_counted(x_BP: Tensor, counts_BP: Tensor | None) -> Tensor:
    """The values with 0 at padding."""
    return x_BP if counts_BP is None else torch.where(counts_BP, x_BP, 0.0)


def _of_lost(x: Tensor, finite_B: Tensor) -> Tensor:
    """The values (B, …) with infinity in the samples that are not finite."""
    return torch.where(finite_B.view(-1, *[1] * (x.ndim - 1)), x, math.inf)
