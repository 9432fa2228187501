"""A new adapter, or an adapter that is read from a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dynaxx.backbone import Call, as_call, resolve, stated_input
from dynaxx.config import LINEAR, ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.model.adapter import Adapter
from dynaxx.model.keeping import check_backbone, restore
from dynaxx.model.saving import read


def new_adapter(
    backbone: nn.Module, layers: Sequence[int | str] | str, config: ResonanceConfig, example_input: Any
) -> tuple[Adapter, Call | None]:
    """A new adapter, and the arguments that reveal layer shapes: the example, else the model's stated input, else None.

    >>> adapter, call = new_adapter(network, [2, 3], ResonanceConfig(), images)
    >>> adapter.paths
    ('layer2', 'layer3')

    Raises:
        ResonanceError: a layer that does not exist, or mode `folded`, which needs a trained linear loop.
    """
    if config.mode == "folded":
        raise ResonanceError("mode='folded': there is nothing to fold yet; give mode='explicit', train, then fold()")
    call = None if example_input is None else as_call(example_input)
    if call is None and (stated := stated_input(backbone)) is not None:
        call = as_call(stated)
    return Adapter(backbone, _paths(backbone, layers, config, call), config), call


def read_adapter(backbone: nn.Module, directory: str | Path, strict: bool = True) -> Adapter:
    """The adapter that `save_pretrained` wrote to `directory`.

    >>> read_adapter(network, folder).paths
    ('layer2', 'layer3', 'layer4')

    Args:
        backbone: the network.
        directory: the folder.
        strict: whether another backbone than the adapter was trained on is an error, and not only a warning.

    Raises:
        ResonanceError: a missing, damaged or foreign file, or layers or weights that do not fit it.
    """
    description, tensors = read(Path(directory))
    where = f"directory={str(directory)!r}"
    try:
        config = ResonanceConfig(**description["config"])
        taps = [tap["path"] for tap in description["taps"]]
        adapter = Adapter(backbone, _paths(backbone, taps, config), config)
        check_backbone(where, description, backbone, strict)
        restore(adapter, description, tensors, next(backbone.parameters(), None), where)
    except (TypeError, KeyError) as error:
        raise ResonanceError(f"{where}: its description does not fit this version ({error})") from None
    return adapter


def _paths(
    backbone: nn.Module, layers: Sequence[int | str] | str, config: ResonanceConfig, call: Call | None = None
) -> list[str]:
    paths = resolve(backbone, layers, call, fewest=1 if config.mode in LINEAR else 2)
    if config.mode == "layer_probe" and len(paths) > 1:
        raise ResonanceError(f"layers={list(layers)!r}: mode='layer_probe' reads one layer; give one, or concat_probe")
    return paths
