"""A backbone stays its owner's: its modules may be replaced, its hooks fire, and it may be differentiated by sample."""

import warnings

import pytest
import timm
import torch
from support.nets import UNET_TAPS, Plain, UNet, images, trained_like, wrapped
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

from dynaxx import ResonanceError, ResonanceWarning, wrap_with_resonance


def unet_model(net: nn.Module, **options: object):
    torch.manual_seed(3)
    return trained_like(wrap_with_resonance(net, UNET_TAPS, rank=3, T=2, example_input=images(), **options))


@pytest.mark.parametrize("options", [{}, {"dynamics": "reentrant"}], ids=["split", "reentrant"])
@pytest.mark.parametrize(("path", "width"), [("dec1", (8, 2)), ("dec2.0", (12, 6))])
def test_a_replaced_module_of_a_split_backbone_is_followed(path, width, options):
    torch.manual_seed(0)
    net, x = UNet().eval(), images()
    model = unet_model(net, **options)
    before = model(x)
    new = nn.Conv2d(*width, 1 if path == "dec1" else 3, padding=0 if path == "dec1" else 1)
    net.set_submodule(path, new)
    fresh = wrap_with_resonance(net, UNET_TAPS, rank=3, T=2, example_input=x, **options)
    fresh.resonator.load_state_dict(model.resonator.state_dict())
    assert not torch.allclose(model(x), before)
    assert torch.allclose(model(x), fresh(x), atol=1e-6)
    exported = torch.export.export(model, (x,), strict=False).module()
    assert torch.allclose(exported(x), fresh(x), atol=1e-5)


def test_a_fused_layer_whose_activation_is_now_overwritten_is_refused():
    """conv → norm → in-place ReLU: the tap on the convolution was safe until the norm was fused into it."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.Flatten(2)
    ).eval()
    model = trained_like(wrap_with_resonance(net, ["0", "3"], rank=2, T=2, example_input=images()))
    model(images())
    net[0] = nn.utils.fuse_conv_bn_eval(net[0], net[1])
    net[1] = nn.Identity()
    with pytest.raises(ResonanceError, match="overwrites what '0' returns.*wrap it again"):
        model(images())
    again = wrap_with_resonance(model.remove(), ["0", "3"], rank=2, T=2, example_input=images())
    assert again.adapter.taps[0].overwritten
    again(images())


def test_users_hooks_fire_and_those_that_cannot_are_named():
    net, x = UNet().eval(), images()
    model, called = unet_model(net), []
    for path in ("dec2", "dec2.0", "enc2.1", "up1"):
        net.get_submodule(path).register_forward_hook(lambda *_, path=path: called.append(path))
    model(x)
    assert sorted(called) == ["dec2", "dec2.0", "enc2.1", "up1"]
    net.register_forward_hook(lambda *_: None)
    with pytest.warns(ResonanceWarning, match="hooks on '' of the backbone are not called"):
        model(x)


@pytest.mark.parametrize(("name", "layers"), [("resnet10t", [2, 3, 4]), ("vit_tiny_patch16_224", [1, 2])])
def test_activation_checkpointing_is_refused_by_name(name, layers):
    options = (
        {"img_size": 32, "depth": 2, "embed_dim": 12, "num_heads": 2, "global_pool": "avg"} if "vit" in name else {}
    )
    net = timm.create_model(name, **options)
    net.set_grad_checkpointing(True)
    with pytest.raises(ResonanceError, match=r"activation checkpointing is on.*set_grad_checkpointing\(False\)"):
        wrap_with_resonance(net, layers, rank=2, example_input=images(32))
    net.set_grad_checkpointing(False)
    wrap_with_resonance(net, layers, rank=2, example_input=images(32))


def test_the_gradient_of_each_sample():
    torch.manual_seed(0)
    model, x, y = trained_like(wrapped(Plain())), images(), torch.tensor([0, 1, 4])
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(given: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(model, given, (image[None],)), label[None])

    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    for n in range(len(x)):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[n : n + 1]), y[n : n + 1]).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert torch.allclose(found[name][n], parameter.grad, rtol=1e-3, atol=1e-5), name


class Asserts(Plain):
    """Reads the shapes of an early tap behind the last one; no value of it."""

    def forward(self, x: Tensor) -> Tensor:
        early = self.act(self.early(self.entry(x)))
        late = self.late(self.middle(early))
        torch._assert(early.dim() == 4, "a map")
        return self.answer(late.mean((2, 3))).reshape(early.shape[0], -1)


def test_looking_up_a_shape_is_no_reading():
    model = wrap_with_resonance(Asserts().eval(), ["early", "middle", "late"], T=1, rank=3, example_input=images())
    assert model.resonator.exchange.outputs == [2]
    assert len(model.resonator.exchange.couplings.pairs) == 2


class FunctionalSkips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.join, self.pool = nn.Conv2d(10, 2, 1), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        skip = torch.relu(self.one(x))
        deep = torch.relu(self.two(self.pool(skip)))
        return self.join(torch.cat([nn.functional.interpolate(deep, scale_factor=2.0), skip], 1))


def test_a_skip_behind_a_functional_relu_reads_what_was_agreed():
    torch.manual_seed(0)
    net, x = FunctionalSkips().eval(), images()
    model = trained_like(wrap_with_resonance(net, ["one", "two"], rank=3, T=2, example_input=x))
    assert model.resonator.exchange.outputs == [0, 1]
    with torch.no_grad():
        one, two = model.refine(model.read(x))[0]
        deep = nn.functional.interpolate(torch.relu(two), scale_factor=2.0)
        assert torch.allclose(model(x), net.join(torch.cat([deep, torch.relu(one)], 1)), atol=1e-6)


class Cut(Plain):
    """Its layers before the classifier, or the classifier too, run in a way that breaks the gradient."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def trunk(self, x: Tensor) -> Tensor:
        return self.late(self.middle(self.act(self.early(self.entry(x))))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        match self.way:
            case "no_grad":
                with torch.no_grad():
                    return self.answer(self.trunk(x))
            case "inference":
                with torch.inference_mode():
                    features = self.trunk(x)
                return self.answer(features.clone())
            case "detach":
                return self.answer(self.trunk(x).detach())
            case "taps":
                return self.answer(checkpoint(self.trunk, x.requires_grad_(), use_reentrant=False))
            case "taps, reentrant":
                return self.answer(checkpoint(self.trunk, x.requires_grad_(), use_reentrant=True))
            case "head":
                return checkpoint(self.answer, self.trunk(x), use_reentrant=False)
        return checkpoint(self.answer, self.trunk(x), use_reentrant=True)


@pytest.mark.parametrize("way", ["no_grad", "inference", "taps", "taps, reentrant", "head", "head, reentrant"])
def test_where_nothing_could_be_learned_training_is_refused_and_inference_is_not(way):
    torch.manual_seed(0)
    model, x = wrapped(Cut(way), num_classes=5), images()
    model.head.load_state_dict(model.backbone.answer.state_dict(), strict=False)
    model.resonator.exchange.statistics.get_buffer("fitted").fill_(True)
    assert torch.allclose(model(x.clone()), model.backbone(x.clone()), atol=1e-6)
    layer = "answer" if way.startswith("head") else "late"
    with pytest.raises(ResonanceError, match=f"runs '{layer}' under torch.no_grad, inference mode or act.*turn it off"):
        model.train()(x.clone())


def test_a_detached_output_is_said_once():
    model, x = wrapped(Cut("detach"), num_classes=5), images()
    model.fit_statistics([x])
    with pytest.warns(ResonanceWarning, match="no gradient of the output reaches the couplings"):
        model.train()(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(x)
        model.eval()(x)
        trains = wrapped(Plain())
        trains.fit_statistics([x])
        trains.train()(x)


def test_a_network_that_names_its_layers_input_and_returns_a_dict_gets_a_new_head():
    class Named(Plain):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = self.late(input=self.middle(input=self.act(self.early(self.entry(x)))))
            return {"logits": self.answer(input=x.mean((2, 3)))}

    model, x = wrapped(Named(), num_classes=3), images()
    model.fit_statistics([x])
    right = model(x)["logits"]
    assert right.shape == (3, 3)
    assert torch.allclose(torch.export.export(model, (x,)).module()(x)["logits"], right, atol=1e-5)


def test_a_classifier_that_does_not_run_is_no_classifier():
    class Functional(Plain):
        def forward(self, x: Tensor) -> Tensor:
            x = self.late(self.middle(self.act(self.early(self.entry(x))))).mean((2, 3))
            return nn.functional.linear(x, self.answer.weight, self.answer.bias)

    with pytest.raises(ResonanceError, match="classifier='answer': it does not run in a pass"):
        wrapped(Functional(), num_classes=3, classifier="answer")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_an_activation_that_is_overwritten_since_a_later_change_is_noticed(mode):
    torch.manual_seed(0)
    net, x = Plain().eval(), images()
    net.act.inplace = False
    model = trained_like(wrapped(net))
    right = model(x)
    net.act.inplace = True
    with mode():
        if mode is torch.inference_mode:  # copies, since nothing would show it
            assert torch.allclose(model(x), right, atol=1e-6)
        else:
            with pytest.raises(ResonanceError, match="now overwrites what 'early' returns.*wrap it again"):
                model(x)


def test_a_layer_that_is_gone_is_named():
    net, x = Plain().eval(), images()
    model = wrapped(net)
    del net.middle
    with pytest.raises(ResonanceError, match="it has no 'middle' any more") as caught:
        model(x)
    assert "\n" not in str(caught.value)


def test_a_layer_that_was_added_runs_in_a_compiled_model_too():
    torch.manual_seed(0)
    net, x = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(4)]).eval(), images()
    model = trained_like(wrap_with_resonance(net, ["1", "2"], rank=2, T=2, example_input=x))
    net.append(nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        assert torch.allclose(torch.compile(model, backend="eager")(x), model(x), atol=1e-6)
    torch._dynamo.reset()
