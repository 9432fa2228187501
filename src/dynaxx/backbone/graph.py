"""The backbone's graph cut at its taps: what runs before they meet, between them, and behind them.

torch.fx traces the backbone with the taps as single nodes. A node is above if a tap depends on it, a tap included.
Above runs first, then the taps meet, then everything else runs, and reads what they agreed on wherever it read a tap:
the last tap's chain, and every later consumer of an earlier tap that is not itself on the way to another one.
"""

import operator
from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from dynaxx.errors import ResonanceError


class _Tracer(fx.Tracer):
    """Traces through everything but the taps themselves, each of which stays one node."""

    def __init__(self, taps: Sequence[str]) -> None:
        super().__init__()
        self.taps = taps

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.taps or super().is_leaf_module(m, module_qualified_name)


class Split:
    """The traced graph of a backbone and its taps.

    Args:
        backbone: in eval mode.
        taps: module paths, in the order in which a pass reaches them.
        overwritten: taps that an in-place operation changes, so that what is kept of them must be a copy.

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
        self.moved: set[fx.Node] = set()  # what a tap changes
        for node in self.graph.nodes:
            if any(read in self.moved or read in self.taps for read in node.all_input_nodes):
                self.moved.add(node)

    def _node(self, tap: str) -> fx.Node:
        nodes = [node for node in self.graph.nodes if node.op == "call_module" and node.target == tap]
        if len(nodes) != 1:
            raise ResonanceError(f"layers: {tap!r} is called {len(nodes)} times in the traced backbone, not once")
        return nodes[0]

    def seen(self) -> list[int]:
        """Numbers of the taps that something below reads."""
        return [number for number, tap in enumerate(self.taps) if any(user not in self.above for user in tap.users)]

    def whole(self, meet: nn.Module, instead: dict[str, nn.Module]) -> fx.GraphModule:
        """The backbone in which the taps meet.

        Args:
            meet: given the list of the taps' activations and that of `outside()`, returns what goes on in the place of
                each tap that is seen.
            instead: modules by the path of those in whose place they stand.
        """
        part = _Part()
        kept: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder" or node in self.above:
                part.copy(node)
            if node in self.taps:
                kept[node] = part.cloned(node) if node in self.overwritten else part.env[node]
        met = part.graph.call_module("meet", ([kept[t] for t in self.taps], [part.env[o] for o in self.outside()]))
        for place, number in enumerate(self.seen()):
            part.item(self.taps[number], met, place)
        for node in self.graph.nodes:
            if node.op != "placeholder" and node not in self.above:
                part.copy(node)
        return part.module(self.backbone, {"meet": meet} | instead)

    def tail(self) -> fx.GraphModule:
        """What lies below as a function of the list of the activations of the taps that are seen, in depth order.

        Raises:
            ResonanceError: it reads something else, too.
        """
        part = _Part()
        seen = part.graph.placeholder("seen")
        for place, number in enumerate(self.seen()):
            part.item(self.taps[number], seen, place)
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
        """What segments read that no tap changes; the stem, which is never run again, ends there."""
        return list(dict.fromkeys(node for tap in self.taps for node in self._reads(tap) if node not in self.taps))

    def segments(self) -> list[fx.GraphModule | None]:
        """f_l of each tap, from the list of all taps' states and that of `outside()`; None where no tap moves it."""
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
        """The nodes that run between earlier taps and `tap`, which is one of them."""
        earlier = set(self.taps) - {tap}
        return {node for node in _ancestors([tap], until=earlier) if node in self.moved and node not in earlier}

    def _reads(self, tap: fx.Node) -> list[fx.Node]:
        """What they read: earlier taps, and what no tap changes but parameters, which each part has itself."""
        inner = self._inner(tap)
        read = dict.fromkeys(node for user in self.graph.nodes if user in inner for node in user.all_input_nodes)
        return [node for node in read if node not in inner and node.op != "get_attr"]


class _Part:
    """A graph that is being made of another's nodes; `env` says which of its nodes stands for which."""

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

    def module(self, backbone: nn.Module, instead: dict[str, nn.Module]) -> fx.GraphModule:
        """The graph made runnable, its parts those of `backbone` but for the ones in `instead`."""
        named = sorted({str(node.target) for node in self.graph.nodes if node.op in ("call_module", "get_attr")})
        root: dict[str, Any] = {n: instead[n] if n in instead else operator.attrgetter(n)(backbone) for n in named}
        self.graph.lint()
        made = fx.GraphModule(root, self.graph)
        return made.eval()


def _ancestors(nodes: Sequence[fx.Node], until: set[fx.Node] | None = None) -> set[fx.Node]:
    """All that `nodes` depend on, themselves included; what lies before a node of `until` is left out."""
    found: set[fx.Node] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            if until is None or node not in until:
                todo += node.all_input_nodes
    return found
