"""One adapter on a backbone: which taps it couples, all that training moves, and how the taps of a batch agree."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone._linear_head import Head
from dynaxx.backbone.example import Call
from dynaxx.backbone.execution import Wiring, seen_behind, tail_of, warn_of_unread_tokens, wire
from dynaxx.backbone.head import Answer, check_classifier, find_classifier
from dynaxx.backbone.taps import TapInfo, check_fits, probe
from dynaxx.backbone.tokens import with_token_facts
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.model.combinations import check_options
from dynaxx.model.saving import check_tensors, read
from dynaxx.resonance.anchors import Anchors, message_grid, on_grid
from dynaxx.resonance.grid import from_grid
from dynaxx.resonance.output import Agreement
from dynaxx.resonance.resonator import Engine

FAR = 1e6
"""Standard deviations of a tap's channels; a loop that moves one further has run away."""


class Adapter(nn.Module):
    """Engine and head for the taps of one backbone, which is handed in and not kept.

    Attributes:
        config: the options as they now are; T and mode may change at run time.
        engine: couplings, gates, statistics and student; None until the shapes of the taps are known.
        head: the new linear head, or None where the backbone keeps its own.
        classifier: path of the module in whose place the new head answers, or None.
        infos: what is known of the taps, in depth order.
        fallback: (B,) bool of the last pass; see `ResonantModel`.
    """

    def __init__(self, backbone: nn.Module, paths: Sequence[str], config: ResonanceConfig) -> None:
        super().__init__()
        self.config, self.paths = config, tuple(paths)
        self.engine: Engine | None = None
        self.head: Head | None = None
        self.classifier: str | None = None
        self.infos: list[TapInfo] = []
        self.fallback: Tensor | None = None
        if config.num_classes is not None:
            self.classifier, linear = find_classifier(backbone, config.classifier)
            self.head = Head(linear.in_features, config.num_classes).to(linear.weight.device)

    # ---- building -------------------------------------------------------------------------------------------------

    def build(self, backbone: nn.Module, call: Call) -> None:
        """Learn the taps' shapes from one forward pass on `call` and make the parameters."""
        args, kwargs = call
        if self.classifier is not None and self.config.classifier is None:
            check_classifier(backbone, self.classifier, lambda: backbone(*args, **kwargs))
        infos = probe(backbone, self.paths, args, kwargs)
        if infos[0].tokens:
            infos = with_token_facts(infos, backbone, call, self.config.causal, self.config.prefix_tokens)
        paths, overwritten = [info.path for info in infos], [info.overwritten for info in infos]
        if infos[-1].tokens and not self.config.token_pool:
            warn_of_unread_tokens(backbone, infos[-1], call)
        seen = seen_behind(backbone, paths, overwritten, call, self.config.dynamics == "reentrant")
        self.build_from(
            [dataclasses.replace(info, seen=number in seen) for number, info in enumerate(infos)],
            next(backbone.parameters(), None),
        )

    def build_from(self, infos: Sequence[TapInfo], like: Tensor | None = None, T: int | None = None) -> None:
        """Make the parameters for taps of known shape, given in depth order, and for the couplings that `T` needs.

        Args:
            like: a tensor on the device where they shall be.
        """
        self.infos, self.paths = list(infos), tuple(info.path for info in infos)
        check_options(self.config, infos[0])
        config = dataclasses.replace(self.config, T=T or self.config.T)
        with torch.inference_mode(False):  # a first pass may be one of inference; what it makes will be trained
            engine = Engine(infos, config)
        self.engine = engine if like is None else engine.to(like.device)
        self.engine.train(self.training)

    def built(self) -> Engine:
        """The engine; an error while the shapes of the taps are unknown."""
        if self.engine is None:
            raise ResonanceError(
                "example_input: the shapes of the taps are not known yet, so there is nothing to train or save; "
                "pass example_input to wrap_with_resonance, or run one forward pass first"
            )
        return self.engine

    def wiring(self, backbone: nn.Module, meet: Any) -> Wiring:
        """The ways through `backbone` on which the taps meet in `meet`."""
        instead: dict[str, nn.Module] = {}
        if self.head is not None and self.classifier is not None:
            instead[self.classifier] = Answer(self.head)
        return wire(
            backbone,
            self.paths,
            self.built().seen,
            meet,
            again=self.config.dynamics == "reentrant",
            overwritten=[info.overwritten for info in self.infos],
            instead=instead,
        )

    def tail(self, backbone: nn.Module, example: Any) -> nn.Module:
        """What lies behind the taps; see `ResonantModel.tail`."""
        return tail_of(backbone, self.paths, [info.overwritten for info in self.infos], example)

    # ---- agreeing -------------------------------------------------------------------------------------------------

    def anchors(self, activations: list[Tensor], outside: Sequence[Any] = ()) -> Anchors:
        """Pool the taps' activations onto the grid.

        Args:
            activations: x_l⁰ in depth order.
            outside: what the segments between them read besides.

        Raises:
            ResonanceError: a tap that is not of the kind and width that the couplings were made for.
        """
        engine = self.built()
        for path, x, channels in zip(self.paths, activations, engine.channels, strict=True):
            check_fits(path, x, channels, engine.tokens)
        pooled = self.config.token_pool
        grid = message_grid(activations[-1], self.config.grid, pooled, engine.causal)
        return Anchors(
            [on_grid(x, grid, pooled, engine.causal) for x in activations],
            [activations[number] for number in engine.seen],
            grid,
            activations if self.config.dynamics == "reentrant" else None,
            tuple(outside),
        )

    def agree(self, anchors: Anchors, wiring: Wiring | None, trace: bool) -> tuple[list[Tensor], Agreement]:
        """x_l = x_l⁰ + Up(Δ_l) of each tap that is seen, from the anchors of a batch, and how it came about.

        Samples whose anchors are not finite, or whose messages run away, keep their anchors.
        """
        segments = () if wiring is None else wiring.segments
        finite_B = anchors.finite()
        # zeroed before the loop: torch.where after it would still let NaN into the gradient
        agreement = self._run(anchors.zeroed_but(finite_B), segments, trace)
        deltas = agreement.delta
        keep_B = finite_B & self._sound(anchors, deltas)
        learning = torch.is_grad_enabled() and not torch.compiler.is_compiling() and not trace
        if learning and not bool(keep_B.all()):
            # overflow goes back into the parameters' gradient even where its result is not used: run the others alone
            agreement = self._run(anchors.of(keep_B), segments, trace)
            deltas = [d.new_zeros(len(keep_B), *d.shape[1:]).index_put((keep_B,), d) for d in agreement.delta]
        agreed = [
            torch.where(keep_B.view(-1, *[1] * (x.ndim - 1)), x + from_grid(delta, anchors.grid, x).to(x.dtype), x)
            for x, delta in zip(anchors.seen, deltas, strict=True)
        ]
        if not torch.compiler.is_exporting():  # an exported program leaves nothing on the model
            self.fallback = ~keep_B
        return agreed, agreement

    def _run(self, anchors: Anchors, segments: Sequence[Any], trace: bool) -> Agreement:
        agreement: Agreement = self.built()(anchors, self.config.mode, self.config.T, trace, segments)
        return agreement

    def _sound(self, anchors: Anchors, deltas: list[Tensor]) -> Tensor:
        """(B,) bool: the samples that no tap was moved out of all bounds in, nor out of what half precision holds."""
        engine, sound = self.built(), []
        for tap, x, delta in zip(engine.seen, anchors.seen, deltas, strict=True):
            delta = delta.detach()
            far_B = torch.linalg.vector_norm(delta, ord=float("inf"), dim=tuple(range(1, delta.ndim)))
            sound.append(far_B <= FAR * engine.statistics.std(tap).max())
            if x.dtype == torch.float16:
                moved = x + from_grid(delta, anchors.grid, x).to(x.dtype)
                sound.append(torch.isfinite(moved).flatten(1).all(1))
        return torch.stack(sound).all(0)

    # ---- keeping --------------------------------------------------------------------------------------------------

    def start_from(self, directory: str | Path) -> None:
        """Take over the engine that was saved in `directory`, but for its student; see `ResonantModel.start_from`."""
        description, tensors = read(Path(directory))
        where, engine = f"directory={str(directory)!r}", self.built()
        taps = [info["path"] for info in description["taps"]]
        if taps != list(self.paths):
            raise ResonanceError(f"{where}: its taps are {', '.join(taps)}, here they are {', '.join(self.paths)}")
        own = {n: t for n, t in engine.state_dict().items() if not n.startswith("student.")}
        given = {n.removeprefix("engine."): t for n, t in tensors.items() if n.startswith("engine.")}
        given = {n: t for n, t in given.items() if not n.startswith("student.")}
        check_tensors(where, own, given)
        engine.load_state_dict(given, strict=False)

    def described(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that `load` needs: a description in plain values, and the tensors."""
        engine = self.built()
        engine.settle()
        tensors = {f"engine.{name}": tensor for name, tensor in engine.state_dict().items()}
        if self.head is not None:
            tensors |= {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}
        description = {
            "config": self.config.to_dict(),
            "built_T": engine.config.T,
            "taps": [dataclasses.asdict(info) for info in self.infos],
            "classifier": self.classifier,
            "student": engine.student is not None,
        }
        return description, tensors

    def load(self, description: dict[str, Any], tensors: dict[str, Tensor], like: Tensor | None, where: str) -> None:
        """Build as described and take over the tensors.

        Raises:
            ResonanceError: they do not fit; the line begins with `where`.
        """
        self.build_from([TapInfo(**info) for info in description["taps"]], like, description["built_T"])
        engine = self.built()
        if description["student"] and engine.student is None:
            engine.add_student()
        if self.classifier != description["classifier"]:
            raise ResonanceError(
                f"{where}: its head replaced {description['classifier']!r}, here it would be {self.classifier!r}"
            )
        parts: dict[str, nn.Module] = {"engine.": engine} | ({} if self.head is None else {"head.": self.head})
        check_tensors(where, {p + n: t for p, part in parts.items() for n, t in part.state_dict().items()}, tensors)
        for prefix, part in parts.items():
            part.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
        if self.config.mode == "folded":
            engine.fold()
