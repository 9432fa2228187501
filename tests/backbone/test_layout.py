"""The axes of a tapped activation are found, whatever the network's own order is, and samples never mix."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, strategies as st
from support.nets import trained_like
from torch import Tensor, nn

from dynaxx import ResonanceError, load_resonance, wrap_with_resonance
from dynaxx.backbone.layout import LAYOUTS, ChannelAxes, canonical, changed_axis, original


class ChannelsLast(nn.Module):
    """Residual blocks of a norm and a linear layer over the last axis of a map."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.linear(self.norm(x))

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, 2)
        self.blocks = nn.Sequential(*[self.Block(width) for _ in range(3)])
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))


class SequenceFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(16, 2, 32) for _ in range(3)])
        self.head = nn.Linear(16, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(0, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(0))


class FedSequenceFirst(nn.Module):
    """The input itself is (N, B, F), and so is the causal LSTM's output."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.LSTM(5, 8), nn.LSTM(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x)[0])[0][-1])


def convolutions(dims: int) -> nn.Module:
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    return nn.Sequential(
        conv(2, 6, 3, padding=1), nn.ReLU(), conv(6, 8, 3, 2, 1), nn.ReLU(), conv(8, 8, 3, 2, 1), nn.Flatten(2)
    )


class Named(NamedTuple):
    activation: Tensor
    size: tuple[int, int]


class Tuples(nn.Module):
    """A layer that returns a named tuple; the rest takes it apart."""

    class Layer(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Named:
            x = self.inner(x)
            return Named(x, (x.shape[2], x.shape[3]))

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = self.Layer(nn.Conv2d(3, 6, 3)), self.Layer(nn.Conv2d(6, 8, 3))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x).activation).activation.mean((2, 3)))


NETS = {
    "channels last": (lambda: ChannelsLast(), ["blocks.0", "blocks.1", "blocks.2"], (3, 8, 8), "BHWC", [12] * 3),
    "as wide as high": (lambda: ChannelsLast(4), ["blocks.0", "blocks.1", "blocks.2"], (3, 8, 8), "BHWC", [4] * 3),
    "1-D": (lambda: convolutions(1), ["0", "2", "4"], (2, 16), "BCN", [6, 8, 8]),
    "1-D as long as wide": (lambda: convolutions(1), ["0", "2"], (2, 8), "BCN", [6, 8]),
    "3-D": (lambda: convolutions(3), ["0", "2", "4"], (2, 8, 8, 8), "BCDHW", [6, 8, 8]),
    "features": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 7)), ["0", "1"], (5,), "BC", [6, 6]),
    "tuples": (lambda: Tuples(), ["one", "two"], (3, 8, 8), "BCHW", [6, 8]),
}


@pytest.mark.parametrize("name", NETS)
def test_channels_are_found_and_a_batch_answers_like_its_samples(name, tmp_path):
    make, layers, shape, layout, channels = NETS[name]
    torch.manual_seed(0)
    net, x = make().eval(), torch.randn(3, *shape)
    model = wrap_with_resonance(net, layers, rank=3, T=3, example_input=x[:1])
    assert [(tap.layout, tap.channels) for tap in model.adapter.taps] == [(layout, width) for width in channels]
    assert torch.equal(model(x), net(x))
    trained_like(model).fit_statistics([x])
    together = model(x)
    assert not torch.allclose(together, net(x))
    assert torch.allclose(together, torch.cat([model(one[None]) for one in x]), atol=1e-5)
    refined = model.refine(model.read(x))[0]
    assert torch.allclose(model.run_tail(refined, model.tail(x)), together, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert torch.equal(load_resonance(model.remove(), tmp_path)(x), together)


def test_a_second_axis_of_samples_is_found():
    torch.manual_seed(0)
    net, ids = SequenceFirst().eval(), torch.randint(0, 30, (4, 6))
    model = trained_like(wrap_with_resonance(net, [1, 2, 3], rank=3, T=3, example_input=ids))
    assert {tap.layout for tap in model.adapter.taps} == {"NBC"}
    assert torch.allclose(model(ids), torch.cat([model(one[None]) for one in ids]), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_input_with_the_samples_second_is_understood(batch):
    torch.manual_seed(0)
    net, x = FedSequenceFirst().eval(), torch.randn(7, 3, 5)
    model = trained_like(wrap_with_resonance(net, ["one", "two"], rank=3, T=3, example_input=x[:, :batch]))
    assert [tap.layout for tap in model.adapter.taps] == ["NBC", "NBC"]
    assert model.resonator.causal
    assert torch.allclose(model(x), torch.cat([model(x[:, n : n + 1]) for n in range(3)]), atol=1e-5)


class Mixes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x))
        return x - x.mean(0)


def test_samples_that_affect_each_other_are_refused():
    net = Mixes().eval()
    with pytest.raises(ResonanceError, match="changes the answers of others") as caught:
        wrap_with_resonance(net, ["one", "two"], rank=2, example_input=torch.randn(2, 3, 8, 8))
    assert "\n" not in str(caught.value)
    assert next(net.parameters()).requires_grad


class Mixer(nn.Module):
    """Ends with a linear layer over the positions, whose result stands first in the sum."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(positions, positions)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.norm(x).transpose(1, 2)).transpose(1, 2) + x


@pytest.mark.parametrize("width", [6, 16])
def test_where_the_parts_of_a_sum_disagree_the_next_reader_shows_the_channels(width):
    net = nn.Sequential(
        nn.Conv2d(3, width, 2, 2), nn.Flatten(2), Swap(), Mixer(16, width), Mixer(16, width), nn.LayerNorm(width)
    )
    model = wrap_with_resonance(net.eval(), ["3", "4"], rank=2, causal=False, example_input=torch.randn(2, 3, 8, 8))
    assert [(tap.layout, tap.channels) for tap in model.adapter.taps] == [("BNC", width)] * 2


class Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Contracts(nn.Module):
    """`tensordot` puts the new channels last, where as many rows and columns are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensordot(x, self.weight, dims=([1], [0]))


def test_a_contraction_says_nothing_of_the_channels():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), Contracts(), nn.LayerNorm(4), Contracts(), nn.LayerNorm(4)).eval()
    model = wrap_with_resonance(net, ["1", "2"], rank=2, example_input=torch.randn(2, 3, 4, 4))
    assert [tap.layout for tap in model.adapter.taps] == ["BHWC"] * 2


class Lengths(FedSequenceFirst):
    """Its first argument, one number per sample, plays no part before the taps are read."""

    def forward(self, lengths: Tensor, x: Tensor) -> Tensor:
        return super().forward(x) * lengths[:, None]


def test_an_argument_that_moves_no_tap_does_not_show_the_samples():
    torch.manual_seed(0)
    lengths, x = torch.tensor([3.0, 5.0, 7.0]), torch.randn(7, 3, 5)
    model = trained_like(wrap_with_resonance(Lengths().eval(), ["one", "two"], rank=3, example_input=(lengths, x)))
    assert [tap.layout for tap in model.adapter.taps] == ["NBC", "NBC"]
    alone = torch.cat([model(lengths[n : n + 1], x[:, n : n + 1]) for n in range(3)])
    assert torch.allclose(model(lengths, x), alone, atol=1e-5)


class Places(nn.Module):
    """Its table of places is the same for all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.words = nn.Embedding(9, 8), nn.Embedding(30, 8)
        self.block, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.table(torch.arange(ids.shape[1])[None])
        return self.head(self.block(self.words(ids) + places).mean(1))


def test_a_layer_without_an_entry_for_each_sample_is_refused():
    with pytest.raises(ResonanceError, match=r"'table' returns \(1, 6, 8\) for 2 samples; name a layer") as caught:
        wrap_with_resonance(Places(), ["table", "block"], rank=2, example_input=torch.randint(0, 30, (2, 6)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["stem", "answer"])
def test_a_network_that_is_random_is_named_so(where):
    def noisy(module: nn.Module, args: object, output: Tensor) -> Tensor:
        return nn.functional.dropout(output, 0.5)

    net = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(4)]).eval()
    net[0 if where == "stem" else 3].register_forward_hook(noisy)
    with pytest.raises(ResonanceError, match="other answers for the same input"):
        wrap_with_resonance(net, ["1", "2"], rank=2, example_input=torch.randn(2, 3, 8, 8))


class Opaque(nn.Module):
    """Nothing that torch shows says which axis holds channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw->bhwc", x) * 1.0


def test_where_nothing_shows_the_channels_the_user_says_it():
    net, x = nn.Sequential(Opaque(), Opaque()), torch.randn(2, 3, 4, 5)
    with pytest.raises(ResonanceError, match="give layout= one of BCHW, BHWC"):
        wrap_with_resonance(net, ["0", "1"], rank=2, example_input=x)
    model = wrap_with_resonance(net, ["0", "1"], rank=2, example_input=x, layout="BHWC")
    assert [tap.channels for tap in model.adapter.taps] == [3, 4]
    with pytest.raises(ResonanceError, match="layout='BNC': .*give one of BCHW, BHWC"):
        wrap_with_resonance(net, ["0", "1"], rank=2, example_input=x, layout="BNC")


@given(ndim=st.sampled_from([2, 3, 4, 5]), data=st.data())
def test_canonical_and_original_are_inverse(ndim, data):
    layout = data.draw(st.sampled_from(LAYOUTS[ndim]))
    x = torch.randn(*data.draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim)))
    there = canonical(x, layout)
    assert there.shape[0] == x.shape[layout.index("B")]
    assert there.shape[2 if layout in ("BC", "BNC", "NBC") else 1] == x.shape[layout.index("C")]
    assert torch.equal(original(there, layout), x)


@given(order=st.permutations(range(4)))
def test_the_channel_axis_follows_any_permutation(order):
    x, weight = torch.randn(2, 3, 4, 5), torch.randn(6, 5)
    with ChannelAxes() as axes:
        y = torch.nn.functional.linear(x, weight)
        moved = y.permute(*order)
        joined = torch.cat([moved, moved.relu()], dim=order.index(3))
    assert axes.of(y) == 3
    assert axes.of(moved) == axes.of(joined) == order.index(3)


@given(axis=st.integers(0, 2), seed=st.integers(0, 99))
def test_the_axis_of_the_changed_sample_is_found(axis, seed):
    torch.manual_seed(seed)
    one, other = torch.randn(3, 3, 3), torch.randn(3, 3, 3)
    assert changed_axis(one, one.index_copy(axis, torch.tensor([0]), other.narrow(axis, 0, 1))) == axis
    assert changed_axis(one, other) is None
