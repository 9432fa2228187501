"""Backbones whose later parts read several taps: all of them see what was agreed on, and nobody else does."""

import copy
import pickle

import pytest
import timm
import torch
from hypothesis import given, settings, strategies as st
from support.nets import PLAIN_TAPS, UNET_TAPS, Plain, UNet, images, trained_like
from torch import Tensor, nn

from dynaxx import ResonanceError, ResonanceWarning, load_resonance, wrap_with_resonance
from dynaxx.backbone import hooked
from dynaxx.backbone.graph import Split
from dynaxx.grid import Tap
from dynaxx.resonance import Pair
from dynaxx.resonance.couplings import Couplings


class Web(nn.Module):
    """Layers that each read some of the earlier ones; the answer reads some of all."""

    def __init__(self, reads: list[list[int]]) -> None:
        super().__init__()
        self.reads = reads
        self.layers = nn.ModuleList([nn.Conv2d(3, 3, 3, padding=1) for _ in reads[:-1]])

    def forward(self, x: Tensor) -> Tensor:
        held = [x]
        for layer, reads in zip(self.layers, self.reads, strict=False):
            held.append(torch.tanh(layer(sum(held[n] for n in reads))))
        return sum(held[n] for n in self.reads[-1])


@st.composite
def webs(draw):
    layers = draw(st.integers(3, 7))
    reads = [draw(st.lists(st.integers(0, n), min_size=1, max_size=3, unique=True)) for n in range(layers)]
    answer = draw(st.lists(st.integers(1, layers), min_size=1, max_size=3, unique=True))
    taps = draw(st.lists(st.integers(1, layers), min_size=2, max_size=4, unique=True))
    return [*reads, answer], sorted(taps), draw(st.integers(0, 2**31))


@pytest.mark.filterwarnings("ignore:what lies behind")  # of readers of what untapped layers computed of a tap
@settings(max_examples=40)
@given(case=webs(), again=st.booleans())
def test_in_any_network_every_later_reader_and_no_other_sees_what_was_agreed(case, again):
    """By hand: what no tap depends on runs from the agreed activations, the rest as ever. Taps give pre-activations."""
    reads, taps, seed = case
    torch.manual_seed(seed)
    net, x = Web(reads).double().eval(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    options = {"dynamics": "reentrant"} if again else {}
    model = wrap_with_resonance(net, [f"layers.{n - 1}" for n in taps], rank=2, T=2, example_input=x, **options)
    trained_like(model.double())
    above, todo = set(), list(taps)
    while todo:
        layer = todo.pop()
        if layer not in above and layer > 0:
            above.add(layer)
            todo += reads[layer - 1]
    held, bare = [x], [x]
    with torch.no_grad():
        seen = dict(
            zip([taps[n] for n in model.resonator.exchange.outputs], model.refine(model.read(x))[0], strict=True)
        )
        for n, layer in enumerate(net.layers, start=1):
            bare.append(torch.tanh(layer(sum(bare[r] for r in reads[n - 1]))))
        for n, layer in enumerate(net.layers, start=1):
            if n in taps:  # the tanh behind a tap has no parameters, so it runs again
                held.append(torch.tanh(seen[n]) if n in seen else bare[n])
            elif n in above:
                held.append(bare[n])
            else:
                held.append(torch.tanh(layer(sum(held[r] for r in reads[n - 1]))))
        expected = sum(held[n] for n in reads[-1])
        assert torch.allclose(model(x), expected, atol=1e-10)


def parts_of(couplings: Couplings, pair: Pair, dV: Tensor, dU: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of two gradients that belong to one coupling."""
    gradient = copy.deepcopy(couplings).requires_grad_(False)
    gradient.V[pair.source].copy_(dV)
    gradient.U[pair.target].copy_(dU)
    return gradient.of(pair)[:2]


def unet(**options):
    torch.manual_seed(0)
    net = UNet().eval()
    return net, wrap_with_resonance(net, UNET_TAPS, rank=3, example_input=images(), **options)


def test_a_decoder_sees_what_was_agreed_at_every_skip():
    """By hand: the encoder runs as ever, the decoder from the agreed activations."""
    net, model = unet(T=3)
    x = images()
    bare = net(x)
    assert model.resonator.exchange.outputs == [0, 1, 2]
    assert torch.equal(model(x), bare)
    trained_like(model)
    with torch.no_grad():
        one, two, neck = model.refine(model.read(x))[0]
        up = net.dec2(torch.cat([net.up2(neck), two], 1))
        expected = net.dec1(torch.cat([net.up1(up), one], 1)) + net.shift
        assert torch.allclose(model(x), expected, atol=1e-6)
        assert torch.equal(net(x), bare)
        with model.disabled():
            assert torch.equal(model(x), bare)


@pytest.mark.parametrize(
    "options", [{"T": 1}, {"T": 3}, {"dynamics": "reentrant", "T": 2}, {"mode": "implicit", "T": 2}]
)
def test_every_coupling_of_a_unet_reaches_the_output(options):
    _, model = unet(**options)
    trained_like(model).train()
    model.fit_statistics([images()])
    model(images()).square().mean().backward()
    loop_only = {"phi"} if options.get("mode") == "implicit" else set()
    if options["T"] == 1:
        assert len(model.resonator.exchange.couplings.pairs) == 6  # all speak to a tap that the decoder reads
    still = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any()) and not loop_only & set(n.split("."))
    ]
    assert not still
    couplings = model.resonator.exchange.couplings
    for pair in couplings.pairs:
        gradients = couplings.V[pair.source].grad, couplings.U[pair.target].grad
        assert all(part.any() for part in parts_of(couplings, pair, *gradients)), pair


def test_every_coupling_of_a_pyramid_reaches_its_own_levels():
    torch.manual_seed(0)
    net = timm.create_model("resnet18", features_only=True).eval()
    x = torch.randn(2, 3, 64, 64)
    bare = [level.detach() for level in net(x)]
    model = trained_like(wrap_with_resonance(net, ["layer1", "layer2", "layer3"], T=1, rank=3, example_input=x))
    assert model.resonator.exchange.outputs == [0, 1, 2]
    levels = model(x)
    changed = [not torch.equal(a, b) for a, b in zip(levels, bare, strict=True)]
    assert changed == [False, True, True, True, True]  # the stem's level is none of the taps'
    couplings = model.resonator.exchange.couplings
    for pair in couplings.pairs:
        level = levels[pair.target + 1].square().mean()
        gradients = torch.autograd.grad(level, [couplings.V[pair.source], couplings.U[pair.target]], retain_graph=True)
        assert all(part.any() for part in parts_of(couplings, pair, *gradients)), pair


def test_an_identity_around_the_last_tap_reads_the_agreed_activation():
    """The block's shortcut is a later consumer of the earlier tap, on the way to no other."""
    torch.manual_seed(0)
    net, x = timm.create_model("resnet18").eval(), torch.randn(2, 3, 64, 64)
    model = wrap_with_resonance(net, ["layer3", "layer4.0", "layer4.1.conv1"], rank=3, T=2, example_input=x)
    assert model.resonator.exchange.outputs == [1, 2]
    trained_like(model)
    with torch.no_grad():
        block, conv = model.refine(model.read(x))[0]
        part = net.layer4[1]
        inner = part.bn2(part.conv2(part.act1(part.bn1(conv))))
        expected = net.fc(net.global_pool(part.act2(inner + block)))
        assert torch.allclose(model(x), expected, atol=1e-4)


def test_what_an_in_place_operation_overwrites_is_read_before():
    class Skips(Plain):
        def forward(self, x: Tensor) -> Tensor:
            early = self.act(self.early(self.entry(x)))
            middle = self.middle(early)
            return self.answer(self.late(middle).mean((2, 3))) + middle.mean((1, 2, 3))[:, None]

    torch.manual_seed(0)
    net, x = Skips().eval(), images()
    bare = net(x)
    for options in ({}, {"dynamics": "reentrant"}):
        model = wrap_with_resonance(net, PLAIN_TAPS, rank=3, T=2, example_input=x, **options)
        assert model.resonator.exchange.outputs == [1, 2]
        assert torch.equal(model(x), bare)
        assert (model.read(x).states or [net.early(net.entry(x))])[0].min() < 0
        model.remove()


def test_copies_casts_and_files_keep_the_split(tmp_path):
    net, model = unet(T=2)
    trained_like(model)
    x = images()
    expected = model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), expected)
        nn.init.zeros_(twin.backbone.dec1.weight)  # its own backbone, not the first one's
        assert not torch.equal(twin(x), expected)
        assert torch.equal(model(x), expected)
    model.save_pretrained(tmp_path)
    assert torch.equal(load_resonance(model.remove(), tmp_path)(x), expected)
    double = load_resonance(net, tmp_path).double()  # which makes another buffer of `shift`
    net.shift.add_(1.0)
    assert torch.allclose(double(x.double()), expected.double() + 1.0, atol=1e-5)


def test_cached_training_goes_on_from_all_seen_taps():
    _, model = unet(T=2)
    trained_like(model)
    x = images()
    tail = model.tail(x)
    assert torch.allclose(model.run_tail(model.refine(model.read(x))[0], tail), model(x), atol=1e-6)


def test_a_backbone_that_cannot_be_traced_is_run_twice_and_serves_its_readers():
    class Wilful(UNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > -1e9 else -x)

    torch.manual_seed(0)
    net, x = Wilful().eval(), images()
    model = trained_like(wrap_with_resonance(net, UNET_TAPS, rank=2, T=2, example_input=x))
    assert model.resonator.exchange.outputs == [0, 1, 2]
    twin = UNet().eval()
    twin.load_state_dict(net.state_dict())
    traced = wrap_with_resonance(twin, UNET_TAPS, rank=2, T=2, example_input=x)
    traced.resonator.load_state_dict(model.resonator.state_dict())
    with torch.no_grad():
        assert torch.allclose(model(x), traced(x), atol=1e-6)
        assert torch.allclose(model.run_tail(model.refine(model.read(x))[0], model.tail(x)), model(x), atol=1e-6)


def test_a_reader_that_no_way_serves_is_named():
    class Wilful(UNet):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 3, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x if x.sum() > -1e9 else -x)
            return super().forward(x) * self.stem[0].weight.mean()  # a stand-in for the stem has no first entry

    with pytest.warns(ResonanceWarning, match="'neck' also reads enc1, enc2"):
        model = wrap_with_resonance(Wilful().eval(), UNET_TAPS, rank=3, example_input=images())
    assert model.resonator.exchange.outputs == [2]

    class Sequel(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > -1e9 else -x)

    wrap_with_resonance(Sequel(), PLAIN_TAPS, rank=2, example_input=images())  # hooks suffice: no warning


class Weighted(UNet):
    """Takes a map of weights, which may be missing."""

    def forward(self, x: Tensor, weights: Tensor | None = None, double: bool = False) -> Tensor:
        if weights is not None:
            x = x * weights
        y = super().forward(x)
        return y * 2 if double else y


class Kinds(UNet):
    """A traced graph takes the other branch, without a word."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / 2 if isinstance(x, Tensor) else x)


class Named(UNet):
    """Takes its images by name, in a dict, and returns a list."""

    def forward(self, batch: dict[str, Tensor]) -> list[Tensor]:
        return [super().forward(batch["images"] if isinstance(batch, dict) else batch)]


class Gated(UNet):
    """Cannot be traced; behind the taps a gate is compared, which the example leaves closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.gate.weight, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x if x.sum() > -1e9 else -x)
        y = super().forward(x)
        y = torch.where(gate.mean((1, 2, 3), keepdim=True) > 10.0, y * 3, y)
        return y[..., : int(gate.shape[-1]) - 2]


def forms(net: nn.Module) -> list[tuple[tuple, dict]]:
    x, other = images(), images(24, 2)
    weights = torch.rand(3, 3, 16, 16)
    if isinstance(net, Weighted):
        return [((x,), {}), ((x, weights), {}), ((), {"weights": weights, "x": x}), ((x,), {"double": True})]
    if isinstance(net, Named):
        return [(({"images": x},), {}), (({"images": other},), {})]
    return [((x,), {}), ((other,), {}), ((x + 20.0,), {})]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", [Weighted, Kinds, Named, Gated])
def test_calls_of_every_form_and_size_are_answered_by_the_branch_of_their_own(kind, first):
    torch.manual_seed(0)
    net = kind().eval()
    calls = forms(net)
    args, kwargs = calls[first]
    model = wrap_with_resonance(net, UNET_TAPS, rank=3, T=2, example_input=kwargs or args)
    assert model.resonator.exchange.outputs == [0, 1, 2]
    for either in (model, copy.deepcopy(model)):
        for args, kwargs in [*calls, *calls]:
            assert all(map(torch.equal, either(*args, **kwargs), either.backbone(*args, **kwargs)))
    trained_like(model)
    for args, kwargs in calls:
        refined = dict(zip(UNET_TAPS, model.refine(model.read(*args, **kwargs))[0], strict=True))
        with hooked(model.backbone, {p: lambda module, args, output, x=x: x.clone() for p, x in refined.items()}):
            right = model.backbone(*args, **kwargs)
        own = model.backbone(*args, **kwargs)
        for one, other, plain in zip(model(*args, **kwargs), right, own, strict=True):
            assert torch.allclose(one, other, atol=1e-5)
            assert not torch.allclose(one, plain, atol=1e-5)


def test_what_runs_in_two_passes_compiles_with_breaks_and_is_not_exported():
    torch.manual_seed(0)
    net, x = Kinds().eval(), images()
    model = trained_like(wrap_with_resonance(net, UNET_TAPS, rank=3, T=2, example_input=x))
    with torch.no_grad():
        assert torch.allclose(torch.compile(model, backend="eager")(x), model(x), atol=1e-6)
    torch._dynamo.reset()
    for either in (model, copy.deepcopy(model)):
        with pytest.raises(ResonanceError, match="export: this backbone runs in two passes") as caught:
            torch.export.export(either, (x,), strict=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_changed_attribute_or_parameter_of_a_split_backbone_is_followed(compiled):
    class Scaled(UNet):
        def __init__(self) -> None:
            super().__init__()
            self.factor, self.bias = 1.0, nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.factor + self.bias

    torch.manual_seed(0)
    net, x = Scaled().eval(), images()
    model = trained_like(wrap_with_resonance(net, UNET_TAPS, rank=3, T=2, example_input=x))
    run = torch.compile(model, backend="eager") if compiled else model
    with torch.no_grad():
        before = run(x)
        net.factor = 2.0
        assert torch.allclose(run(x), 2 * before, atol=1e-5)
        net.bias = nn.Parameter(torch.ones(()))
        assert torch.allclose(run(x), 2 * before + 1, atol=1e-5)
    torch._dynamo.reset()


def test_a_branch_on_the_shape_is_taken_as_in_the_example_and_held_to_it():
    class Padding(UNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.shape[-1] % 4 == 0 else nn.functional.pad(x, (0, 2, 0, 2)))

    net, x = Padding().eval(), images()
    model = trained_like(wrap_with_resonance(net, UNET_TAPS, rank=2, T=2, example_input=x))
    assert model.resonator.exchange.outputs == [0, 1, 2]
    model(x)
    with pytest.raises(ResonanceError, match="takes another branch than at the example's"):
        model(images(18))


def test_the_stem_and_what_lies_behind_are_no_part_of_the_segments():
    net = Plain().eval()
    split = Split(net, [Tap("early", 8, "BCHW", True), Tap("middle", 10, "BCHW"), Tap("late", 12, "BCHW")])
    assert split.outputs() == [2]
    first, second, third = split.segments()
    assert first is None
    assert {node.target for node in second.graph.nodes if node.op == "call_module"} >= {"act", "middle"}
    assert {node.target for node in third.graph.nodes if node.op == "call_module"} == {"late"}
    with pytest.raises(ResonanceError, match="'middle' is called 0 times"):
        Split(net, [Tap("middle.0", 10, "BCHW"), Tap("middle", 10, "BCHW")])
