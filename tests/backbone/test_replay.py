"""What lies behind the taps runs by the network's own code where no graph can be traced."""

import pytest
import timm
import torch
from support.nets import Plain, images, trained_like
from torch import Tensor, nn

from dynaxx import ResonanceError, wrap_with_resonance
from dynaxx.backbone import stages


class Wilful(Plain):
    """Its branches depend on values, so no graph can be traced; behind the taps it reads a layer's attribute."""

    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().all():
            x = x + 1.0
        x = self.act(self.early(self.entry(x)))
        x = self.late(self.middle(x)).mean((2, 3)) * self.early.stride[0] / 2
        return self.answer(x.reshape(x.shape[0], 12))


def test_cached_activations_train_a_network_that_cannot_be_traced():
    torch.manual_seed(0)
    net, x = Wilful().eval(), images(batch=5)
    model = trained_like(
        wrap_with_resonance(net, ["early", "middle", "late"], rank=3, T=2, num_classes=4, example_input=x)
    )
    tail = model.tail(x[:2])
    assert tail.way == "the backbone's own code, without the modules before the taps"
    ran = []
    net.early.register_forward_hook(lambda *_: ran.append(1))
    cached = model.read(x)
    ran.clear()
    refined, _ = model.refine(cached)
    model.run_tail(refined, tail).square().mean().backward()
    assert not ran  # nothing before the taps was run
    gradients = [p.grad.clone() for p in model.trainable_parameters()]
    model.zero_grad()
    model(x).square().mean().backward()
    assert all(
        torch.allclose(a, p.grad, atol=1e-6) for a, p in zip(gradients, model.trainable_parameters(), strict=True)
    )


def test_a_phones_network_trains_from_the_cache():
    """Its padding depends on shapes; a graph of whole modules does not look into it."""
    torch.manual_seed(0)
    net, x = timm.create_model("tf_efficientnet_lite0", num_classes=5).eval(), torch.randn(2, 3, 64, 64)
    model = trained_like(wrap_with_resonance(net, "auto", rank=4, T=2, example_input=x))
    tail = model.tail(x)
    assert tail.way == "the graph that torch.fx traced"
    with torch.no_grad():
        assert torch.allclose(model.run_tail(model.refine(model.read(x))[0], tail), model(x), atol=1e-5)


def test_what_reads_more_than_the_taps_has_no_tail():
    class Reads(Wilful):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x.amax((1, 2, 3))[:, None]

    net, x = Reads().eval(), images()
    model = wrap_with_resonance(net, ["early", "middle", "late"], rank=3, T=2, example_input=x)
    with pytest.raises(ResonanceError, match="what lies behind 'late' also reads other activations") as caught:
        model.tail(x)
    assert "\n" not in str(caught.value)


def flat() -> nn.Module:
    """Convolutions and pools in one row, as in a VGG."""
    parts: list[nn.Module] = []
    for one, two in ((3, 4), (4, 6), (6, 8), (8, 8)):
        parts += [nn.Conv2d(one, two, 3, padding=1), nn.ReLU(), nn.Conv2d(two, two, 3, padding=1), nn.MaxPool2d(2)]
    return nn.Sequential(nn.Sequential(*parts), nn.Flatten(), nn.Linear(8, 2))


def test_the_stages_of_an_unknown_network_are_the_ends_of_its_resolutions():
    call = ((images(),), {})
    assert stages(flat()) == []
    assert stages(flat(), call) == ["0.2", "0.6", "0.10", "0.14"]
    model = wrap_with_resonance(flat().eval(), "auto", rank=3, example_input=images())
    assert model.paths == ("0.6", "0.10", "0.14")


def test_lists_of_lists_end_in_modules_that_run():
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]) for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            for stage in self.blocks:
                for block in stage:
                    x = block(x)
            return x

    assert stages(Nested()) == ["blocks.0.1", "blocks.1.1", "blocks.2.1"]
