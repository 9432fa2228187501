"""The backbone's graph, cut at its taps (tapped layers): the parts before, between and after the taps.

torch.fx traces the backbone with whole modules as nodes: each tap, and each largest module that holds no tap. So the
code inside of them need not be traceable, their hooks fire, and they stay the user's own objects. The upper part holds
the taps and all nodes on which a tap depends. The upper part runs first, then the taps are coupled. The lower part, all
other nodes, runs last and reads the refined activations. What the upper part computes of a tap without parameters, such
as a ReLU on the way to a skip connection, is computed again for the lower part.
"""

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from dynaxx.backbone.example import Call
from dynaxx.backbone.form import Form, form_of
from dynaxx.backbone.replace import constants, replace_modules
from dynaxx.errors import ResonanceError
from dynaxx.grid import Tap

_LOOK_UPS = {"size", "dim", "ndimension", "numel", "stride", "is_floating_point"}
"""Methods of a tensor that read its shape or kind, not its values."""

_ATTRIBUTES = {"shape", "ndim", "dtype", "device", "is_cuda", "layout"}
"""Attributes of a tensor that are no values of it, either."""


class _Tracer(fx.Tracer):
    """A torch.fx tracer that enters only modules that hold a tap, and takes branches on shapes as the example does."""

    def __init__(self, taps: Sequence[str], call: Call | None) -> None:
        super().__init__(autowrap_functions=_timm_functions())
        self.entered = {tap.rpartition(".")[0] for tap in taps}
        self.entered |= {path[:n] for path in self.entered for n in range(len(path)) if path[n] == "."}
        self.call, self.values = call, dict[fx.Node, Any]()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.entered

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The truth of a value that depends on shapes alone; a guard in the graph refuses inputs where it differs."""
        if self.call is None or not _about_shapes(obj.node):
            return super().to_bool(obj)
        truth = bool(self._value(obj.node))
        self.create_proxy("call_function", refuse_other_shape, (obj, truth), {})
        return truth

    def _value(self, node: fx.Node) -> Any:
        if node not in self.values:
            args, kwargs = map_arg((node.args, node.kwargs), self._value)
            self.values[node] = self._run(node, args, kwargs)
        return self.values[node]

    @torch.no_grad()
    def _run(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        match node.op:
            case "placeholder":
                assert self.call is not None
                number = [n for n in node.graph.nodes if n.op == "placeholder"].index(node)
                given = dict(enumerate(self.call[0])) | self.call[1]
                return given.get(number, given.get(str(node.target), *node.args))
            case "call_module":
                return self.root.get_submodule(str(node.target))(*args, **kwargs)
            case "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            case "get_attr":
                return operator.attrgetter(str(node.target))(self.root)
        assert callable(node.target)
        return node.target(*args, **kwargs)


def _timm_functions() -> tuple[Callable[..., Any], ...]:
    """The functions that timm registers as not traceable, where timm is in use."""
    features = sys.modules.get("timm.models._features_fx")
    return tuple(features.get_notrace_functions()) if features is not None else ()


def refuse_other_shape(found: object, traced: bool) -> None:
    """Raise ResonanceError if a branch on the input's shape goes another way than in the example.

    >>> refuse_other_shape(224 % 32 == 0, True)
    """
    if bool(found) != traced:
        raise ResonanceError(
            "example_input: at this input's shape the backbone takes another branch than at the example's; wrap it "
            "with an example of this shape"
        )


def _looks_up(node: fx.Node) -> bool:
    """Whether a node reads only the shape or the kind of a tensor."""
    if node.op == "call_method":
        return node.target in _LOOK_UPS
    return node.op == "call_function" and node.target is getattr and node.args[1] in _ATTRIBUTES


def _about_shapes(node: fx.Node) -> bool:
    """Whether a node's value follows from shapes alone."""
    if _looks_up(node):
        return True
    inner = node.op == "call_function" and not str(getattr(node.target, "__module__", "")).startswith("torch")
    return inner and bool(node.all_input_nodes) and all(_about_shapes(read) for read in node.all_input_nodes)


class Split:
    """The traced graph of a backbone and its taps.

    Args:
        backbone: the network, in eval mode.
        taps: the taps, in the order in which a pass reaches them.
        call: arguments of a pass whose shapes decide branches; without them, a branch on a shape cannot be traced.
        form: the form of the calls that the graph takes; None is that of `call`.

    Raises:
        ResonanceError: torch.fx cannot trace the backbone, or a tap does not run exactly once in the traced graph.
    """

    def __init__(
        self, backbone: nn.Module, taps: Sequence[Tap], call: Call | None = None, form: Form | None = None
    ) -> None:
        self.backbone = backbone
        self.form = form or form_of(backbone, call)
        try:
            self.graph = _Tracer([tap.path for tap in taps], call).trace(backbone, dict(self.form.fixed))
            for node, name in zip(self.graph.find_nodes(op="placeholder"), self.form.names, strict=False):
                node.target = name  # torch.fx numbers those with a fixed value
        except Exception as error:  # fx raises whatever the traced code raises
            raise ResonanceError(
                f"backbone: torch.fx cannot trace it ({type(error).__name__}: {' '.join(str(error).split())})"
            ) from None
        self.taps = [self._node(tap) for tap in taps]
        self.overwritten = {node for node, tap in zip(self.taps, taps, strict=True) if tap.overwritten}
        self.above = _ancestors(self.taps)
        self.moved: set[fx.Node] = set()  # nodes that depend on a tap
        self.light: set[fx.Node] = set()  # those of the upper part that follow from taps without parameters
        for node in self.graph.nodes:
            read = [n for n in node.all_input_nodes if n in self.moved or n in self.taps]
            if read:
                self.moved.add(node)
                easy = node in self.above and node not in self.taps and self._without_parameters(node)
                if easy and any(n in self.taps or n in self.light for n in read) and not _looks_up(node):
                    self.light.add(node)
        output = [node for node in self.graph.nodes if node.op == "output"]
        self.used = _ancestors(output)
        self.again = self._again()

    def _node(self, tap: Tap) -> fx.Node:
        nodes = [node for node in self.graph.nodes if node.op == "call_module" and node.target == tap.path]
        if len(nodes) != 1:
            raise ResonanceError(f"layers: {tap.path!r} is called {len(nodes)} times in the traced backbone, not once")
        if not tap.nested:
            return nodes[0]
        items = [node for node in nodes[0].users if node.target is operator.getitem and node.args[1] == 0]
        if len(items) != 1:
            raise ResonanceError(f"layers: {tap.path!r} returns a tuple, which the traced backbone does not take apart")
        return items[0]

    def _without_parameters(self, node: fx.Node) -> bool:
        if any(read.op == "get_attr" for read in node.all_input_nodes):
            return False
        return (
            node.op != "call_module" or next(self.backbone.get_submodule(str(node.target)).parameters(), None) is None
        )

    def _again(self) -> set[fx.Node]:
        """The light nodes that the lower part reads, and those that these read: they run again behind the coupling."""
        lower = [node for node in self.graph.nodes if node in self.used and node not in self.above]
        found: set[fx.Node] = set()
        todo = [read for node in lower if not _looks_up(node) for read in node.all_input_nodes if read in self.light]
        while todo:
            node = todo.pop()
            if node not in found:
                found.add(node)
                todo += [read for read in node.all_input_nodes if read in self.light]
        return found

    def outputs(self) -> list[int]:
        """Indices of the taps whose values the lower part reads."""
        readers = {node for node in self.graph.nodes if node in self.used and node not in self.above} | self.again
        return [
            number
            for number, tap in enumerate(self.taps)
            if any(user in readers and not _looks_up(user) for user in tap.users)
        ]

    def unserved(self) -> list[int]:
        """Indices of the taps from which the lower part reads values that layers of the upper part computed."""
        lower = [node for node in self.graph.nodes if node in self.used and node not in self.above]
        read = [n for node in lower if not _looks_up(node) for n in node.all_input_nodes if n in self.above]
        computed = [n for n in read if n in self.moved - self.light - set(self.taps) and not _about_shapes(n)]
        reached = _ancestors(computed, until=set(self.taps))
        return [number for number, tap in enumerate(self.taps) if tap in reached]

    def whole(self, couple: nn.Module, replacements: dict[str, nn.Module]) -> fx.GraphModule:
        """The backbone with its taps coupled.

        Args:
            couple: function from the lists of the taps' activations and of the `outside()` activations to the new
                activation of each output tap.
            replacements: new modules by the path of the module that each replaces.
        """
        part = _Part()
        kept: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder" or node in self.above:
                part.copy(node)
            if node in self.taps:
                kept[node] = part.cloned(node) if node in self.overwritten else part.env[node]
        read = [kept[tap] for tap in self.taps], [part.env[node] for node in self.outside()]
        refined = part.graph.call_module("couple", read)
        for place, number in enumerate(self.outputs()):
            part.item(self.taps[number], refined, place)
        for node in self.graph.nodes:
            if node in self.again:
                del part.env[node]
            if node in self.again or (node.op != "placeholder" and node not in self.above):
                part.copy(node)
        return part.module(self.backbone, {"couple": couple} | replacements)

    def tail(self) -> fx.GraphModule:
        """The lower part, as a function of the list of the output taps' activations in depth order.

        Raises:
            ResonanceError: the lower part also reads other activations.
        """
        part = _Part()
        refined = part.graph.placeholder("refined")
        for place, number in enumerate(self.outputs()):
            part.item(self.taps[number], refined, place)
        output = [node for node in self.graph.nodes if node.op == "output"]
        used = _ancestors(output, until=set(self.taps))  # without the asserts on shapes, which nothing uses
        for node in self.graph.nodes:
            if node in used and node not in part.env:
                if (node in self.above and node not in self.again) or node.op == "placeholder":
                    raise ResonanceError(
                        f"layers: what lies behind the last tap also reads {node.name!r}, so it has no tail of its own"
                    )
                part.copy(node)
        return part.module(self.backbone, {})

    def outside(self) -> list[fx.Node]:
        """The nodes that segments read and no tap changes; these nodes end the stem, which never runs again."""
        return list(dict.fromkeys(node for tap in self.taps for node in self._reads(tap) if node not in self.taps))

    def segments(self) -> list[fx.GraphModule | None]:
        """The segment f_l of each tap, from all taps' states and `outside()`; None for a tap that reads no tap."""
        return [self._segment(tap) if tap in self.moved else None for tap in self.taps]

    def _segment(self, tap: fx.Node) -> fx.GraphModule:
        part = _Part()
        states, beside = part.graph.placeholder("states"), part.graph.placeholder("outside")
        for node in self._reads(tap):
            if node in self.taps:
                part.item(node, states, self.taps.index(node))
                if node in self.overwritten:
                    part.env[node] = part.cloned(node)
            else:
                part.item(node, beside, self.outside().index(node))
        inner = self._inner(tap)
        for node in self.graph.nodes:
            if node in inner:
                part.copy(node)
        part.graph.output(part.env[tap])
        return part.module(self.backbone, {})

    def _inner(self, tap: fx.Node) -> set[fx.Node]:
        """The nodes that run between earlier taps and `tap`, including `tap` itself."""
        earlier = set(self.taps) - {tap}
        return {node for node in _ancestors([tap], until=earlier) if node in self.moved and node not in earlier}

    def _reads(self, tap: fx.Node) -> list[fx.Node]:
        """The inputs of a segment: earlier taps and outside nodes, without parameters, which each part holds."""
        inner = self._inner(tap)
        read = dict.fromkeys(node for user in self.graph.nodes if user in inner for node in user.all_input_nodes)
        return [node for node in read if node not in inner and node.op != "get_attr"]


class _Part:
    """A graph built from nodes of a source graph; `env` maps each source node to its copy in this graph."""

    def __init__(self) -> None:
        self.graph, self.env = fx.Graph(), dict[fx.Node, fx.Node]()

    def copy(self, node: fx.Node) -> None:
        for read in node.all_input_nodes:
            if read.op == "get_attr" and read not in self.env:
                self.env[read] = self.graph.node_copy(read)
        if node not in self.env:
            self.env[node] = self.graph.node_copy(node, self.env.__getitem__)

    def item(self, node: fx.Node, of: fx.Node, place: int) -> None:
        self.env[node] = self.graph.call_function(operator.getitem, (of, place))

    def cloned(self, node: fx.Node) -> fx.Node:
        return self.graph.call_method("clone", (self.env[node],))

    def module(self, backbone: nn.Module, replacements: dict[str, nn.Module]) -> fx.GraphModule:
        """The graph as a module; its submodules come from `backbone`, with `replacements` in the place of their own."""
        made = constants(replacements)
        root: dict[str, Any] = {}
        for node in self.graph.nodes:
            path = str(node.target)
            if node.op == "get_attr":
                root[path] = operator.attrgetter(path)(backbone)
            if node.op == "call_module":
                own = nn.Identity() if path in replacements else backbone.get_submodule(path)
                inner = {at: make for at, make in made.items() if at == path or at.startswith(f"{path}.")}
                root[path] = replace_modules(own, inner, path)
        self.graph.lint()
        return fx.GraphModule(root, self.graph).eval()


def _ancestors(nodes: Sequence[fx.Node], until: set[fx.Node] | None = None) -> set[fx.Node]:
    """All nodes that `nodes` depend on, themselves included; the search ends at nodes of `until`."""
    found: set[fx.Node] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            if until is None or node not in until:
                todo += node.all_input_nodes
    return found
