"""The matrix of backbones: each wraps and passes every check, or is refused as the registry says."""

import pytest

from benchmarks.backbones.checks import examine, unexpected
from benchmarks.backbones.entry import Entry
from benchmarks.backbones.registry import ENTRIES, key


@pytest.mark.parametrize(
    "entry",
    [pytest.param(e, id=key(e), marks=() if e.fast else pytest.mark.nightly) for e in ENTRIES],
)
def test_a_backbone_passes_every_check_or_is_refused_as_expected(entry: Entry):
    odd = unexpected(entry, examine(entry))
    assert not odd, "\n".join(f"{name} {finding.verdict}: {finding.why}" for name, finding in odd.items())
