"""The part of a backbone behind its last tap, on its own: what training from cached anchors runs."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from dynaxx.resonance.errors import ResonanceError


class _Tracer(fx.Tracer):
    """Traces through everything but the tap itself, which stays one node."""

    def __init__(self, tap: str) -> None:
        super().__init__()
        self.tap = tap

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name == self.tap or super().is_leaf_module(m, module_qualified_name)


def tail_after(backbone: nn.Module, tap: str, example: Tensor) -> fx.GraphModule:
    """The function from the activation of `tap` to the backbone's output; shares the backbone's modules.

    Args:
        backbone: traceable by torch.fx and in eval mode.
        tap: module path.
        example: a batch of inputs on which the tail is checked against the backbone.

    Raises:
        ResonanceError: the backbone cannot be traced, what lies behind the tap reads more than the tap, or the tail
            does not give the backbone's output; train from live activations then.
    """
    try:
        graph = _Tracer(tap).trace(backbone)
    except Exception as error:  # fx raises whatever the traced code raises
        raise ResonanceError(f"backbone: torch.fx cannot trace it ({type(error).__name__}: {error})") from None
    nodes = [node for node in graph.nodes if node.op == "call_module" and node.target == tap]
    if len(nodes) != 1:
        raise ResonanceError(f"layers: {tap!r} is called {len(nodes)} times in the traced backbone, not once")
    with graph.inserting_before(next(iter(graph.nodes))):
        entry = graph.placeholder("activation")
    nodes[0].replace_all_uses_with(entry)
    # asserts on the input's shape have no users, yet count as impure; they belong to what is cut away
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
    for node in [n for n in graph.nodes if n.op == "placeholder" and n is not entry]:
        if node.users:
            raise ResonanceError(f"layers: what lies behind {tap!r} also reads the input, so it has no tail of its own")
        graph.erase_node(node)
    tail = fx.GraphModule(backbone, graph)
    if not _agrees(backbone, tap, tail, example):
        raise ResonanceError(f"layers: the traced tail behind {tap!r} does not give the backbone's output")
    return tail


@torch.no_grad()
def _agrees(backbone: nn.Module, tap: str, tail: nn.Module, example: Tensor) -> bool:
    seen: list[Tensor] = []
    handle = backbone.get_submodule(tap).register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    try:
        expected: Any = backbone(example)
    finally:
        handle.remove()
    return isinstance(expected, Tensor) and torch.allclose(tail(seen[0]), expected, rtol=1e-4, atol=1e-5)
