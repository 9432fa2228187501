"""One layer, tapped several times, so that all messages come from the same activation."""

from torch import nn

REPEATED_TAP = "echoes"
"""Key in an arm's notes: path of the layer that is tapped several times."""


def repeat_tap(backbone: nn.Module, path: str, times: int) -> tuple[nn.Module, list[str]]:
    """`backbone` with identities behind the module at `path`, and `times` paths with this module's activation.

    Example: `repeat_tap(network, "layer4", 3)` returns the paths layer4.0, layer4.1 and layer4.2.
    The prediction of the network does not change. The tapped layers differ in position and have equal activations.
    """
    module = backbone.get_submodule(path)
    backbone.set_submodule(path, nn.Sequential(module, *(nn.Identity() for _ in range(times - 1))))
    return backbone, [f"{path}.{number}" for number in range(times)]
