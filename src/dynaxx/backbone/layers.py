"""What `layers=[2, 3, 4]` means: from stage and block numbers to module paths.

Stages are found by the model's structure, not by class names. So the ResNets, EfficientNets, ConvNeXts and ViTs of
torchvision and timm are supported, and so are models of similar structure. In other models, one pass shows them.
"""

import difflib
import re
from collections.abc import Sequence

from torch import nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.trunk import observed_stages
from dynaxx.errors import ResonanceError

BLOCK_LISTS = ("blocks", "encoder.layers", "encoder.layer", "layers", "h", "transformer.h", "model.layers")
"""Attribute names under which transformers (and timm's EfficientNets) keep their blocks, outermost name first."""


def stages(model: nn.Module, call: Call | None = None) -> list[str]:
    """Module paths of the stages or blocks of `model` in depth order; empty if none are found.

    >>> stages(torchvision.models.resnet18())
    ['layer1', 'layer2', 'layer3', 'layer4']

    Stages are looked for first: `layer1 … layerN`, `stages`, then a `features` sequence. In a `features` sequence only
    plain sequences of composite blocks count, not stems, downsamplings or last convolutions. Then come lists of blocks,
    and last, if `call` has the arguments of a pass, the stages that this pass shows.
    """
    numbered = sorted((n for n, _ in model.named_children() if re.fullmatch(r"layer\d+", n)), key=lambda n: int(n[5:]))
    if len(numbered) > 1:
        return numbered
    for name in ("stages", *BLOCK_LISTS):
        children = _children(model, name)
        if len(children) > 1:
            return [f"{name}.{child}{_last(module)}" for child, module in children]
    features = [
        f"features.{name}"
        for name, part in _children(model, "features")
        if type(part) is nn.Sequential and len(part) and all(any(True for _ in block.children()) for block in part)
    ]
    known = features or _inner_blocks(model)
    return known if len(known) > 1 or call is None else observed_stages(model, call)


def _inner_blocks(model: nn.Module) -> list[str]:
    """The only nested list of blocks (such as Hugging Face's `bert.encoder.layer`); empty if several lists exist."""
    ends = {name.split(".")[-1] for name in BLOCK_LISTS}
    lists = [
        path for path, _ in model.named_modules() if path.split(".")[-1] in ends and len(_children(model, path)) > 1
    ]
    outermost = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    if len(outermost) != 1:
        return []
    return [f"{outermost[0]}.{child}" for child, _ in _children(model, outermost[0])]


def resolve(
    model: nn.Module, layers: Sequence[int | str] | str, call: Call | None = None, fewest: int = 2
) -> list[str]:
    """Module paths of the layers that `layers` names, in the given order.

    >>> resolve(torchvision.models.resnet18(), [2, "layer4"])
    ['layer2', 'layer4']

    Args:
        layers: stage or block numbers counted from 1, module paths, a mixture, or `"auto"`: the ends of the first,
            second and last third of the depth.
        call: arguments of a pass, which shows the stages of a model of unknown structure.
        fewest: smallest number of layers: two to couple, one to read.

    Raises:
        ResonanceError: fewer layers, a repeated layer, or a missing layer; the message names valid layers.
    """
    named = not isinstance(layers, str) and all(isinstance(layer, str) for layer in layers)
    known = stages(model, None if named else call)
    if isinstance(layers, str):
        if layers != "auto":
            raise ResonanceError(f"layers={layers!r}: give 'auto' or a list of stage numbers or module paths")
        if len(known) < 2:
            hint = ", or give example_input" if call is None else ""
            raise ResonanceError(
                f"layers='auto': {len(known)} stages were recognised in {type(model).__name__}, two are needed; "
                f"name module paths instead, for example {_examples(model)}{hint}"
            )
        return thirds(known) if len(known) > 2 else known
    if not isinstance(layers, Sequence):
        raise ResonanceError(f"layers={layers!r}: give 'auto' or a list of stage numbers or module paths")
    paths = [_path(model, layer, known) for layer in layers]
    if len(paths) < fewest:
        needed = "at least two layers are needed to couple" if fewest > 1 else "name at least one"
        raise ResonanceError(f"layers={list(layers)!r}: {needed}")
    if len(set(paths)) < len(paths):
        raise ResonanceError(f"layers={list(layers)!r}: a layer is named twice ({', '.join(paths)}); name each once")
    return paths


def thirds(paths: Sequence[str]) -> list[str]:
    """The last path of each third of the depth: of 12 blocks the 4th, 8th and 12th."""
    return [paths[-(-len(paths) * part // 3) - 1] for part in (1, 2, 3)]


def _path(model: nn.Module, layer: int | str, known: list[str]) -> str:
    if isinstance(layer, str):
        paths = [path for path, _ in model.named_modules() if path]
        if layer not in paths:
            close = difflib.get_close_matches(layer, paths, n=3, cutoff=0.3) or known[:3] or paths[:3]
            raise ResonanceError(f"layers: no module {layer!r} in {type(model).__name__}; near it: {', '.join(close)}")
        return layer
    if isinstance(layer, bool) or not isinstance(layer, int):
        raise ResonanceError(f"layers: {layer!r} is neither a number nor a module path; give one of these")
    if not known:
        raise ResonanceError(
            f"layers: number {layer}, but no stages were recognised in {type(model).__name__}; "
            f"name module paths, for example {_examples(model)}, or give example_input"
        )
    if not 1 <= layer <= len(known):
        raise ResonanceError(
            f"layers: no stage {layer} in {type(model).__name__}; it has 1 to {len(known)} ({known[0]} to {known[-1]})"
        )
    return known[layer - 1]


def _children(model: nn.Module, path: str) -> list[tuple[str, nn.Module]]:
    module: nn.Module | None = model
    for name in path.split("."):
        module = dict(module.named_children()).get(name) if module is not None else None
    return list(module.named_children()) if isinstance(module, (nn.Sequential, nn.ModuleList)) else []


def _last(module: nn.Module) -> str:
    """The path below `module` of its last entry, where it is a list, which does not run itself."""
    return f".{len(module) - 1}{_last(module[-1])}" if isinstance(module, nn.ModuleList) and len(module) else ""


def _examples(model: nn.Module) -> str:
    return ", ".join(repr(name) for name, _ in list(model.named_children())[:4]) or "none: it has no submodules"
