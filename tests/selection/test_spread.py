"""Taps at even distances."""

import timm
import torch
from hypothesis import given, strategies as st

from dynaxx import wrap_with_resonance
from dynaxx.selection.spread import blocks, spread
from dynaxx.training.small_resnet import SmallResNet

EXAMPLE = torch.zeros(1, 1, 8, 8)
NET = SmallResNet(widths=[4, 8, 8], blocks=2, in_channels=1, num_classes=3).eval()


def test_the_blocks_inside_the_stages_are_all_there() -> None:
    assert blocks(NET, EXAMPLE) == [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, num_heads=2).eval()
    assert blocks(vit, torch.zeros(1, 3, 32, 32)) == [f"blocks.{n}" for n in range(12)]


def test_three_are_the_ends_of_the_stages_and_all_can_be_coupled() -> None:
    assert spread(NET, EXAMPLE, 3) == ["layer1", "layer2", "layer3"]  # of which one pass keeps anchors for all arms
    assert spread(NET, EXAMPLE, 2) == ["layer2", "layer3"]
    assert spread(NET, EXAMPLE, 6) == blocks(NET, EXAMPLE)
    assert spread(NET, EXAMPLE, 9) == blocks(NET, EXAMPLE)
    wrap_with_resonance(NET, spread(NET, EXAMPLE, 6), rank=2, example_input=EXAMPLE)(EXAMPLE)


@given(taps=st.integers(2, 6))
def test_so_many_in_order_and_the_last_among_them(taps: int) -> None:
    found = spread(NET, EXAMPLE, taps)
    whole = ["layer1", "layer2", "layer3"] if taps <= 3 else blocks(NET, EXAMPLE)
    assert len(set(found)) == taps
    assert found == sorted(found, key=whole.index)
    assert found[-1] == whole[-1]
