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
    assert tail.way == "the network's own code from the taps on"
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


class Reads(Wilful):
    """Behind the taps it also reads its input and what an early layer without a tap gives."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.amax((1, 2, 3))[:, None] + self.entry(x).mean((1, 2, 3))[:, None]


def test_what_is_read_besides_the_taps_is_kept_with_them():
    torch.manual_seed(0)
    net, x = Reads().eval(), images(batch=4)
    model = trained_like(wrap_with_resonance(net, ["early", "middle", "late"], rank=3, T=2, example_input=x))
    tail = model.tail(x[:3])
    assert tail.way.endswith("from the taps on, beside the input")  # `entry` runs behind the taps, and is run there
    with torch.no_grad():
        outside = tail.outside(x)
        assert [part.shape for part in outside] == [x.shape]
        assert torch.allclose(model.run_tail(model.refine(model.read(x))[0], tail, outside), model(x), atol=1e-5)


def test_a_layer_before_the_taps_that_is_read_behind_them_is_kept():
    class Skips(Wilful):
        def forward(self, x: Tensor) -> Tensor:
            entry = self.entry(x if x.isnan().any() else x.clone())
            return self.answer(self.late(self.middle(self.early(entry))).mean((2, 3))) + entry.mean((1, 2, 3))[:, None]

    torch.manual_seed(0)
    net, x = Skips().eval(), images(batch=4)
    model = trained_like(wrap_with_resonance(net, ["early", "middle", "late"], rank=3, T=2, example_input=x))
    tail = model.tail(x[:3])
    assert tail.way.endswith("beside entry")
    with torch.no_grad():
        found = model.run_tail(model.refine(model.read(x))[0], tail, tail.outside(x))
        assert torch.allclose(found, model(x), atol=1e-5)


def test_a_layer_that_is_only_compared_counts_as_read():
    class Gates(Wilful):
        def forward(self, x: Tensor) -> Tensor:
            entry = self.entry(x if x.isnan().any() else x.clone())
            answer = self.answer(self.late(self.middle(self.early(entry))).mean((2, 3)))
            return torch.where(entry.mean((1, 2, 3))[:, None] > 5.0, 2 * answer, answer)

    torch.manual_seed(0)
    net, x = Gates().eval(), images(batch=4)
    nn.init.constant_(net.entry.weight, 1.0)
    model = trained_like(wrap_with_resonance(net, ["early", "middle", "late"], rank=3, T=2, example_input=x))
    tail, bright = model.tail(x), x + 3.0  # the gate is closed in the example, open here
    assert tail.way.endswith("beside entry")
    with torch.no_grad():
        found = model.run_tail(model.refine(model.read(bright))[0], tail, tail.outside(bright))
        assert torch.allclose(found, model(bright), atol=1e-5)


class SamplesSecond(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).transpose(0, 1)


def test_what_is_read_without_a_sample_axis_has_no_tail():
    class Swaps(Wilful):
        def __init__(self) -> None:
            super().__init__()
            self.swap = SamplesSecond(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            swapped = self.swap(x)
            return super().forward(x) + swapped.mean((0, 2, 3))[:, None]

    net, x = Swaps().eval(), images()
    model = wrap_with_resonance(net, ["early", "middle", "late"], rank=3, T=2, example_input=x)
    with pytest.raises(ResonanceError, match="what lies behind 'late' also reads 'swap', whose first axis") as caught:
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
