"""One layer that is tapped as often as there are taps: what makes every message one from the last tap."""

from torch import nn

ECHOES = "echoes"
"""Note in an arm's facts: path of the layer that its taps repeat."""


def echoed(backbone: nn.Module, path: str, times: int) -> tuple[nn.Module, list[str]]:
    """`backbone` with identities behind the module at `path`, and the `times` paths that all hold what it gives.

    The answer is the same; the taps differ in their place, not in what they know.
    """
    module = backbone.get_submodule(path)
    backbone.set_submodule(path, nn.Sequential(module, *(nn.Identity() for _ in range(times - 1))))
    return backbone, [f"{path}.{number}" for number in range(times)]
