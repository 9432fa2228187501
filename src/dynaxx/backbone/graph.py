"""The backbone's graph, cut at its taps (tapped layers): the parts before, between and after the taps.

torch.fx traces the backbone with the taps as single nodes. The upper part holds the taps and
all nodes on which a tap depends. The upper part runs first, then the taps are coupled. The lower part, all other nodes,
runs last and reads the refined activations.
"""

import operator
from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from dynaxx.errors import ResonanceError


class _Tracer(fx.Tracer):
    """A torch.fx tracer that enters every module except the taps; each tap stays one node."""

    def __init__(self, taps: Sequence[str]) -> None:
        super().__init__()
        self.taps = taps

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.taps or super().is_leaf_module(m, module_qualified_name)


class Split:
    """The traced graph of a backbone and its taps.

    Args:
        backbone: the network, in eval mode.
        taps: module paths, in the order in which a pass reaches them.
        overwritten: for each tap, whether an in-place operation changes its activation, which must then be copied.

    Raises:
        ResonanceError: torch.fx cannot trace the backbone, or a tap does not run exactly once in the traced graph.
    """

    def __init__(self, backbone: nn.Module, taps: Sequence[str], overwritten: Sequence[bool]) -> None:
        self.backbone = backbone
        try:
            self.graph = _Tracer(taps).trace(backbone)
        except Exception as error:  # fx raises whatever the traced code raises
            raise ResonanceError(f"backbone: torch.fx cannot trace it ({type(error).__name__}: {error})") from None
        self.taps = [self._node(tap) for tap in taps]
        self.overwritten = {tap for tap, copy in zip(self.taps, overwritten, strict=True) if copy}
        self.above = _ancestors(self.taps)
        self.moved: set[fx.Node] = set()  # nodes that depend on a tap
        for node in self.graph.nodes:
            if any(read in self.moved or read in self.taps for read in node.all_input_nodes):
                self.moved.add(node)

    def _node(self, tap: str) -> fx.Node:
        nodes = [node for node in self.graph.nodes if node.op == "call_module" and node.target == tap]
        if len(nodes) != 1:
            raise ResonanceError(f"layers: {tap!r} is called {len(nodes)} times in the traced backbone, not once")
        return nodes[0]

    def outputs(self) -> list[int]:
        """Indices of the taps that the lower part reads."""
        return [number for number, tap in enumerate(self.taps) if any(user not in self.above for user in tap.users)]

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
            if node.op != "placeholder" and node not in self.above:
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
            if node in used and node not in self.taps:
                if node in self.above or node.op == "placeholder":
                    raise ResonanceError(
                        f"layers: what lies behind {self.taps[-1].target!r} also reads {node.name!r}, "
                        "so it has no tail of its own"
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
        """The graph as a module; its submodules come from `backbone`, or from `replacements` where given."""
        named = sorted({str(node.target) for node in self.graph.nodes if node.op in ("call_module", "get_attr")})
        root: dict[str, Any] = {
            n: replacements[n] if n in replacements else operator.attrgetter(n)(backbone) for n in named
        }
        self.graph.lint()
        made = fx.GraphModule(root, self.graph)
        return made.eval()


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
