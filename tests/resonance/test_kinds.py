"""Maps, vectors and tokens in one model, and sources: message space gives what the formula gives."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from support.naive import resonate
from test_reference import randomised

from dynaxx import ResonanceConfig, ResonanceError
from dynaxx.backbone import rows_of
from dynaxx.grid import Tap
from dynaxx.model import Adapter
from dynaxx.resonance import live_pairs

KINDS = {"map": "BCHW", "vector": "BC", "tokens": "BNC", "other tokens": "BNC"}


@st.composite
def cases(draw):
    kinds = ["map", *draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))]
    kinds = draw(st.permutations(kinds))
    channels = [draw(st.integers(1, 5)) for _ in kinds]
    sources = {f"s{n}": draw(st.integers(1, 3)) for n in range(draw(st.integers(0, 2)))}
    config = ResonanceConfig(
        T=draw(st.integers(1, 5)),
        rank=draw(st.integers(1, min(3, sum(channels)))),
        damping=draw(st.floats(0.05, 1.0)),
        activation=draw(st.sampled_from(["gelu", "tanh", "identity"])),
        depthwise=draw(st.booleans()),
        gate=draw(st.sampled_from(["none", "learned"])),
        strength=draw(st.floats(0.01, 1.5)),
        feedback=draw(st.floats(0.1, 1.5)),
        sources=sources,
        grid=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
    )
    seen = [draw(st.booleans()) for _ in kinds]
    return kinds, channels, config, seen, draw(st.integers(0, 2)), draw(st.integers(0, 2**31))


@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_taps_of_all_kinds_and_sources_agree_with_full_channel_states(case):
    kinds, channels, config, seen, prefix, seed = case
    torch.manual_seed(seed)
    positions = config.grid[0] * config.grid[1]
    facts = {"tokens": {"prefix": prefix}, "other tokens": {"pooled": True}}
    taps = [
        Tap(f"tap{n}", c, KINDS[kind], output=flag, **facts.get(kind, {}))
        for n, (kind, c, flag) in enumerate(zip(kinds, channels, seen, strict=True))
    ]
    sizes = {"map": [2 * side for side in config.grid], "vector": [1], "tokens": [prefix + positions]}
    x0 = [
        torch.randn(3, c, *sizes.get(kind, [5]), dtype=torch.float64) for kind, c in zip(kinds, channels, strict=True)
    ]
    adapter = Adapter(torch.nn.Identity(), [tap.path for tap in taps], config)
    adapter.build_from(taps)
    resonator = randomised(adapter.require_built().double())
    sources = [torch.randn(3, c, *config.grid, dtype=torch.float64) for c in config.sources.values()]
    present = [torch.rand(3) < 0.6 for _ in sources]

    def own(x: torch.Tensor, tap: Tap) -> torch.Tensor:
        return x if tap.dims else x[:, :, 0] if tap.layout == "BC" else x.transpose(1, 2)

    pairs = {name: (x, has) for name, x, has in zip(config.sources, sources, present, strict=True)}
    with torch.no_grad():
        anchors = adapter.anchors([own(x, tap) for x, tap in zip(x0, taps, strict=True)], sources=pairs)
        agreed, output = adapter.refine(anchors, config, trace=True)
    outputs = resonator.exchange.outputs
    expected, residuals = resonate(
        resonator, config, x0, config.grid, outputs, list(zip(sources, present, strict=True))
    )
    for found, wanted, number in zip(agreed, expected, outputs, strict=True):
        wanted = own(wanted, taps[number])
        scale = wanted.abs().max().clamp_min(1.0)
        assert torch.allclose(found / scale, wanted / scale, rtol=0, atol=1e-10)
    assert torch.allclose(output.trace.residual, residuals, rtol=1e-6, atol=1e-8)


@given(taps=st.integers(2, 4), T=st.integers(1, 3), sources=st.integers(0, 3))
def test_a_source_speaks_to_every_tap_that_can_be_heard_and_hears_nobody(taps, T, sources):
    pairs = live_pairs(taps, T, [taps - 1], sources)
    assert all(pair.target < taps for pair in pairs)
    written = range(taps) if T > 1 else [taps - 1]
    from_sources = {(pair.target, pair.source) for pair in pairs if pair.source >= taps}
    assert from_sources == {(target, k) for target in written for k in range(taps, taps + sources)}
    assert [pair for pair in pairs if pair.source < taps] == live_pairs(taps, T, [taps - 1])


@given(height=st.integers(1, 9), width=st.integers(1, 9), factor=st.integers(1, 4))
def test_tokens_lie_in_the_proportions_of_the_map(height, width, factor):
    assert rows_of(height * width, (height * factor, width * factor)) == (height, width)
    assert rows_of(height * width, (height, width)) == (height, width)


def adapter_with(layout: str, **options: object) -> tuple[Adapter, list[torch.Tensor]]:
    """An adapter of two taps with a source of one channel, and their activations for two samples."""
    config = ResonanceConfig(T=2, rank=2, sources={"click": 1}, **options)
    made = Adapter(torch.nn.Identity(), ["one", "two"], config)
    made.build_from([Tap(path, 3, layout, prefix=int(layout == "BNC")) for path in made.paths])
    return made, [torch.randn(2, 3, 4, 4) if layout == "BCHW" else torch.randn(2, 17, 3) for _ in range(2)]


def on_grid(made: Adapter, activations: list[torch.Tensor], source: torch.Tensor) -> torch.Tensor:
    """(B, P): the source on the grid."""
    anchors = made.anchors(activations, sources={"click": source})
    ((x, _),) = anchors.sources.values()
    return x.expand(-1, 16 if anchors.grid == (4, 4) else 17, -1)[:, :, 0]


def test_a_source_is_averaged_onto_the_grid_and_repeated_where_it_is_coarser():
    made, activations = adapter_with("BCHW")
    click = torch.zeros(2, 1, 16, 16)
    click[0, 0, 5, 9] = 1.0
    assert torch.equal(on_grid(made, activations, click), F.avg_pool2d(click, 4).flatten(1))
    coarse = torch.randn(2, 1, 2, 2)
    assert torch.equal(on_grid(made, activations, coarse), F.interpolate(coarse, size=(4, 4)).flatten(1))
    uneven = torch.randn(2, 1, 8, 2)
    expected = F.avg_pool2d(uneven, (2, 1)).repeat_interleave(2, dim=3)
    assert torch.equal(on_grid(made, activations, uneven), expected.flatten(1))
    tokens, vector = torch.randn(2, 16, 1), torch.randn(2, 1)
    assert torch.equal(on_grid(made, activations, tokens), tokens[:, :, 0])
    assert torch.equal(on_grid(made, activations, vector), vector.expand(-1, 16))
    assert torch.equal(on_grid(made, activations, click.bool()), on_grid(made, activations, (click > 0).float()))


def test_a_map_lies_on_tokens_row_by_row_behind_the_prefix():
    made, activations = adapter_with("BNC")
    click = torch.randn(2, 1, 8, 8)
    rows = F.avg_pool2d(click, 2).flatten(1)
    assert torch.equal(on_grid(made, activations, click), torch.cat([rows.mean(1, keepdim=True), rows], dim=1))


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ({"clik": torch.ones(2, 1)}, r"sources\['clik'\]: no source of this model; it has click"),
        ({"click": torch.ones(2, 3, 4, 4)}, r"sources\['click'\]: .*3 channels; give 1"),
        ({"click": torch.ones(3, 1, 4, 4)}, r"sources\['click'\]: 3 samples beside 2 inputs"),
        ({"click": torch.ones(2)}, r"sources\['click'\]: \(2,\); give"),
        ({"click": "yes"}, r"sources\['click'\]: str; give"),
        ({"click": (torch.ones(2, 1), torch.ones(2))}, r"sources\['click'\]: mark the samples.*\(2,\) bool"),
        (torch.ones(2, 1), "sources: Tensor is given; give a dict"),
        ({"click": torch.ones(2, 5, 1)}, r"sources\['click'\]: 5 tokens beside 16 positions"),
        ({"click": torch.ones(2, 1, 3, 4, 4)}, r"sources\['click'\]: .*grid of 2 axes"),
    ],
)
def test_an_unfit_source_is_one_clear_line(sources, says):
    made, activations = adapter_with("BCHW")
    with pytest.raises(ResonanceError, match=says) as caught:
        made.refine(made.anchors(activations, sources=sources), made.config)
    assert "\n" not in str(caught.value)


def test_a_map_that_lies_on_no_tokens_is_refused():
    made, activations = adapter_with("BNC")
    with pytest.raises(ResonanceError, match=r"does not lie on 16 tokens; give \(B, 17, C\)"):
        made.refine(made.anchors(activations, sources={"click": torch.ones(2, 1, 8, 3)}), made.config)


def test_a_loop_with_points_cannot_be_folded_and_one_with_sources_can():
    taps = [Tap("one", 3, "BCHW"), Tap("two", 3, "BC"), Tap("three", 4, "BCHW")]
    config = ResonanceConfig(T=60, rank=2, activation="identity", depthwise=False, sources={"click": 1})
    made = Adapter(torch.nn.Identity(), [tap.path for tap in taps], config)
    made.build_from(taps)
    with pytest.raises(ResonanceError, match="'folded': two reads means over the grid"):
        made.require_built().fold(config)
    maps = Adapter(torch.nn.Identity(), ["one", "three"], config)
    maps.build_from([taps[0], taps[2]])
    resonator = randomised(maps.require_built().double())
    resonator.fold(config)
    x = [torch.randn(2, c, 2, 2, dtype=torch.float64) for c in (3, 4)]
    sources = {"click": (torch.randn(2, 1, 2, 2, dtype=torch.float64), torch.tensor([True, False]))}
    anchors = maps.anchors(x, sources=sources)
    with torch.no_grad():
        (loop,), _ = maps.refine(anchors, config)
        (solved,), _ = maps.refine(anchors, dataclasses.replace(config, mode="folded"))
    assert torch.allclose(loop, solved, atol=1e-8)
