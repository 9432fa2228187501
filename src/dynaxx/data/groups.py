"""Coarse groups of classes, for a backbone that is pretrained on coarser labels than those of the task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from dynaxx.data.errors import DataError
from dynaxx.data.images import LabelledImages


def check_groups(groups: Mapping[str, Sequence[str]], classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Check that each class is in exactly one group, and return the groups with plain strings as names.

    >>> check_groups({"animal": ["cat", "dog"], "vehicle": ["car"]}, ("car", "cat", "dog"))
    {'animal': ('cat', 'dog'), 'vehicle': ('car',)}

    Raises:
        DataError: a class in no group or in several, or a group with an unknown class; the message names the class.
    """
    for name, members in groups.items():
        if isinstance(members, str) or not isinstance(members, Iterable) or not members:
            raise DataError(f"data.groups.{name} must be a list of class names, got {members!r}")
    # YAML reads a class called 3 as a number
    grouped = {str(name): tuple(str(member) for member in members) for name, members in groups.items()}
    named = [member for members in grouped.values() for member in members]
    for member in named:
        if member not in classes:
            raise DataError(f"data.groups names {member!r}, which is no class; classes: {', '.join(classes)}")
        if named.count(member) > 1:
            raise DataError(f"data.groups names class {member!r} {named.count(member)} times; name it once")
    for name in classes:
        if name not in named:
            raise DataError(f"data.groups leaves out class {name!r}; put each class into one group")
    return grouped


def coarsen(data: LabelledImages, groups: Mapping[str, Sequence[str]]) -> LabelledImages:
    """The same images, labelled with group numbers; groups are numbered in the order of the dictionary."""
    coarse = {member: number for number, members in enumerate(groups.values()) for member in members}
    labels = torch.tensor([coarse[name] for name in data.classes])[data.labels]
    return replace(data, labels=labels, classes=tuple(groups))
