"""All backbones of the matrix."""

from collections.abc import Collection

from benchmarks.backbones import hugging_face, plain_nets, timm_nets, torchvision_nets
from benchmarks.backbones.entry import Entry

ENTRIES = [*torchvision_nets.NETS, *timm_nets.NETS, *hugging_face.NETS, *plain_nets.NETS]
FAMILIES = tuple(dict.fromkeys(entry.family for entry in ENTRIES))


def key(entry: Entry) -> str:
    """Family and name."""
    return f"{entry.family}/{entry.name}"


def chosen(names: Collection[str] = (), family: str | None = None) -> list[Entry]:
    """The entries of these names and this family; by default all.

    >>> [entry.family for entry in chosen(["resnet18"])]
    ['torchvision', 'timm']

    Raises:
        ValueError: a name or family that no entry has.
    """
    for name in names:
        if not any(entry.name == name for entry in ENTRIES):
            raise ValueError(f"--only {name}: no such backbone; python -m benchmarks.backbones --list names all")
    if family is not None and family not in FAMILIES:
        raise ValueError(f"--family {family}: no such family; there are {', '.join(FAMILIES)}")
    return [e for e in ENTRIES if (not names or e.name in names) and family in (None, e.family)]
