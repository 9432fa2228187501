"""The resonant model: a frozen backbone whose chosen layers agree before its last part goes on."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dynaxx.backbone.example import inputs_of
from dynaxx.backbone.execution import Wiring
from dynaxx.backbone.head import headed, reading
from dynaxx.backbone.taps import tapped
from dynaxx.errors import ResonanceError, ResonanceWarning
from dynaxx.model.active import ActiveAdapter
from dynaxx.model.adapter import Adapter
from dynaxx.model.calibration import CalibrationReport, calibrate
from dynaxx.model.posthoc import Posthoc
from dynaxx.resonance.anchors import Anchors
from dynaxx.resonance.output import Agreement
from dynaxx.resonance.standardise import moments
from dynaxx.resonance.trace import Trace


class ResonantModel(ActiveAdapter):
    """Made by `wrap_with_resonance`; called like the backbone, with the backbone's arguments.

    Attributes:
        backbone: the user's own object, frozen and always in eval mode.
        fallback: (B,) bool of the last pass: the samples that were returned as the backbone gave them, since an
            anchor or a message of theirs was not finite.
        trace: the `Trace` of the last pass within `tracing()`, else None.
    """

    def __init__(self, backbone: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.backbone = backbone
        self.trace: Trace | None = None
        self._observed: list[Agreement] | None = None
        self._read: list[Anchors] | None = None  # where a pass only reads, what it has read
        self._disabled = self._tracing = self._removed = self._warned = False
        self._was = (
            [(p, p.requires_grad) for p in backbone.parameters()],
            [(m, m.training) for m in backbone.modules()],
        )
        self.adapters[self.active_adapter] = adapter
        backbone.requires_grad_(False)
        self.eval()

    # ---- running --------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The backbone's output, with the taps replaced by what they agreed on."""
        if self._removed:
            raise ResonanceError("model: this resonant model was removed from its backbone; wrap it again")
        if self._disabled:
            return self.backbone(*args, **kwargs)
        wiring = self._wiring((args, kwargs))
        if not wiring.hooks or torch.compiler.is_compiling():
            return wiring.network(*args, **kwargs)
        adapter = self.adapter
        with (
            headed(self.backbone, adapter.classifier, adapter.head),
            tapped(self.backbone, self.paths, self._on_last, [info.overwritten for info in adapter.infos]),
        ):
            return self.backbone(*args, **kwargs)

    def posthoc(self, *args: Any, **kwargs: Any) -> Posthoc:
        """The backbone's own output, untouched, and beside it the resonant one; costs one bare backbone pass more.

        `fallback` and `trace` are of the resonant pass.
        """
        # a backbone may overwrite what it is given, and the second pass is to see the same
        given_args, given_kwargs = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, (args, kwargs))
        with self.disabled():
            own = self(*given_args, **given_kwargs)
        return Posthoc(own, self(*args, **kwargs))

    def _on_last(self, activations: list[Tensor]) -> Tensor:
        return self._meet(activations, ())[0]

    def _meet(self, activations: list[Tensor], outside: Sequence[Any]) -> list[Tensor]:
        anchors = self.adapter.anchors(activations, outside)
        if self._read is None:
            return self.agree(anchors)[0]
        self._read.append(anchors)
        return [x.clone() for x in anchors.seen]  # what goes on may be overwritten in place

    @torch.no_grad()
    def read(self, *args: Any, **kwargs: Any) -> Anchors:
        """The anchors of one batch, as the frozen backbone gives them; what a feature cache stores."""
        before = self._read, self._disabled
        self._read, self._disabled = [], False
        try:
            self(*args, **kwargs)
            (anchors,) = self._read
        finally:
            self._read, self._disabled = before
        return anchors

    def agree(self, anchors: Anchors) -> tuple[list[Tensor], Agreement]:
        """x_l = x_l⁰ + Up(Δ_l) of each tap that is seen, from the anchors of a batch, and how it came about."""
        self._warn_without_statistics()
        wiring: Wiring | None = self._wired.get(self.active_adapter)
        agreed, agreement = self.adapter.agree(anchors, wiring, self._tracing)
        if not torch.compiler.is_exporting():
            self.trace = agreement.trace
        if self._observed is not None:
            self._observed.append(agreement)
        return agreed, agreement

    def tail(self, example: Any) -> nn.Module:
        """What lies behind the taps, on its own: what training from cached anchors runs.

        Args:
            example: a batch of inputs on which it is checked against the backbone.

        Raises:
            ResonanceError: the backbone cannot be traced, what lies behind reads more than the taps, or the tail does
                not give the backbone's output; train from live activations then.
        """
        return self.adapter.tail(self.backbone, example)

    def finish(self, seen: list[Tensor], tail: nn.Module) -> Tensor:
        """Run `tail`, made by `tail()`, and the head on what the seen taps agreed on."""
        with headed(self.backbone, self.adapter.classifier, self.head):
            logits: Tensor = tail(seen)
        return logits

    def _warn_without_statistics(self) -> None:
        if self.training and torch.is_grad_enabled() and not self._warned and not torch.compiler.is_compiling():
            self._warned = True
            if not bool(self.built().statistics.get_buffer("fitted")):
                warnings.warn(
                    "training on anchors that were not standardised; call fit_statistics(batches) first",
                    ResonanceWarning,
                    stacklevel=2,
                )

    # ---- switches -------------------------------------------------------------------------------------------------

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

    def unfreeze_backbone(self) -> None:
        """Let training move the backbone's parameters, too; it stays in eval mode, and its buffers as they are.

        The adapter then fits no other backbone: save both, and load the adapter onto the tuned one.
        """
        replaced = self.adapter.classifier  # nothing of it reaches the output
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(replaced is None or not name.startswith(f"{replaced}."))

    def remove(self) -> nn.Module:
        """Give the user's object back as it was: its training flags and modes restored, no hook left."""
        for parameter, requires_grad in self._was[0]:
            parameter.requires_grad_(requires_grad)
        for module, training in self._was[1]:
            module.training = training
        self._removed = True
        return self.backbone

    # ---- telling --------------------------------------------------------------------------------------------------

    def fit_statistics(self, batches: Iterable[Any]) -> None:
        """Set the standardisation of the anchors, and of a new head's features, from batches of inputs.

        Args:
            batches: inputs, or (input, label, …) tuples.
        """
        engine = self.built()
        with reading(self.backbone, self.adapter.classifier) as features:
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
        """The parameters that training moves: the active adapter's, as far as they are not frozen, and no others unless
        the backbone was unfrozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def print_trainable_parameters(self) -> None:
        """Print how many parameters train, and their share of all."""
        trained = sum(parameter.numel() for parameter in self.trainable_parameters())
        total = sum(parameter.numel() for parameter in self.parameters())
        print(f"trainable params: {trained:,} || all params: {total:,} || trainable%: {100 * trained / total:.4f}")
