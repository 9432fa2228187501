"""Networks of one pass over the grid: how far they reach, what stops them, and that they are the same from anchors."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from dynaxx import wrap_with_resonance
from dynaxx.evaluation.arms.grid_networks import (
    Convolutions,
    GridNetwork,
    Layer,
    UNet,
    inner_network,
    load_grid_network,
    save_grid_network,
)
from dynaxx.evaluation.arms.one_pass import nearest_width, size_of_network
from dynaxx.training.small_resnet import SmallResNet


def reach(network, size=41):
    """The farthest position, in grid steps, from which the middle of the grid can be changed."""
    y = torch.zeros(1, 1, size, size, requires_grad=True)
    middle = size // 2
    network(y)[0, :, middle, middle].sum().backward()
    rows, columns = torch.nonzero(y.grad[0, 0], as_tuple=True)
    return int(torch.maximum((rows - middle).abs(), (columns - middle).abs()).max())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=4))
def test_a_pass_reaches_as_far_as_its_layers_behind_the_first(dilations):
    # the first layer has nothing to spread yet: it reads the anchors in place
    torch.manual_seed(0)
    assert reach(Convolutions(4, 1, dilations, "gelu")) == sum(dilations[1:])


def test_a_closed_gate_is_a_wall():
    torch.manual_seed(0)
    layer = Layer(3, 2, 1, "tanh")
    with torch.no_grad():
        layer.gate.weight[:, 1] = -1e3  # the second channel marks walls
    y = torch.randn(1, 2, 8, 8).abs()
    y[:, 1] = 0.0
    y[:, 1, :, 4] = 1.0
    h = layer(torch.randn(1, 3, 8, 8), y)
    assert h[..., 4].abs().max() == 0
    assert h[..., 3].abs().max() > 0
    assert h[..., 5].abs().max() > 0


@pytest.mark.parametrize("size", [(16, 16), (13, 18)])
def test_a_u_net_keeps_any_resolution_and_reaches_far(size):
    torch.manual_seed(0)
    assert UNet(4, 3, "gelu")(torch.randn(2, 3, *size)).shape == (2, 4, *size)
    assert reach(UNet(4, 1, "gelu")) >= 8


def model_with_click():
    torch.manual_seed(0)
    return wrap_with_resonance(
        SmallResNet(3, 3, (4, 6, 8), 1).eval(), [1, 2], T=1, rank=1, sources={"click": 1}, readout="map",
        num_classes=2, grid=(8, 8), example_input=torch.zeros(1, 3, 16, 16),
    )  # fmt: skip


@pytest.mark.parametrize("options", [{"dilations": "1,2"}, {"unet": "3 resolutions"}])
def test_images_and_their_anchors_give_the_same_maps_and_what_is_saved_is_loaded(options, tmp_path):
    reader = model_with_click()
    shown = (torch.rand(8, 1, 16, 16) > 0.9).float()
    reader.fit_statistics([(torch.randn(8, 3, 16, 16), torch.zeros(8), {"click": shown})])
    network = GridNetwork(reader, inner_network(reader, 5, options, "tanh"), 2, (16, 16)).eval()
    images, click = torch.randn(3, 3, 16, 16), (torch.rand(3, 1, 16, 16) > 0.9).float()
    maps = network(images, sources={"click": click})
    anchors = reader.with_sources(reader.read(images), {"click": click})
    assert maps.shape == (3, 2, 16, 16)
    assert torch.allclose(network(anchors), maps, atol=1e-6)
    assert not torch.allclose(network(images), maps)  # the click is read
    save_grid_network(tmp_path, network)
    notes = {"width": 5, "activation": "tanh"} | options
    loaded = load_grid_network(tmp_path, model_with_click().remove(), notes).eval()
    assert torch.equal(loaded(images, sources={"click": click}), maps)
    assert not [name for name in network.state_dict() if "backbone" in name]


def test_the_width_is_that_of_the_size_asked_for():
    def build(width):
        return Convolutions(width, 10, (1, 1), "gelu")

    for wanted in (3, 7):
        assert nearest_width(build, size_of_network(build(wanted))) == wanted
    with pytest.warns(UserWarning, match="comes no nearer than"):
        nearest_width(build, 5)
