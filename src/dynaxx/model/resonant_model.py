"""The resonant model: a frozen backbone with coupled layers; its last part reads their refined activations."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.utils._pytree import tree_map

from dynaxx.backbone import (
    Call,
    Ended,
    Execution,
    Head,
    Tail,
    as_call,
    capture,
    refuse_cut_gradients,
    replaced_head,
    takes,
)
from dynaxx.config import STUDENT, ResonanceConfig
from dynaxx.errors import ResonanceError, ResonanceWarning
from dynaxx.fixed_point import Stability
from dynaxx.model.adapter import Adapter
from dynaxx.model.adapters import Adapters
from dynaxx.model.applicable import check_options
from dynaxx.model.calibration import CalibrationReport, calibrate
from dynaxx.model.cautions import (
    warn_of_lost_gradients,
    warn_of_no_loop,
    warn_of_pruned_couplings,
    warn_without_statistics,
)
from dynaxx.model.disagreement import Disagreement, disagreement_options
from dynaxx.model.fit_disagreement import disagreement, fit_disagreement
from dynaxx.model.freezing import flags_before, freeze, hold, release
from dynaxx.model.generation import generate
from dynaxx.model.keeping import describe, start_from
from dynaxx.model.loading import new_adapter, read_adapter
from dynaxx.model.losses import computes_its_loss, extra_losses, with_loss
from dynaxx.model.readout import size_of
from dynaxx.model.run_adapters import Kept, run_adapters
from dynaxx.model.runaway import RunawayWatch
from dynaxx.model.saving import write
from dynaxx.model.statistics import fit_statistics
from dynaxx.model.switches import NUMBERS, LastPass, Switches, last_pass, record_pass, switched, switches
from dynaxx.resonance import Anchors, ResonanceOutput, Resonator, Student, Trace, finite

OVERRIDES = ("T", "mode", "solver", "tolerance")
"""Options that `ResonantModel.override` can change."""


class Posthoc(NamedTuple):
    """The backbone's output and the resonant output for one input, from `ResonantModel.posthoc`.

    Attributes:
        own: the backbone's own output with its own head, bit for bit as before wrapping while the backbone is frozen.
        refined: the resonant model's output for the same input.
    """

    own: Any
    refined: Any


class ResonantModel(nn.Module):
    """A backbone with coupled layers, made by `wrap_with_resonance` and called with the backbone's own arguments.

    `copy.copy` gives a second model on the same backbone and adapters, `copy.deepcopy` one with copies of both.

    Any number of threads may call one model. The context managers `disabled`, `tracing`, `observed`, `override` and
    `ablated` act only in the calling thread. `fallback` and `trace` describe the calling thread's last pass.

    Attributes:
        backbone: the user's own object, frozen and always in eval mode.
        adapters: adapters by name; the active one runs and trains.
    """

    def __init__(self, backbone: nn.Module, adapter: Adapter, given: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self._given = (backbone if given is None else given,)  # in a tuple: its modules are registered already
        self.adapters = Adapters(adapter)
        self._number, self._compiled_pass = next(NUMBERS), LastPass()
        self._executions: dict[str, Execution] = {}
        self._kept = Kept()  # by run_adapters
        self._removed = self._warned = False
        self._learns: set[str] = set()  # adapters whose first pass of training was looked at
        self._watch = RunawayWatch()
        self._held = freeze(backbone, self)
        self.eval()
        self._plan_executions()

    # ---- running --------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The backbone's output, computed from the refined activations of the taps (tapped layers).

        A model with sources takes them as `sources={name: tensor}`: maps (B, C, H, W), tokens (B, N, C) or vectors
        (B, C). A source that is left out, or None, sends no messages in this batch; in a pair (tensor, present), the
        samples that `present` (B,) bool does not mark have none.

        >>> logits = model(images, sources={"click": clicks})  # doctest: +SKIP
        """
        if self._removed:
            raise ResonanceError("model: this resonant model was removed from its backbone; wrap it again")
        if "sources" in kwargs and (self.config.sources or not takes(self.backbone, "sources")):
            sources = kwargs.pop("sources")
            if not self._switches.disabled:
                return self._forward_with(sources, args, kwargs)
        if self._switches.disabled:
            return self.backbone(*args, **kwargs)
        if self.head is not None and kwargs.get("labels") is not None and computes_its_loss(self.backbone):
            others = {name: value for name, value in kwargs.items() if name != "labels"}
            output = self.forward(*args, **others)
            return with_loss(output, kwargs["labels"], self.backbone, self.require_built().causal)
        output = self._run(args, kwargs)
        self._warn_of_lost_gradients(output)
        return output

    def _forward_with(self, sources: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output for a call with these sources."""
        if torch.compiler.is_compiling():  # a compiled pass cannot set a context variable
            self._compiled_pass.sources = sources
            output = self.forward(*args, **kwargs)
            self._compiled_pass.sources = None
            return output
        with switched(self._number, sources=sources):
            return self.forward(*args, **kwargs)

    @property
    def _sources(self) -> Any:
        """The sources of the call that runs."""
        return self._compiled_pass.sources if torch.compiler.is_compiling() else self._switches.sources

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The backbone's output in the way that its `Execution` says."""
        execution, adapter = self._execution((args, kwargs)), self.adapter
        if not execution.hooks or torch.compiler.is_compiling():
            if not execution.follows_backbone():
                execution = self._plan((args, kwargs))
            elif not execution.fits(args, kwargs):
                execution = self._plan((args, kwargs), another_form=True)
            if not torch.compiler.is_compiling() and (silent := execution.silent_hooks()):
                named = ", ".join(repr(path) for path in silent)
                warnings.warn(f"hooks on {named} of the backbone are not called", ResonanceWarning, stacklevel=2)
            if torch.compiler.is_exporting() and execution.runs_twice:
                raise ResonanceError(
                    "export: this backbone runs in two passes by its own code, since no graph gives its output in all "
                    "its calls; name layers that are read by the next alone, or save the adapter in place of a program"
                )
            return execution.network(*args, **kwargs)
        if adapter.config.reads_taps:
            return self._read_taps(args, kwargs)
        overwritten = [tap.overwritten for tap in adapter.taps]
        learning = self.training and torch.is_grad_enabled()

        def couple(activations: list[Tensor]) -> Tensor:
            if learning:
                refuse_cut_gradients(adapter.paths[-1])
            return self._couple(activations, ())[0]

        with (
            replaced_head(self.backbone, adapter.classifier, adapter.head),
            capture(self.backbone, adapter.paths, couple, overwritten),
        ):
            return self.backbone(*args, **kwargs)

    def _read_taps(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The output of a head that reads the taps: the pass ends at the last one."""

        def end(activations: list[Tensor]) -> Tensor:
            raise Ended(self._read_out(activations, (args, kwargs)))

        adapter = self.adapter
        try:
            with capture(self.backbone, adapter.paths, end, [tap.overwritten for tap in adapter.taps]):
                self.backbone(*args, **kwargs)
        except Ended as ended:
            output: Tensor = ended.output
            return output
        raise ResonanceError("base_model: its pass did not end at the last tap; let it pass on errors of its layers")

    def _read_out(self, activations: list[Tensor], arguments: Any) -> Tensor:
        """What the head makes of the taps' activations; a pass that only reads returns the last of them."""
        adapter, reading = self.adapter, self._switches.anchors
        if self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            refuse_cut_gradients(adapter.paths[-1])
        anchors = adapter.anchors(activations, sources=self._sources)
        if reading is not None:
            reading.append(anchors)
            return activations[-1]
        size = size_of(arguments, adapter.require_built().exchange.dims)
        return adapter.read_out(self.refine(anchors)[0], anchors.outside, anchors.grid, size)

    @_disable_dynamo  # torch.compiler.disable, which loads the compiler when it is named
    def run_adapters(
        self, inputs: Any, names: Iterable[str] | None = None, *, sources: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The outputs of several adapters from one pass of the backbone, by name.

        >>> outputs = model.run_adapters(images, ["default"])
        >>> torch.allclose(outputs["default"], model(images), atol=1e-4)
        True

        They are what each adapter gives alone, up to rounding. Adapters of one kind (taps, rank, mode, T …) run side by
        side. Nothing is differentiated. `fallback` names the samples that fell back in any of the adapters; `observed`
        has each adapter's own. An adapter for which one pass cannot do (reentrant dynamics; no part behind the taps
        that runs on its own) gets a pass of its own.

        Args:
            inputs: a tensor, a tuple of positional arguments or a dict of named ones.
            names: names of adapters; None runs all.
            sources: sources by name, each for the adapters that have it.

        Raises:
            ResonanceError: a name or a source that no adapter has, a name twice, or labels among the inputs.
        """
        if self._removed:
            raise ResonanceError("model: this resonant model was removed from its backbone; wrap it again")
        return run_adapters(self, as_call(inputs, "inputs"), names, sources)

    @contextmanager
    def _running(self, name: str) -> Iterator[None]:
        """Within the block, in this thread, the adapter `name` runs in the place of the active one."""
        with switched(self._number, adapter=name):
            yield

    def _record_fallback(self, fallback_B: Tensor) -> None:
        record_pass(self._number, ResonanceOutput([], fallback=fallback_B), self._compiled_pass)

    def posthoc(self, *args: Any, **kwargs: Any) -> Posthoc:
        """The backbone's own output and the resonant output, at the cost of one additional bare backbone pass.

        `fallback` and `trace` describe the resonant pass.
        """
        # a backbone may overwrite its input, and the second pass must read the same
        own_args, own_kwargs = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, (args, kwargs))
        with self.disabled():
            own = self(*own_args, **own_kwargs)
        return Posthoc(own, self(*args, **kwargs))

    @torch.no_grad()
    def read(self, *args: Any, **kwargs: Any) -> Anchors:
        """The anchors of one batch: the taps' activations in the plain backbone pass, which a feature cache stores."""
        anchors: list[Anchors] = []
        with switched(self._number, anchors=anchors, disabled=False):
            self(*args, **kwargs)
        return anchors[0]

    def with_sources(self, anchors: Anchors, sources: Mapping[str, Any] | None) -> Anchors:
        """Anchors that `read` gave, with these sources, which a feature cache leaves out.

        >>> anchors = model.with_sources(model.read(images), {})

        Raises:
            ResonanceError: sources that the model does not have, or that do not fit the batch.
        """
        return self.adapter.with_sources(anchors, sources)

    def refine(self, anchors: Anchors, taps: Sequence[int] | None = None) -> tuple[list[Tensor], ResonanceOutput]:
        """The refined activations x_l = x_l⁰ + Up(Δ_l) of each output tap, and the resonator's output.

        Args:
            anchors: anchors of a batch, as `read` returns them.
            taps: indices of the taps in `anchors.outputs`, if not the output taps; explicit mode only.
        """
        self._warn_without_statistics()
        state, execution = self._switches, self._executions.get(self.active_adapter)
        segments = () if execution is None else execution.segments
        refined, output = self.adapter.refine(
            anchors, self.config, segments, trace=state.tracing, ablated=state.ablated, taps=taps
        )
        record_pass(self._number, output, self._compiled_pass)
        if output.fallback is not None:
            learning = self.training and torch.is_grad_enabled()
            self._watch.look(output.fallback, lambda: finite(anchors.parts), learning)
        if state.outputs is not None:
            if torch.compiler.is_compiling():  # with fullgraph=True this is an error, which shows the message
                torch._dynamo.graph_break("observed() needs eager passes: call the model, not the compiled one")
            state.outputs.append(output)
        return refined, output

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generate with the backbone's own `generate`, each of whose steps is a resonant pass.

        Where messages read other positions (by default, because of the depthwise step), every step reads all tokens
        again, without a key/value cache. With `depthwise=False` and no gate the cache is exact and is used.

        Raises:
            ResonanceError: a backbone without `generate`, or a cache that would not be exact.
        """
        return generate(self.backbone, self, self.config, *args, **kwargs)

    def tail(self, example: Any) -> Tail:
        """The part of the network after the taps as a module, for training from cached activations.

        Args:
            example: a batch of inputs on which the module's output is compared with the backbone's.

        Its attribute `way` says how it runs. Its method `outside` gives, for a batch of inputs, the activations that it
        reads besides the taps'; mostly there are none.

        Raises:
            ResonanceError: the part after the taps does not run on its own; train on images then.
        """
        return self.adapter.tail(self.backbone, example)

    def run_tail(self, refined: list[Tensor], tail: Tail, outside: Sequence[object] = ()) -> Tensor:
        """Run the module `tail`, made by `tail()`, and the head on the refined activations of the output taps.

        Args:
            refined: refined activations, as `refine` returns them.
            tail: the module.
            outside: what `tail.outside` returned for the same inputs.
        """
        with replaced_head(self.backbone, self.adapter.classifier, self.head):
            logits: Tensor = tail(refined, outside)
        return logits

    def _couple(self, activations: list[Tensor], outside: Sequence[Any]) -> list[Tensor]:
        """The new activations of the output taps; a pass that only reads returns the activations unchanged."""
        anchors, reading = self.adapter.anchors(activations, outside, self._sources), self._switches.anchors
        if reading is None:
            return self.refine(anchors)[0]
        reading.append(anchors)
        # later operations may overwrite them in place
        return [activations[number].clone() for number in self.require_built().exchange.outputs]

    def _warn_without_statistics(self) -> None:
        if self.config.way(self.training) == "linear":  # no coupling reads the anchors
            return
        if self.training and torch.is_grad_enabled() and not self._warned and not torch.compiler.is_compiling():
            self._warned = True
            warn_without_statistics(self.require_built())

    def _warn_of_lost_gradients(self, output: Any) -> None:
        """Warn, once for each adapter, if nothing can be learned from a pass of training."""
        if torch.compiler.is_compiling() or not (self.training and torch.is_grad_enabled()):
            return
        fallback, name = self.fallback, self.active_adapter
        if name in self._learns or torch._C._are_functorch_transforms_active() or fallback is None or fallback.all():
            return
        self._learns.add(name)
        warn_of_lost_gradients(output, self.require_built(), self.paths[-1])

    # ---- switches of this thread ----------------------------------------------------------------------------------

    @property
    def _switches(self) -> Switches:
        return switches(self._number)

    @contextmanager
    def disabled(self) -> Iterator["ResonantModel"]:
        """Within the block the model is the bare backbone, with its own head."""
        with switched(self._number, disabled=True):
            yield self

    @contextmanager
    def tracing(self) -> Iterator["ResonantModel"]:
        """Within the block each explicit pass records `model.trace`, at the cost of one additional iteration."""
        with switched(self._number, tracing=True):
            yield self

    @contextmanager
    def observed(self) -> Iterator[list[ResonanceOutput]]:
        """Within the block every pass appends its `ResonanceOutput` to the list, for losses and diagnostics.

        A model compiled with `fullgraph=True` cannot return a `ResonanceOutput`; run such passes eagerly.

        >>> with model.observed() as outputs:
        ...     loss = cross_entropy(model(x), y)
        >>> loss = loss + model.penalty(outputs)
        """
        outputs: list[ResonanceOutput] = []
        with switched(self._number, outputs=outputs):
            yield outputs

    @contextmanager
    def override(self, **options: Any) -> Iterator["ResonantModel"]:
        """Within the block the loop runs with other options: `T`, `mode`, `solver` and `tolerance`.

        >>> with model.override(T=20, solver="anderson", tolerance=None):
        ...     logits = model(images)

        Raises:
            ResonanceError: an option other than these four, or a value out of range.
        """
        for name in options:
            if name not in OVERRIDES:
                raise ResonanceError(
                    f"override({name}={options[name]!r}): only {', '.join(OVERRIDES)} can be overridden"
                )
        self.adapter.check_mode(options.get("mode", self.adapter.config.mode))
        changed = dataclasses.replace(self.config, **options)
        warn_of_no_loop(changed, options, self.training)
        if self.adapter.taps:
            check_options(changed, self.adapter.taps)
        warn_of_pruned_couplings(self.resonator, changed.T)
        with switched(self._number, options={**self._switches.options, **options}):
            yield self

    @contextmanager
    def ablated(self, couplings: Iterable[int]) -> Iterator["ResonantModel"]:
        """Within the block the couplings with the given indices are switched off.

        >>> with model.ablated([0]):
        ...     logits = model(images)

        Raises:
            ResonanceError: an index that no coupling has, or folded mode, where one matrix has replaced the couplings.
        """
        if self.mode == "folded":
            raise ResonanceError("ablated(): mode='folded' is one matrix, without couplings; set mode='explicit'")
        numbers, count = list(couplings), len(self.adapter.require_couplings("ablated()").exchange.couplings.pairs)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
                raise ResonanceError(f"ablated({number!r}): give numbers of couplings, 0 to {count - 1}")
        with switched(self._number, ablated=self._switches.ablated.union(numbers)):
            yield self

    @property
    def fallback(self) -> Tensor | None:
        """(B,) bool: samples of this thread's last resonant pass that got the backbone's own output.

        A sample falls back if an anchor or a message is not finite, or if its loop diverges.
        """
        return (last_pass(self._number) or self._compiled_pass).fallback

    @property
    def trace(self) -> Trace | None:
        """The `Trace` of this thread's last resonant pass, if the pass ran within `tracing()`."""
        return (last_pass(self._number) or self._compiled_pass).trace

    # ---- the active adapter ---------------------------------------------------------------------------------------

    @property
    def adapter(self) -> Adapter:
        """The active adapter."""
        return self.adapters.named(self.active_adapter)

    @property
    def active_adapter(self) -> str:
        """Name of the active adapter."""
        return self._switches.adapter or self.adapters.active

    @property
    def config(self) -> ResonanceConfig:
        """The active adapter's options, with the changes of a surrounding `override` block."""
        options = self._switches.options
        return dataclasses.replace(self.adapter.config, **options) if options else self.adapter.config

    @property
    def paths(self) -> tuple[str, ...]:
        """Module paths of the active adapter's taps, in depth order once this order is known."""
        return self.adapter.paths

    @property
    def resonator(self) -> Resonator | None:
        """The active adapter's couplings, gates, statistics and student; None until the taps' shapes are known."""
        return self.adapter.resonator

    @property
    def head(self) -> Head | None:
        """The active adapter's new head, or None if the backbone keeps its own."""
        return self.adapter.head

    def require_built(self) -> Resonator:
        """The resonator; raises an error while the shapes of the taps are unknown."""
        return self.adapter.require_built()

    @property
    def mode(self) -> str:
        """The mode; may be set at any time among those with couplings: explicit, implicit, hybrid, folded, direct."""
        return self.config.mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._refuse_within_override("mode", mode)
        self.adapter.check_mode(mode)
        config = dataclasses.replace(self.adapter.config, mode=mode)
        if mode in STUDENT and self.resonator is not None and self.resonator.student is None:
            raise ResonanceError(f"mode={mode!r}: this model has no student; call add_student() and distil it")
        if mode == "folded":
            self.require_built().fold(config)  # anew, for the present parameters
        self.adapter.config = config

    @property
    def T(self) -> int:
        """Number of iterations of the explicit loop; may be set at any time, above or below the number in training."""
        return self.config.T

    @T.setter
    def T(self, T: int) -> None:
        self._refuse_within_override("T", T)
        self.adapter.config = dataclasses.replace(self.adapter.config, T=T)
        warn_of_pruned_couplings(self.resonator, T)

    def _refuse_within_override(self, name: str, value: object) -> None:
        if name in self._switches.options:
            raise ResonanceError(f"{name}={value!r}: a block overrides {name}; set it outside of the block")

    def add_student(self) -> Student:
        """Make a new student (the one-pass network of the implicit mode), which must be distilled afterwards."""
        return self.adapter.require_couplings("add_student()").add_student(self.config)

    def fold(self) -> None:
        """Replace a linear loop (`activation="identity"`, no depthwise step, no gate) by its exact fixed point.

        The fixed point holds for the present parameters only; after more training in explicit mode, fold again. Setting
        `mode = "folded"` does the same.

        Raises:
            ResonanceError: a loop that is not linear, or that diverges.
        """
        self.mode = "folded"

    def stability(self) -> Stability:
        """The bound κ on the loop's Jacobian, whether κ certifies contraction, and the iterations for a tolerance.

        Raises:
            ResonanceError: the reentrant dynamics, where the backbone's own segments are part of the loop.
        """
        exchange = self.adapter.require_couplings("stability()").exchange
        if self.config.dynamics == "reentrant":
            raise ResonanceError(
                "stability(): no bound is known for dynamics='reentrant', whose loop runs through the backbone; "
                "watch the residual with tracing(), or calibrate"
            )
        return exchange.stability(self.config.damping)

    def start_from(self, directory: str | Path, *, strict: bool = True) -> None:
        """Load couplings, nonlinearity φ, gates and statistics of another model with the same taps and rank.

        Couplings pretrained on a large data set can thus be fine-tuned on a small data set. Head and student of this
        model stay unchanged.

        Args:
            directory: the folder that the other model's `save_pretrained` wrote.
            strict: whether another backbone than the other model's is an error, and not only a warning.

        Raises:
            ResonanceError: a missing or damaged file, or a file for another backbone, other taps or shapes.
        """
        start_from(self.adapter, self.backbone, directory, strict)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the active adapter: couplings, gates, statistics, student and head, and the backbone's fingerprint.

        `load_resonance(base_model, directory)` or `model.load_adapter(directory, name)` reads the adapter, onto the
        same weights alone: those that the backbone has when this is called.

        Raises:
            ResonanceError: the shapes of the taps are not known yet, or a file stands where the folder should be.
        """
        write(Path(directory), *describe(self.adapter, self.backbone))

    # ---- several adapters -----------------------------------------------------------------------------------------

    def add_adapter(
        self, name: str, layers: Sequence[int | str] | str = "auto", *, example_input: Any = None, **options: Any
    ) -> None:
        """Add an adapter with its own taps and options; `set_adapter` makes it the active one.

        >>> model.add_adapter("other", layers=["layer3", "layer4"], rank=8, num_classes=4)

        Args:
            name: a name that is not taken, without dots.
            layers, example_input, **options: arguments of `wrap_with_resonance`.

        Raises:
            ResonanceError: a name that is taken, or anything that wrapping would refuse.
        """
        self.adapters.check_free(name)
        config = ResonanceConfig.from_options(options)
        adapter, call = new_adapter(self.backbone, layers, config, example_input)
        if call is not None:
            adapter.build(self.backbone, call)
        self.adapters.add(name, adapter)
        self._plan_executions()

    def load_adapter(self, directory: str | Path, name: str, *, strict: bool = True) -> None:
        """Add the adapter that `save_pretrained` wrote to `directory`.

        Args:
            directory: the folder.
            name: a name that is not taken.
            strict: whether another backbone than the adapter was trained on is an error, and not only a warning.

        Raises:
            ResonanceError: a name that is taken, a missing, damaged or foreign file, or layers or weights that do not
                fit it.
        """
        self.adapters.check_free(name)
        self.adapters.add(name, read_adapter(self.backbone, directory, strict))
        self._plan_executions()

    def set_adapter(self, name: str) -> None:
        """Make the adapter `name` the active adapter; only the active adapter runs and trains.

        Raises:
            ResonanceError: no adapter has this name.
        """
        self.adapters.activate(name)

    def delete_adapter(self, name: str) -> None:
        """Delete an adapter that is not active.

        Raises:
            ResonanceError: no adapter has this name, or the adapter is active.
        """
        self.adapters.delete(name)
        self._executions.pop(name, None)
        self._kept.stacks.clear()
        self._learns.discard(name)

    def build(self, call: Call) -> None:
        """Make the active adapter's parameters for the tap shapes found in one pass with the arguments `call`."""
        self.adapter.build(self.backbone, call)
        self.read(*call[0], **call[1])  # what a first pass would refuse is refused here

    def _execution(self, call: Call) -> Execution:
        """The active adapter's `Execution`; an adapter without parameters is built first."""
        name = self.active_adapter
        return self._executions[name] if name in self._executions else self._plan(call)

    @_disable_dynamo  # torch.compiler.disable, which loads the compiler when it is named
    def _plan(self, call: Call, another_form: bool = False) -> Execution:
        """A new `Execution`: there is none, the backbone was changed since, or it is called in another form."""
        adapter = self.adapter
        if adapter.resonator is None:
            adapter.build(self.backbone, call)
        adapter.own_code |= another_form
        found = self._executions[self.active_adapter] = adapter.execution(
            self.backbone, self._couple, self._read_out, call
        )
        return found

    def _plan_executions(self) -> None:
        """Plan anew for all adapters, where this needs no example; the others are planned in their next pass.

        What is planned before a pass can be compiled as one graph.
        """
        self._executions, self._kept = {}, Kept()
        for name in self.adapters:
            if self.adapters.named(name).resonator is not None:
                with suppress(ResonanceError):
                    self._executions[name] = self.adapters.named(name).execution(
                        self.backbone, self._couple, self._read_out
                    )

    def _apply(self, fn: Any, recurse: bool = True) -> "ResonantModel":
        # a split graph holds buffers of the backbone, which are other objects afterwards
        super()._apply(fn, recurse)
        self._plan_executions()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_executions": {}, "_kept": Kept(), "_held": flags_before(self._held)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        flags = state.pop("_held")
        super().__setstate__(state)
        self._held = [thing for thing, _ in flags]
        if not self._removed:
            hold(flags, self)
        self._number = next(NUMBERS)  # a copy has its own switches and runs on its own backbone
        self._plan_executions()

    # ---- training -------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> "ResonantModel":
        """Set training mode of the adapters; the backbone stays in eval mode."""
        self._kept.stacks.clear()
        if self._removed:  # the backbone's modes are its owner's again
            self.training = mode
            self.adapters.train(mode)
            return self
        super().train(mode)
        self.backbone.eval()
        if self._compiled_pass.fallback is not None:  # a compiled pass cannot warn by itself
            self._watch.look(self._compiled_pass.fallback, None, learning=False)
        return self

    def unfreeze_backbone(self) -> None:
        """Let training also change the backbone's parameters; the backbone stays in eval mode with fixed buffers.

        The adapter then fits only the tuned backbone: save both, and load the adapter onto the tuned backbone.
        """
        replaced = self.adapter.classifier  # its parameters do not affect the output
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(replaced is None or not name.startswith(f"{replaced}."))

    def remove(self) -> nn.Module:
        """Return the user's network, without any hook; its training flags and modes are put back.

        While another resonant model wraps the same network it stays frozen, until the last of them is removed. A model
        that was garbage collected counts as removed. Calling this again changes nothing.
        """
        if not self._removed:
            self._removed = True
            release(self._held, self)
        return self._given[0]

    def fit_statistics(self, batches: Iterable[Any]) -> None:
        """Set the standardisation of the anchors, and of a new head's features, from batches of inputs.

        >>> model.fit_statistics(train_loader)

        Tokens that an attention mask marks as padding do not count. Batches are moved to the backbone's device.

        Args:
            batches: inputs, (input, label, …) tuples, or dicts of named arguments, in which labels are not read.
                Sources stand in a dict of their names behind the input, or under `sources` in a dict of arguments.

        Raises:
            ResonanceError: no batches, batches without tensors, or no finite sample in any.
        """
        fit_statistics(self.backbone, self.adapter, self.read, batches)

    def fit_disagreement(self, batches: Iterable[Any], held_out: Iterable[Any], **options: Any) -> None:
        """Learn from normal samples how the layers usually agree; no label is read.

        >>> model.fit_disagreement([images], [images], predictor="ridge", false_alarms=0.5)

        Batches are gone through several times. Where `model.read(inputs)` of all of them fits into memory, give a list
        of these anchors, so that the backbone runs once.

        Args:
            batches: batches of normal samples, as `fit_statistics` takes them, or anchors that `read` gave.
            held_out: other normal samples, which set the scale and the threshold.
            **options: fields of `DisagreementOptions`.

        Raises:
            ResonanceError: an option that does not exist or fit, batches without finite samples, batches that end after
                one pass, or too few held-out samples for `false_alarms`.
        """
        self.adapter.detector = fit_disagreement(
            self.backbone, self.adapter, self.read, batches, held_out, disagreement_options(options)
        )

    def disagreement(self, inputs: Any, size: Sequence[int] | None = None) -> Disagreement:
        """How much the layers disagree about each input, and where; one pass of the backbone.

        >>> model.fit_disagreement([images], [images], false_alarms=0.5)
        >>> model.disagreement(images).places.shape
        torch.Size([2, 1, 64, 64])

        Args:
            inputs: a tensor, a tuple of positional arguments, a dict of named ones, or anchors that `read` gave.
            size: height and width of the maps; None: those of the inputs, and of anchors the grid's.

        Raises:
            ResonanceError: `fit_disagreement` was not called, or each position has a covariance of its own and these
                are other positions.
        """
        return disagreement(self.adapter, self.read, inputs, size)

    def calibrate(
        self,
        loader: Iterable[Any],
        *,
        metric: Any = None,
        higher_is_better: bool | None = None,
        baseline_score: float | None = None,
    ) -> CalibrationReport:
        """Check the trained model on validation batches and adjust T or the strength; see `calibration.calibrate`."""
        return calibrate(self, loader, metric=metric, higher_is_better=higher_is_better, baseline_score=baseline_score)

    def penalty(self, outputs: Sequence[ResonanceOutput], *, weight: float = 1.0, share: float = 1.0) -> Tensor:
        """The loss to add to the task's, for the passes of an `observed` block; 0 where the options bring none.

        >>> with model.observed() as outputs:
        ...     loss = cross_entropy(model(x), y)
        >>> loss = loss + model.penalty(outputs)

        It holds the loop's residual (`stability="regularized"`), the loss of the gates' critic
        (`gate="mutual_information"`) and the student's (`mode="hybrid"`), summed over the passes.

        Args:
            outputs: the list of an `observed` block.
            weight: factor of the residual.
            share: share of each batch on which the residual is computed.

        Raises:
            ResonanceError: a list without outputs, as compiled passes leave it, or a value out of range.
        """
        losses = extra_losses(outputs, self.config, weight=weight, share=share)
        return torch.stack(list(losses.values())).sum() if losses else outputs[0].delta[0].new_zeros(())

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by name; raises an error while parameters are not built yet, so that training cannot miss any."""
        self.require_built()
        return super().named_parameters(*args, **kwargs)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that train: the active adapter's parameters, and the backbone's parameters once unfrozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def print_trainable_parameters(self) -> None:
        """Print the number of parameters that train, and their share of all parameters."""
        count = sum(parameter.numel() for parameter in self.trainable_parameters())
        total = sum(parameter.numel() for parameter in self.parameters())
        print(f"trainable params: {count:,} || all params: {total:,} || trainable%: {100 * count / total:.4f}")
