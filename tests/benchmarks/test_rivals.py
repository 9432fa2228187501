"""Each rival computes what it says it does."""

import copy

import pytest
import torch
from torch import nn

from benchmarks.arms import count_trainable, resonant
from benchmarks.networks import NETWORKS, QUICK
from benchmarks.rivals import FullSpaceLoop, RerunBackbone, concatenation, lora
from dynaxx import ResonantModel
from dynaxx.evaluation.arms.lora import adapter_size, nearest_rank


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    return QUICK.backbone()


@pytest.fixture
def images() -> torch.Tensor:
    return QUICK.images()


def wrapped(backbone: nn.Module, images: torch.Tensor, **options) -> ResonantModel:
    return resonant(backbone, images, layers=NETWORKS[QUICK.network].layers, rank=QUICK.rank, **options).eval()


@torch.no_grad()
@pytest.mark.parametrize("T", [1, 2, 5])
def test_the_full_space_loop_gives_the_output_of_the_model(backbone, images, T):
    model = wrapped(backbone, images, T=T)
    ours, theirs, bare = model(images), FullSpaceLoop(model)(images), backbone(images)
    assert (ours - bare).abs().max() > 1e-2  # there is something to compute
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_re_running_the_backbone_runs_it_once_for_every_iteration_and_once_before(backbone, images):
    passes = []
    handle = backbone.conv1.register_forward_hook(lambda *_: passes.append(1))
    RerunBackbone(wrapped(backbone, images, T=5))(images)  # wrapping runs it, too
    passes.clear()
    rival = RerunBackbone(wrapped(backbone, images, T=3))
    passes.clear()
    rival(images)
    handle.remove()
    assert len(passes) == 4


@torch.no_grad()
def test_one_iteration_of_re_running_is_one_of_the_anchored_loop(backbone, images):
    """Nothing but the last tap hears a message then, and all messages come from plain anchors."""
    model = wrapped(backbone, images, T=1)
    torch.testing.assert_close(RerunBackbone(model)(images), model(images), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_what_is_heard_before_the_last_tap_runs_on_through_the_backbone(backbone, images):
    model = wrapped(backbone, images, T=3)
    assert not torch.allclose(RerunBackbone(model)(images), model(images), atol=1e-3)
    for U in model.require_built().exchange.couplings.U:
        U.zero_()
    torch.testing.assert_close(RerunBackbone(model)(images), backbone(images))


def test_lora_trains_as_many_parameters_as_resonance_as_its_rank_allows(backbone, images):
    pytest.importorskip("peft", reason="the extra `bench` is not installed")
    before = copy.deepcopy(backbone.state_dict())
    target = count_trainable(wrapped(backbone, images))
    model = lora(backbone, target)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    dense = [
        m for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d) or (isinstance(m, nn.Linear) and n != "fc")
    ]
    step = sum(map(adapter_size, dense))  # of the rank
    assert trained % step == 0
    assert trained == step or abs(trained - target) <= step / 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    with torch.no_grad():
        assert not torch.allclose(model.eval()(images), backbone(images))


@pytest.mark.parametrize(("parameters", "rank"), [(17, 3), (18, 4), (1, 1)])
def test_nearest_rank(parameters, rank):
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    assert nearest_rank(net, ["0"], parameters) == rank


@torch.no_grad()
def test_the_concatenation_reads_every_tap(backbone, images):
    paths = wrapped(backbone, images).paths
    probe = concatenation(backbone, paths, images)
    assert probe.linear.in_features == 128 + 256 + 512
    assert probe(images).shape == backbone(images).shape
