"""One adapter on a backbone: its tapped layers, all trainable parameters, and the update of the layers' activations."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone import (
    Call,
    Couple,
    Execution,
    Form,
    Head,
    SafeHead,
    Tail,
    as_call,
    canonical,
    capture,
    check_classifier,
    check_fits,
    find_classifier,
    mark_outputs,
    message_grid,
    original,
    plan_execution,
    plan_reading,
    probe,
    tail_of,
    warn_of_unread_tokens,
    with_places,
    with_token_facts,
)
from dynaxx.config import LINEAR, ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.grid import Grid, Tap, from_grid, on_grid
from dynaxx.model.applicable import check_options
from dynaxx.model.disagreement import Detector
from dynaxx.model.readout import Readout, as_map, deviation, features, size_of, width
from dynaxx.model.sources import sources_of
from dynaxx.resonance import Anchors, ResonanceOutput, Resonator, finite

RUNAWAY = 1e6
"""Limit of a tap's update, in standard deviations of the tap's channels; a larger update counts as divergence."""


class Adapter(nn.Module):
    """Resonator and head for the taps (tapped layers) of one backbone; methods take the backbone as an argument.

    Attributes:
        config: the options; T (number of loop iterations) and mode may change at run time.
        built_T: T at construction. Couplings that cannot affect any output within built_T iterations are not created.
        resonator: couplings, gates, statistics and student; None until the shapes of the taps are known.
        head: the new linear head, or None if the backbone keeps its own.
        classifier: path of the module that the new head replaces, or None.
        taps: the taps in depth order, once they are known.
        form: the form of the calls for which a graph of the backbone gave its output; None while there is no such.
        own_code: whether the backbone's own code runs, since no graph gives its output, or none for all its calls.
        detector: the fitted disagreement of the taps, or None.
    """

    def __init__(self, backbone: nn.Module, paths: Sequence[str], config: ResonanceConfig) -> None:
        super().__init__()
        self.config, self.paths, self.built_T = config, tuple(paths), config.T
        self.resonator: Resonator | None = None
        self.head: Head | None = None
        self.classifier: str | None = None
        self.taps: list[Tap] = []
        self.form: Form | None = None
        self.own_code = False
        self.detector: Detector | None = None
        if config.num_classes is not None and not config.reads_taps:
            self.classifier, linear = find_classifier(backbone, config.classifier)
            self.head = Head(linear.in_features, config.num_classes).to(linear.weight.device)

    # ---- building -------------------------------------------------------------------------------------------------

    def build(self, backbone: nn.Module, call: Call) -> None:
        """Make the parameters for the tap shapes found in one forward pass with the arguments `call`."""
        args, kwargs = call
        if self.classifier is not None:
            named = self.config.classifier is not None
            check_classifier(backbone, self.classifier, lambda: backbone(*args, **kwargs), named)
        taps = probe(backbone, self.paths, args, kwargs, self.config.layout)
        config, maps = self.config, any(tap.dims for tap in taps)
        if not maps:
            taps = with_token_facts(taps, backbone, call, config.causal, config.prefix_tokens)
            check_options(config, taps)
        elif not all(tap.dims for tap in taps):
            check_options(config, taps)
            taps = with_places(taps, backbone, call, config.grid, config.prefix_tokens)
        if not maps and not config.token_pool and not config.reads_taps:
            warn_of_unread_tokens(backbone, taps[-1], call)
        if self.config.reads_taps:
            last = taps[-1:] if self.config.mode == "probe" else taps
            taps = [dataclasses.replace(tap, output=True) for tap in last]
        else:
            taps = mark_outputs(backbone, taps, call, self.config.dynamics == "reentrant")
        self.build_from(taps, next(backbone.parameters(), None))

    def build_from(self, taps: Sequence[Tap], like: Tensor | None = None, T: int | None = None) -> None:
        """Make the parameters for taps of known shape, given in depth order.

        Args:
            taps: the taps.
            like: a tensor on the device for the parameters.
            T: number of loop iterations for which couplings are created; by default the configuration's T.
        """
        check_options(self.config, taps)
        self.taps, self.paths = list(taps), tuple(tap.path for tap in taps)
        self.built_T = T or self.config.T
        if self.config.mode == "direct":
            self.built_T = max(2, self.built_T)  # from two iterations on, every tap is read, the last one, too
        device = None if like is None else like.device
        with torch.inference_mode(False):  # a first pass may be one of inference; these parameters will be trained
            self.resonator = Resonator(taps, self._made_with()).to(device)
            if self.config.reads_taps:
                assert self.config.readout is not None
                assert self.config.num_classes is not None
                features = width(self.config.readout, [tap.channels for tap in taps])
                self.head = Head(features, self.config.num_classes).to(device)
        if self.config.mode == "direct":
            _freeze_loop(self.resonator)
        self.train(self.training)

    def _made_with(self) -> ResonanceConfig:
        """The options that decide which parameters are made; without couplings, those that belong to them are off."""
        config = dataclasses.replace(self.config, T=self.built_T)
        if config.mode not in LINEAR:
            return config
        return dataclasses.replace(config, stability="monitored", gate="none", depthwise=False)

    def require_built(self) -> Resonator:
        """The resonator; raises an error while the shapes of the taps are unknown."""
        if self.resonator is None:
            raise ResonanceError(
                "example_input: the shapes of the taps are not known yet, so there is nothing to train or save; "
                "pass example_input to wrap_with_resonance, or run one forward pass first"
            )
        return self.resonator

    def require_couplings(self, what: str) -> Resonator:
        """The resonator; raises an error that begins with `what` where the adapter's mode couples nothing."""
        if self.config.mode in LINEAR:
            raise ResonanceError(
                f"{what}: mode={self.config.mode!r} has no couplings; add_adapter() with a mode that has, and "
                "set_adapter()"
            )
        return self.require_built()

    def check_mode(self, mode: str) -> None:
        """Raise ResonanceError for a change of mode that would make or lose couplings."""
        made = self.config.mode
        if mode != made and (mode in LINEAR or made in LINEAR):
            without = made if made in LINEAR else mode
            raise ResonanceError(
                f"mode={mode!r}: this adapter was made with mode={made!r}, and {without!r} has no couplings; "
                "add_adapter() with this mode, and set_adapter()"
            )

    def execution(
        self,
        backbone: nn.Module,
        couple: Couple,
        read: Callable[[list[Tensor], Any], Tensor],
        call: Call | None = None,
    ) -> Execution:
        """The `Execution`, which runs `backbone` with its taps coupled by `couple`, or up to the taps for `read`.

        Raises:
            ResonanceError: a backbone that has to be split and cannot be, at least not without `call`.
        """
        if self.config.reads_taps:
            return plan_reading(backbone, self.taps, read)
        replacements: dict[str, nn.Module] = {}
        if self.head is not None and self.classifier is not None:
            replacements[self.classifier] = SafeHead(self.head)
        found = plan_execution(
            backbone,
            self.taps,
            couple,
            again=self.config.dynamics == "reentrant",
            replacements=replacements,
            call=call,
            form=self.form,
            own_code=self.own_code,
        )
        self.form = found.form
        self.own_code |= (
            found.runs_twice
        )  # a later plan may be made where nothing can be tried out, such as in an export
        return found

    def tail(self, backbone: nn.Module, example: Any) -> Tail:
        """The part of the network after the taps; see `ResonantModel.tail`."""
        if self.config.reads_taps:
            args, kwargs = as_call(example)
            with torch.no_grad(), capture(backbone, self.paths, copy=[True] * len(self.paths)) as captured:
                backbone(*args, **kwargs)
            anchors = self.anchors([captured[path] for path in self.paths])
            reading = Readout(self.read_out, anchors.grid, size_of((args, kwargs), self.require_built().exchange.dims))
            return Tail(reading, f"the head alone, on the {self.config.readout} of the taps", beside=True)
        return tail_of(backbone, self.taps, example)

    # ---- refining -------------------------------------------------------------------------------------------------

    def anchors(
        self,
        activations: list[Tensor],
        outside: Sequence[Any] = (),
        sources: Any = None,
        known: dict[tuple[object, ...], Tensor] | None = None,
    ) -> Anchors:
        """The taps' activations in the plain pass (anchors), pooled onto the common grid of positions.

        Args:
            activations: activations x_l⁰ of the taps, in depth order.
            outside: other activations that the backbone's segments between the taps read.
            sources: sources of the call by name; see `dynaxx.model.sources.sources_of`.
            known: what adapters have made of the same activations before, to which this one adds what it makes.

        Raises:
            ResonanceError: a tap whose kind (map or tokens) or number of channels differs from the couplings'; unknown
                or unfit sources.
        """
        exchange, pooled = self.require_built().exchange, self.config.token_pool
        activations = [canonical(x, tap.layout) for x, tap in zip(activations, self.taps, strict=True)]
        for x, tap in zip(activations, self.taps, strict=True):
            check_fits(tap, x)
        grid = message_grid(activations, self.taps, self.config.grid, pooled)
        known = {} if known is None else known

        def once(what: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
            if what not in known:
                known[what] = make()
            return known[what]

        on_grids = [
            once(pooled_key(tap, grid, pooled), partial(on_grid, x, tap, grid, pooled))
            for x, tap in zip(activations, self.taps, strict=True)
        ]
        outputs, states = [activations[number] for number in exchange.outputs], None
        if self.config.reads_taps:
            moved = zip(self.taps, activations, strict=True) if self.config.readout == "moments" else ()
            outputs, outside = on_grids, [once(("deviation", tap.path), partial(deviation, x)) for tap, x in moved]
        elif self.config.dynamics == "reentrant":
            states = activations
        return self.with_sources(Anchors(on_grids, outputs, grid, states, tuple(outside)), sources)

    def with_sources(self, anchors: Anchors, given: Mapping[str, Any] | None) -> Anchors:
        """The anchors with the sources of a call; see `ResonantModel.with_sources`."""
        exchange = self.require_built().exchange
        return anchors._replace(
            sources=sources_of(given, exchange.sources, anchors.grid, anchors.pooled[0], exchange.prefix)
        )

    def refine(
        self,
        anchors: Anchors,
        config: ResonanceConfig,
        segments: Sequence[Any] = (),
        *,
        trace: bool = False,
        ablated: frozenset[int] = frozenset(),
        taps: Sequence[int] | None = None,
    ) -> tuple[list[Tensor], ResonanceOutput]:
        """The refined activations x_l = x_l⁰ + Up(Δ_l) of each output tap, and the resonator's output.

        Samples with non-finite anchors or diverging messages keep their anchors; the mask `fallback` marks these
        samples.

        Args:
            anchors: anchors of the batch; `outputs` holds the activations of `taps`.
            config: the options of this pass.
            segments: the backbone's parts between the taps, for the reentrant dynamics.
            trace, ablated, taps: arguments of `Resonator.forward`.
        """
        resonator = self.require_built()
        if len(anchors.sources) < len(resonator.exchange.sources):  # anchors of a cache
            anchors = self.with_sources(anchors, None)
        taps = resonator.exchange.outputs if taps is None else taps

        if self.config.mode in LINEAR:
            nothing = [anchors.pooled[tap].new_zeros(()).expand_as(anchors.pooled[tap]) for tap in taps]
            unchanged = [self._as_read(x, tap) for tap, x in zip(taps, anchors.outputs, strict=True)]
            return unchanged, ResonanceOutput(nothing, fallback=~finite(anchors.pooled))

        def run(anchors: Anchors) -> ResonanceOutput:
            output: ResonanceOutput = resonator(
                anchors, config, trace=trace, segments=segments, ablated=ablated, taps=taps
            )
            return output

        finite_B = finite(anchors.parts)
        # zeroed before the loop: torch.where after it would still let NaN into the gradient
        output = run(anchors.zero_except(finite_B))
        deltas = output.delta
        keep_B = finite_B & self._sound(anchors, deltas, taps)
        captured = torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None
        learning = torch.is_grad_enabled() and not captured and not trace
        if learning and not bool(keep_B.all()):
            # overflow reaches the parameters' gradient even where its result is not used: run the others alone
            output = _with_lost_samples(run(anchors.select(keep_B)), keep_B)
            deltas = output.delta
        refined = [
            self._as_read(
                torch.where(keep_B.view(-1, *[1] * (x.ndim - 1)), x + from_grid(delta, anchors.grid, x).to(x.dtype), x),
                tap,
            )
            for tap, x, delta in zip(taps, anchors.outputs, deltas, strict=True)
        ]
        return refined, dataclasses.replace(output, fallback=~keep_B)

    def head_features(self, anchors: Anchors) -> list[Tensor]:
        """What a head that reads the taps would read without resonance, as one part (B, P, F)."""
        assert self.config.readout is not None
        read = features(self.config.readout, anchors.pooled, anchors.outside)  # type: ignore[arg-type]
        return [read if read.ndim == 3 else read.unsqueeze(1)]

    def _as_read(self, x: Tensor, tap: int) -> Tensor:
        """An activation as what comes next reads it: the head on the grid, the backbone in the layer's own layout."""
        return x if self.config.reads_taps else original(x, self.taps[tap].layout)

    def read_out(
        self, agreed: Sequence[Tensor], outside: Sequence[Any], grid: Grid, size: Sequence[int] | None
    ) -> Tensor:
        """The head's outputs from the agreed activations of all taps on the grid, (B, P, C_l) each.

        Args:
            agreed: the first result of `refine`.
            outside: `Anchors.outside`.
            grid: `Anchors.grid`.
            size: spatial size of a map of outputs.
        """
        assert self.config.readout is not None
        output: Tensor = SafeHead(self.head)(features(self.config.readout, agreed, outside))  # type: ignore[arg-type]
        return as_map(output, grid, size) if self.config.readout == "map" else output

    def _sound(self, anchors: Anchors, deltas: list[Tensor], taps: Sequence[int]) -> Tensor:
        """(B,) bool: samples whose update is finite and below `RUNAWAY` at every tap (and representable in float16)."""
        statistics, sound = self.require_built().exchange.statistics, []
        for tap, x, delta in zip(taps, anchors.outputs, deltas, strict=True):
            delta = delta.detach()
            largest_B = torch.linalg.vector_norm(delta, ord=float("inf"), dim=tuple(range(1, delta.ndim)))
            sound.append(largest_B <= RUNAWAY * statistics.std(tap).max())
            if x.dtype == torch.float16:
                refined = x + from_grid(delta, anchors.grid, x).to(x.dtype)
                sound.append(torch.isfinite(refined).flatten(1).all(1))
        return torch.stack(sound).all(0)


def pooled_key(tap: Tap, grid: Grid, token_pool: bool) -> tuple[object, ...]:
    """The key of one tap's pooled anchor among all that `Adapter.anchors` makes."""
    return tap.path, tap.layout, tap.prefix, tap.pooled, tap.causal, tuple(grid), token_pool


def _freeze_loop(resonator: Resonator) -> None:
    """Let only the parameters train that the student's pass uses."""
    exchange = resonator.exchange
    exchange.phi.requires_grad_(False)
    for tap, U in enumerate(exchange.couplings.U):
        U.requires_grad_(U.requires_grad and tap in exchange.outputs)


def _with_lost_samples(output: ResonanceOutput, keep_B: Tensor) -> ResonanceOutput:
    """The output computed for the kept samples only, filled with zeros at the places of the dropped samples."""

    def residual(samples: int) -> Tensor:
        kept_N = keep_B[:samples]
        assert output.residual is not None
        found = output.residual(int(kept_N.sum()))
        return found.new_zeros(len(found), len(kept_N)).index_put((torch.arange(len(found))[:, None], kept_N), found)

    deltas = [d.new_zeros(len(keep_B), *d.shape[1:]).index_put((keep_B,), d) for d in output.delta]
    return dataclasses.replace(output, delta=deltas, residual=None if output.residual is None else residual)
