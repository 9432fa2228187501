"""The resonant model: a frozen backbone whose chosen layers agree before its last part goes on."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.resonance.agreement import Agreement
from dynaxx.resonance.anchors import Anchors, pooled_anchors
from dynaxx.resonance.calibration import CalibrationReport, calibrate
from dynaxx.resonance.classifier import check_classifier, find_classifier, headed, reading
from dynaxx.resonance.combinations import check_options
from dynaxx.resonance.config import ResonanceConfig
from dynaxx.resonance.engine import Engine
from dynaxx.resonance.errors import ResonanceError, ResonanceWarning
from dynaxx.resonance.example import Call, inputs_of
from dynaxx.resonance.grid import from_grid
from dynaxx.resonance.head import Head
from dynaxx.resonance.saving import write
from dynaxx.resonance.stability import Stability
from dynaxx.resonance.statistics import moments
from dynaxx.resonance.student import Student
from dynaxx.resonance.taps import TapInfo, check_fits, probe, tapped
from dynaxx.resonance.tokens import with_token_facts
from dynaxx.resonance.trace import Trace


class ResonantModel(nn.Module):
    """Made by `wrap_with_resonance`; called like the backbone, with the backbone's arguments.

    Attributes:
        backbone: the user's own object, frozen and always in eval mode.
        engine: couplings, gates, statistics and student; None until the shapes of the taps are known.
        head: the new linear head, or None where the backbone keeps its own.
        fallback: (B,) bool of the last pass: the samples that were returned as the backbone gave them, since an
            anchor or a message of theirs was not finite.
        trace: the `Trace` of the last pass within `tracing()`, else None.
        classifier: path of the module in whose place the new head answers, or None.
    """

    def __init__(self, backbone: nn.Module, paths: Sequence[str], config: ResonanceConfig) -> None:
        super().__init__()
        self.config = config
        self.paths = tuple(paths)
        self.backbone = backbone
        self.engine: Engine | None = None
        self.head: Head | None = None
        self.fallback: Tensor | None = None
        self.trace: Trace | None = None
        self._observed: list[Agreement] | None = None
        self.classifier: str | None = None
        self._copy: list[bool] = []
        self._prefix = 0
        self._disabled = self._tracing = self._removed = self._warned = False
        self._was = (
            [(p, p.requires_grad) for p in backbone.parameters()],
            [(m, m.training) for m in backbone.modules()],
        )
        if config.num_classes is not None:
            self.classifier, linear = find_classifier(backbone, config.classifier)
            self.head = Head(linear.in_features, config.num_classes).to(linear.weight.device)
        backbone.requires_grad_(False)
        self.eval()

    # ---- building -------------------------------------------------------------------------------------------------

    def build(self, call: Call) -> None:
        """Learn the taps' shapes from one forward pass on `call` and make the parameters."""
        args, kwargs = call
        if self.classifier is not None and self.config.classifier is None:
            check_classifier(self.backbone, self.classifier, lambda: self.backbone(*args, **kwargs))
        infos = probe(self.backbone, self.paths, args, kwargs)
        if infos[0].tokens:
            infos = with_token_facts(infos, self.backbone, call, self.config.causal, self.config.prefix_tokens)
        self.build_from(infos)

    def build_from(self, infos: Sequence[TapInfo], T: int | None = None) -> None:
        """Make the parameters for taps of known shape, given in depth order, and for the couplings that `T` needs."""
        self.paths = tuple(info.path for info in infos)
        self._copy = [info.overwritten for info in infos]
        check_options(self.config, infos[0])
        config = dataclasses.replace(self.config, T=T or self.T)
        with torch.inference_mode(False):  # a first pass may be one of inference; what it makes will be trained
            engine = Engine(
                self.paths,
                [info.channels for info in infos],
                infos[0].tokens,
                config,
                causal=infos[0].causal,
                prefix=0 if config.token_pool else infos[0].prefix,
            )
        self._prefix = infos[0].prefix
        parameter = next(self.backbone.parameters(), None)
        self.engine = engine if parameter is None else engine.to(parameter.device)
        self.engine.train(self.training)

    def tap_infos(self) -> list[TapInfo]:
        """What `build_from` needs to make the same model again."""
        engine = self.built()
        return [
            TapInfo(path, channels, engine.tokens, copy, engine.causal, self._prefix)
            for path, channels, copy in zip(self.paths, engine.channels, self._copy, strict=True)
        ]

    def built(self) -> Engine:
        """The engine; an error while the shapes of the taps are unknown."""
        if self.engine is None:
            raise ResonanceError(
                "example_input: the shapes of the taps are not known yet, so there is nothing to train or save; "
                "pass example_input to wrap_with_resonance, or run one forward pass first"
            )
        return self.engine

    # ---- running --------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The backbone's output with the last tap replaced by what the taps agreed on."""
        if self._removed:
            raise ResonanceError("model: this resonant model was removed from its backbone; wrap it again")
        if self._disabled:
            return self.backbone(*args, **kwargs)
        if self.engine is None:
            self.build((args, kwargs))
        with (
            headed(self.backbone, self.classifier, self.head),
            tapped(self.backbone, self.paths, self._on_last, self._copy),
        ):
            return self.backbone(*args, **kwargs)

    def _on_last(self, activations: list[Tensor]) -> Tensor:
        return self.agree(self.anchors(activations))[0]

    def anchors(self, activations: list[Tensor]) -> Anchors:
        """Pool the taps' activations onto the grid.

        Raises:
            ResonanceError: a tap that is not of the kind and width that the couplings were made for.
        """
        engine = self.built()
        for path, x, channels in zip(self.paths, activations, engine.channels, strict=True):
            check_fits(path, x, channels, engine.tokens)
        return pooled_anchors(activations, self.config.grid, self.config.token_pool, engine.causal)

    @torch.no_grad()
    def read(self, *args: Any, **kwargs: Any) -> Anchors:
        """The anchors of one batch, as the frozen backbone gives them; what a feature cache stores."""
        if self.engine is None:
            self.build((args, kwargs))
        with tapped(self.backbone, self.paths, None, self._copy) as seen:
            self.backbone(*args, **kwargs)
        return self.anchors([seen[path] for path in self.paths])

    def agree(self, anchors: Anchors) -> tuple[Tensor, Agreement]:
        """x_L = x_L⁰ + s · σ_L ⊙ Up(Σ_k U_Lk c_Lk) from the anchors of a batch, and how it came about."""
        engine = self.built()
        self._warn_without_statistics(engine)
        finite_B = torch.stack([torch.isfinite(pooled).flatten(1).all(1) for pooled in anchors.pooled]).all(0)
        # zeroed before the loop: torch.where after it would still let NaN into the gradient
        pooled = [torch.where(finite_B[:, None, None], p, 0.0) for p in anchors.pooled]
        agreement = engine(pooled, anchors.grid, self.mode, self.T, self._tracing)
        settled_B = finite_B & torch.isfinite(agreement.delta.detach()).flatten(1).all(1)
        self.fallback = ~settled_B
        self.trace = agreement.trace
        if self._observed is not None:
            self._observed.append(agreement)
        last = anchors.last
        delta = from_grid(agreement.delta, anchors.grid, last).to(last.dtype)
        keep = settled_B.view(-1, *[1] * (last.ndim - 1))
        return torch.where(keep, last + delta, last), agreement

    def finish(self, last: Tensor, tail: nn.Module) -> Tensor:
        """Run what lies behind the last tap, and the head, on `last`; `tail` comes from `tail_after`."""
        with headed(self.backbone, self.classifier, self.head):
            return tail(last)

    def _warn_without_statistics(self, engine: Engine) -> None:
        if self.training and torch.is_grad_enabled() and not self._warned:
            self._warned = True
            if not bool(engine.statistics.get_buffer("fitted")):
                warnings.warn(
                    "training on anchors that were not standardised; call fit_statistics(batches) first",
                    ResonanceWarning,
                    stacklevel=2,
                )

    # ---- switches -------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """`explicit`, `implicit`, `hybrid` or `folded`; may be set at any time."""
        return self.config.mode

    @mode.setter
    def mode(self, mode: str) -> None:
        config = dataclasses.replace(self.config, mode=mode)
        if mode in ("implicit", "hybrid") and self.engine is not None and self.engine.student is None:
            raise ResonanceError(f"mode={mode!r}: this model has no student; call add_student() and distil it")
        if mode == "folded":
            self.built().fold()  # anew, for the parameters as they now are
        self.config = config

    @property
    def T(self) -> int:
        """Iterations of the explicit loop; may be set at any time, above or below what was trained with."""
        return self.config.T

    @T.setter
    def T(self, T: int) -> None:
        self.config = dataclasses.replace(self.config, T=T)

    def add_student(self) -> Student:
        """Make (or make anew) the gating network that the implicit mode runs; it still has to be distilled."""
        return self.built().add_student()

    def fold(self) -> None:
        """Replace a linear loop (`activation="identity"`, no depthwise step, no gate) by its exact fixed point.

        It holds for the parameters as they are; train in explicit mode and fold again. Same as `mode = "folded"`.

        Raises:
            ResonanceError: a loop that is not linear, or that diverges.
        """
        self.mode = "folded"

    @contextmanager
    def disabled(self) -> Iterator["ResonantModel"]:
        """Within the block the model is the bare backbone, its own head included."""
        before, self._disabled = self._disabled, True
        try:
            yield self
        finally:
            self._disabled = before

    @contextmanager
    def tracing(self) -> Iterator["ResonantModel"]:
        """Within the block each explicit pass records `model.trace`, at the cost of one iteration more."""
        before, self._tracing = self._tracing, True
        try:
            yield self
        finally:
            self._tracing = before

    @contextmanager
    def observed(self) -> Iterator[list[Agreement]]:
        """Within the block every pass appends its `Agreement`, graph and all, to the list; losses read it."""
        before, self._observed = self._observed, []
        try:
            yield self._observed
        finally:
            self._observed = before

    def train(self, mode: bool = True) -> "ResonantModel":
        """As in torch, but the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def remove(self) -> nn.Module:
        """Give the user's object back as it was: its training flags and modes restored, no hook left."""
        for parameter, requires_grad in self._was[0]:
            parameter.requires_grad_(requires_grad)
        for module, training in self._was[1]:
            module.training = training
        self._removed = True
        return self.backbone

    # ---- telling --------------------------------------------------------------------------------------------------

    def stability(self) -> Stability:
        """κ of the loop, whether contraction is certified, and the iterations that a tolerance needs."""
        return self.built().stability()

    def fit_statistics(self, batches: Iterable[Any]) -> None:
        """Set the standardisation of the anchors, and of a new head's features, from batches of inputs.

        Args:
            batches: inputs, or (input, label, …) tuples.
        """
        engine = self.built()
        with reading(self.backbone, self.classifier) as features:
            per_part = moments(self.read(inputs_of(batch)).pooled + features[-1:] for batch in batches)
        engine.statistics.set(per_part[: len(self.paths)])
        if self.head is not None:
            self.head.standardise(*per_part[-1])

    def calibrate(self, loader: Iterable[Any], *, baseline_accuracy: float | None = None) -> CalibrationReport:
        """Check the trained model on validation batches and mend what can be; see `calibration.calibrate`."""
        return calibrate(self, loader, baseline_accuracy=baseline_accuracy)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """As in torch; an error while the parameters do not exist yet, so that none are forgotten in training."""
        self.built()
        return super().named_parameters(*args, **kwargs)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that training moves: couplings, gates, student and head, as far as they are not frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def print_trainable_parameters(self) -> None:
        """Print how many parameters train, and their share of all."""
        trained = sum(parameter.numel() for parameter in self.trainable_parameters())
        total = sum(parameter.numel() for parameter in self.parameters())
        print(f"trainable params: {trained:,} || all params: {total:,} || trainable%: {100 * trained / total:.4f}")

    def save_pretrained(self, directory: str | Path) -> None:
        """Write couplings, gates, statistics, student and head, never the backbone; see `saving.write`.

        `load_resonance(base_model, directory)` reads them back.
        """
        engine = self.built()
        engine.settle()
        tensors = {f"engine.{name}": tensor for name, tensor in engine.state_dict().items()}
        if self.head is not None:
            tensors |= {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}
        description = {
            "config": self.config.to_dict(),
            "built_T": engine.config.T,
            "taps": [dataclasses.asdict(info) for info in self.tap_infos()],
            "classifier": self.classifier,
            "student": engine.student is not None,
        }
        write(Path(directory), description, tensors)
