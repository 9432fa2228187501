"""The readings are one family: every mode with every readout is trained, saved, exported, switched and served alike."""

import copy
import io
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from support.checks import in_threads, refused
from support.naive import pool, resonate
from support.nets import UNET_TAPS, Plain, UNet, images
from support.random_models import Attention, Recurrent
from torch import Tensor, nn

from dynaxx import ResonanceError, ResonantModel, load_resonance, wrap_with_resonance

NETS = {
    "maps": (Plain, ["early", "middle", "late"], (3, 16, 16)),
    "skips": (UNet, UNET_TAPS, (3, 16, 16)),
    "tokens": (Attention, ["blocks.0", "blocks.1", "blocks.2"], (5, 8)),
    "causal tokens": (Recurrent, ["one", "two"], (6, 5)),
}
MODES = ["probe", "layer_probe", "concat_probe", "direct", "explicit", "implicit", "hybrid", "folded"]
READOUTS = ["classifier", "mean", "moments", "map"]
LINEAR = MODES[:3]


def possible(net: str, mode: str, readout: str) -> bool:
    """A U-Net has no classifier whose place a head could take; probes of tapped layers have no such head."""
    if net != "maps" and mode in ("layer_probe", "hybrid", "folded"):
        return False  # what they add does not depend on the network
    return readout != "classifier" or (net != "skips" and mode not in ("layer_probe", "concat_probe"))


CASES = [case for case in product(NETS, MODES, READOUTS) if possible(*case)]
OF_MAPS = [case for case in CASES if case[0] == "maps"]
FEW = [
    ("maps", "probe", "classifier"),
    ("maps", "concat_probe", "moments"),
    ("maps", "direct", "map"),
    ("maps", "explicit", "mean"),
    ("maps", "folded", "map"),
    ("tokens", "implicit", "map"),
]
"""One of each kind, where a check is slow."""


def inputs(net: str, batch: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, *NETS[net][2], dtype=dtype)


def made(net: str, mode: str, readout: str, backbone: nn.Module | None = None, **options: object) -> ResonantModel:
    """A model of this reading with two outputs, all of whose parameters are as after training."""
    make, layers, _ = NETS[net]
    torch.manual_seed(0)
    backbone = make().eval() if backbone is None else backbone
    add_to(backbone, mode, readout, given := {})
    model = wrap_with_resonance(
        backbone, layers[1:2] if mode == "layer_probe" else layers, example_input=inputs(net, 2), **given | options
    )
    return trained(model, mode, inputs(net, 8))


def add_to(backbone: nn.Module, mode: str, readout: str, given: dict[str, object]) -> None:
    """The options of a reading."""
    del backbone
    given |= {"mode": mode, "readout": readout, "num_classes": 2, "rank": 3, "T": 3}
    if mode == "folded":
        given |= {"mode": "explicit", "activation": "identity", "depthwise": False}


def trained(model: ResonantModel, mode: str, batch: Tensor) -> ResonantModel:
    model.fit_statistics([batch])
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    model.eval()
    if mode == "folded":
        model.fold()
    return model


# ---- what is computed ------------------------------------------------------------------------------------------------


def plain_readout(model: ResonantModel, x: Tensor) -> Tensor:
    """The outputs of a head that reads the taps, letter by letter, from hooks on the bare backbone."""
    seen: dict[str, Tensor] = {}
    handles = [
        model.backbone.get_submodule(path).register_forward_hook(
            lambda m, a, y, path=path: seen.__setitem__(path, (y[0] if isinstance(y, tuple) else y).clone())
        )
        for path in model.paths
    ]
    with torch.no_grad():
        model.backbone(x)
    for handle in handles:
        handle.remove()
    taps = [seen[path] for path in model.paths]  # channels first
    taps = taps if taps[0].ndim == 4 else [y.mT for y in taps]
    grid = taps[-1].shape[2:]
    agreed = [pool(y, tuple(grid), tap) for y, tap in zip(taps, model.adapter.taps, strict=True)]
    if model.mode == "explicit":
        agreed, _ = resonate(model.resonator, model.config, agreed, tuple(grid), list(range(len(taps))))
    head, readout = model.head, model.config.readout
    features = [y.flatten(2) for y in agreed]
    if readout != "map":
        features = [y.mean(2, keepdim=True) for y in features]
    if readout == "moments":
        features += [(y.flatten(2).var(2, correction=0, keepdim=True) + 1e-12).sqrt() for y in taps]
    f = torch.cat(features, 1).mT
    out = ((f - head.mean) / head.std) @ head.weight.T + head.bias
    if readout != "map":
        return out[:, 0]
    maps = out.mT.unflatten(2, grid)
    return maps if len(grid) == 1 else F.interpolate(maps, size=x.shape[2:], mode="bilinear")


READING_TAPS = [
    (net, mode, readout)
    for net, mode, readout in CASES
    if readout != "classifier" and mode in (*LINEAR, "explicit") and net != "skips"
]


@pytest.mark.parametrize(("net", "mode", "readout"), READING_TAPS)
def test_a_head_on_the_taps_is_the_formula(net, mode, readout):
    model, x = made(net, mode, readout), inputs(net)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain_readout(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["direct", "implicit", "hybrid", "folded"])
def test_one_pass_moves_what_a_head_on_the_taps_reads(mode):
    model, x = made("maps", mode, "mean"), inputs("maps")
    with torch.no_grad():
        found, unmoved = model(x), plain_readout(model, x)
        for U in model.resonator.exchange.couplings.U:
            U.zero_()
        if mode == "folded":
            model.fold()
        assert not torch.allclose(found, unmoved, atol=1e-2)
        torch.testing.assert_close(model(x), unmoved, rtol=1e-4, atol=1e-5)


def test_a_folded_loop_is_where_the_iteration_ends():
    for readout in ("mean", "map"):
        model, x = made("maps", "folded", readout), inputs("maps")
        with torch.no_grad():
            folded = model(x)
            model.mode = "explicit"
            with model.override(T=200):
                torch.testing.assert_close(folded, model(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("readout", ["mean", "moments", "map"])
def test_the_head_is_standardised_on_what_it_reads(readout):
    model, x = made("maps", "concat_probe", readout), inputs("maps", 8)
    with torch.no_grad():
        before = model(x)
        model.fit_statistics([x[:5], x[5:]])
        torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)  # the same head in other words
        head = model.head
        head.weight.copy_(torch.eye(2, head.in_features))  # two of its features, standardised
        head.bias.zero_()
        model.adapter.config = copy.copy(model.config)
        found = model(x)
        if readout == "map":  # on the grid: the input's size would weigh positions unequally
            refined, _ = model.refine(model.read(x))
            tail = model.tail(x)
            tail.part.size = None
            found = model.run_tail(refined, tail, model.read(x).outside)
        found = found.flatten(2) if found.ndim > 2 else found.unsqueeze(2)
    torch.testing.assert_close(found.mean((0, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.var((0, 2), correction=0), torch.ones(2), atol=1e-3, rtol=0)


def test_outputs_in_units_keep_their_values_and_are_saved(tmp_path):
    model, x = made("maps", "direct", "mean"), inputs("maps")
    with torch.no_grad():
        before = model(x)
        for shift, scale in (([170.0, -3.0], [10.0, 0.1]), ([1.0, 2.0], [3.0, 4.0])):
            model.head.in_units(torch.tensor(shift), torch.tensor(scale))
            torch.testing.assert_close(model(x), before, rtol=1e-3, atol=1e-3)
        model.save_pretrained(tmp_path)
        loaded = load_resonance(copy.deepcopy(model.backbone), tmp_path)
        assert torch.equal(loaded(x), model(x))


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "mode", "readout"), CASES)
def test_no_parameter_is_dead(net, mode, readout):
    model = made(net, mode, readout).train()
    if mode == "folded":
        model.mode = "explicit"
    with model.observed() as outputs:
        y = model(inputs(net))
    weights = torch.randn_like(y)
    ((y * weights).sum() + model.penalty(outputs)).backward()
    named = dict(model.adapter.named_parameters())
    wanting = {name: p for name, p in named.items() if p.requires_grad and p.numel()}
    assert wanting.keys() >= {"head.weight", "head.bias"}
    # the student of `implicit` is taught by the loop, whose parameters its own pass does not use
    unused = {"resonator.exchange.phi.kernel"} if mode == "implicit" else set()
    dead = [name for name, p in wanting.items() if p.grad is None or not bool(p.grad.any())]
    assert [name for name in dead if name not in unused and not _loop_only(name, mode, model)] == []
    assert all(bool(p.grad.isfinite().all()) for p in wanting.values() if p.grad is not None)
    assert all(p.grad is None for p in model.backbone.parameters())


def _loop_only(name: str, mode: str, model: ResonantModel) -> bool:
    """Whether `implicit` leaves the parameter to the loop: what writes into taps that are no outputs."""
    prefix = "resonator.exchange.couplings.U."
    if mode != "implicit" or not name.startswith(prefix):
        return False
    return int(name.removeprefix(prefix)) not in model.resonator.exchange.outputs


@pytest.mark.parametrize(("net", "mode", "readout"), FEW)
def test_a_step_of_training_lowers_the_loss_and_leaves_the_backbone_alone(net, mode, readout):
    model, x = made(net, mode, readout), inputs(net, 6)
    if mode == "folded":
        model.mode = "explicit"
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    with torch.no_grad():
        target = model(x) + 1
    optimizer = torch.optim.Adam(model.train().trainable_parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = F.mse_loss(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.backbone.state_dict().items())


@pytest.mark.parametrize(("mode", "readout"), [("probe", "classifier"), ("direct", "mean"), ("concat_probe", "map")])
def test_a_tuned_backbone_gets_gradients_up_to_the_last_tap(mode, readout):
    model = made("maps", mode, readout)
    model.unfreeze_backbone()
    model.train()(inputs("maps")).square().sum().backward()
    reached = {name.split(".")[0] for name, p in model.backbone.named_parameters() if p.grad is not None}
    assert reached == {"entry", "early", "middle", "late"}


# ---- ways of running -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "mode", "readout"), CASES)
def test_cached_taps_give_the_direct_pass_and_samples_are_apart(net, mode, readout):
    model, x = made(net, mode, readout), inputs(net)
    with torch.no_grad():
        expected = model(x)
        anchors, tail = model.read(x), model.tail(x[:2])
        outside = anchors.outside if tail.beside else tail.outside(x)
        found = model.run_tail(model.refine(anchors)[0], tail, outside)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        for n in range(3):
            torch.testing.assert_close(model(x[n : n + 1]), expected[n : n + 1], rtol=1e-4, atol=1e-5)
        spoilt = x.clone()
        spoilt[1] = float("nan")
        beside = model(spoilt)
        assert model.fallback.tolist() == [False, True, False]
        torch.testing.assert_close(beside[::2], expected[::2], rtol=1e-4, atol=1e-5)
        assert bool(beside[1].isnan().any())


@pytest.mark.parametrize("readout", ["mean", "moments", "map"])
def test_a_sample_that_is_not_finite_leaves_the_gradient_finite(readout):
    model, x = made("maps", "explicit", readout).train(), inputs("maps")
    x[1] = float("inf")
    y = model(x)
    y[::2].square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.trainable_parameters())


@pytest.mark.parametrize(("net", "mode", "readout"), CASES)
def test_a_saved_reading_is_the_same_bit_for_bit(net, mode, readout, tmp_path):
    model, x = made(net, mode, readout), inputs(net)
    model.save_pretrained(tmp_path)
    loaded = load_resonance(copy.deepcopy(model.backbone), tmp_path)
    assert (loaded.mode, loaded.config.readout) == (mode, readout)
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(loaded(x), expected)
        for twin in (copy.copy(model), copy.deepcopy(model)):
            assert torch.equal(twin(x), expected)


@pytest.mark.parametrize(("net", "mode", "readout"), FEW)
def test_compiled_exported_and_in_onnx_runtime(net, mode, readout):
    import onnxruntime

    model, x = made(net, mode, readout), inputs(net)
    torch.compiler.reset()
    with torch.no_grad():
        expected = model(x)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)
        program = torch.export.export(model, (x,))
        torch.testing.assert_close(program.module()(x), expected, rtol=1e-4, atol=1e-5)
        buffer = io.BytesIO()
        torch.onnx.export(program, dynamo=True, verbose=False).save(buffer)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(answer), expected, rtol=1e-3, atol=5e-3)  # deviations near 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("mode", "readout"), [("concat_probe", "moments"), ("direct", "map"), ("explicit", "mean")])
def test_outputs_have_the_backbones_type(mode, readout, dtype):
    model, x = made("maps", mode, readout), inputs("maps")
    with torch.no_grad():
        expected = model(x)
        model.to(dtype)
        found = model(x.to(dtype))
        assert found.dtype == dtype
        assert float((found.float() - expected).abs().max() / expected.abs().max()) < 0.1
        with torch.autocast("cpu", torch.bfloat16):
            beside = model.float()(x)
        assert float((beside.float() - expected).abs().max() / expected.abs().max()) < 0.1


def test_a_pass_ends_at_the_last_tap():
    model, x = made("maps", "direct", "mean"), inputs("maps")
    ran: list[str] = []
    for path, module in model.backbone.named_modules():
        module.register_forward_hook(lambda m, a, y, path=path: ran.append(path or "all of it"))
    with torch.no_grad():
        model(x)
    assert ran == ["entry", "early", "act", "middle.0", "middle.1", "middle.2", "middle", "late.0", "late.1", "late"]


def test_an_exported_program_holds_nothing_behind_the_last_tap():
    class Deep(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.after = nn.Sequential(*(nn.Conv2d(12, 12, 1) for _ in range(5)))

        def forward(self, x: Tensor) -> Tensor:
            x = self.late(self.middle(self.act(self.early(self.entry(x)))))
            return self.answer(self.after(x).mean((2, 3)))

    model, x = made("maps", "concat_probe", "map", Deep().eval()), inputs("maps")
    program = torch.export.export(model, (x,))
    convolutions = [node for node in program.graph.nodes if "conv2d" in str(node.target)]
    assert len(convolutions) == 4  # entry, early, middle, late


def test_a_network_that_passes_on_no_exception_but_ours_ends_all_the_same():
    class Careful(Plain):
        def forward(self, x: Tensor) -> Tensor:
            try:
                return super().forward(x)
            except Exception:
                return torch.zeros(len(x), 5)

    model, x = made("maps", "direct", "mean", Careful().eval()), inputs("maps")
    with torch.no_grad():
        assert not torch.equal(model(x), torch.zeros(3, 2))


def test_removed_and_given_back_as_it_was():
    net, x = Plain().train(), inputs("maps")
    flags = [p.requires_grad for p in net.parameters()]
    hooks = {name: len(m._forward_hooks) for name, m in net.named_modules()}
    model = made("maps", "direct", "map", net)
    model(x)
    assert not net.training
    assert model.remove() is net
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == flags
    assert {name: len(m._forward_hooks) for name, m in net.named_modules()} == hooks
    with pytest.raises(ResonanceError, match="removed"):
        model(x)


def test_a_shell_of_data_parallel_is_taken_off():
    with pytest.warns(UserWarning, match="DataParallel is taken off"):
        model = made("maps", "direct", "mean", nn.DataParallel(Plain().eval()))
    with torch.no_grad():
        assert model(inputs("maps")).shape == (3, 2)


# ---- several of them on one backbone ---------------------------------------------------------------------------------


@pytest.fixture
def family() -> ResonantModel:
    """All readings of one backbone, by the names `mode readout`."""
    net, model = Plain().eval(), None
    for _, mode, readout in OF_MAPS:
        given: dict[str, object] = {}
        add_to(net, mode, readout, given)
        layers = ["middle"] if mode == "layer_probe" else NETS["maps"][1]
        if model is None:
            model = wrap_with_resonance(net, layers, example_input=inputs("maps"), **given)
        else:
            model.add_adapter(f"{mode} {readout}", layers, example_input=inputs("maps"), **given)
            model.set_adapter(f"{mode} {readout}")
        trained(model, mode, inputs("maps", 8))
    return model


def test_switched_by_name_each_gives_its_own_and_the_backbone_stays(family):
    x = inputs("maps")
    shapes = {}
    with torch.no_grad():
        with family.disabled():
            bare = family(x)
        for name in family.adapters:
            family.set_adapter(name)
            shapes[name] = family(x).shape
            own, refined = family.posthoc(x)
            assert torch.equal(own, bare)
            assert torch.equal(refined, family(x))
    assert len(shapes) == len(OF_MAPS)
    assert {tuple(s) for name, s in shapes.items() if name.endswith("map")} == {(3, 2, 16, 16)}
    assert {tuple(s) for name, s in shapes.items() if not name.endswith("map")} == {(3, 2)}


def test_threads_get_their_own(family):
    x = inputs("maps")
    wrong: list[str] = []
    for name in ("direct map", "explicit mean", "concat_probe moments"):
        family.set_adapter(name)
        with torch.no_grad():
            expected = {batch: family(x[:batch]) for batch in (1, 2, 3)}
            with family.disabled():
                bare = family(x)

        def work(batch: int, name: str = name, expected: dict[int, Tensor] = expected, bare: Tensor = bare) -> None:
            with torch.no_grad():
                for _ in range(5):
                    if not torch.equal(family(x[:batch]), expected[batch]):
                        wrong.append(name)
                    with family.disabled():
                        if not torch.equal(family(x), bare):
                            wrong.append(f"{name}, disabled")

        in_threads(work, expected)
    assert wrong == []


# ---- what users do with them -----------------------------------------------------------------------------------------


def test_more_iterations_under_a_map_reach_the_loops_end():
    model, x = made("maps", "explicit", "map"), inputs("maps")
    with torch.no_grad():
        found = {}
        for T in (1, 3, 40, 41):
            with model.override(T=T):
                found[T] = model(x)
        assert torch.equal(found[3], model(x))
        assert not torch.allclose(found[1], found[3], atol=1e-4)
        torch.testing.assert_close(found[40], found[41], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("readout", ["mean", "map"])
def test_couplings_are_switched_off_one_by_one_and_the_loop_is_traced(readout):
    model, x = made("maps", "explicit", readout), inputs("maps")
    with torch.no_grad():
        whole = model(x)
        assert {pair.target for pair in model.resonator.exchange.couplings.pairs} == {0, 1, 2}
        for number in range(6):
            with model.ablated([number]):
                assert not torch.allclose(model(x), whole, atol=1e-6)
        with model.ablated(range(6)):
            torch.testing.assert_close(model(x), _uncoupled(model, x), rtol=1e-4, atol=1e-5)
        with model.tracing():
            model(x)
    assert model.trace.residual.shape == (3, 3, 3)
    assert model.trace.taps == ("early", "middle", "late")


def _uncoupled(model: ResonantModel, x: Tensor) -> Tensor:
    bare = copy.deepcopy(model)
    for U in bare.resonator.exchange.couplings.U:
        U.zero_()
    return bare(x)


def test_calibration_judges_numbers_and_masks():
    model, x = made("maps", "explicit", "mean"), inputs("maps", 4)
    with torch.no_grad():
        label = model(x) + 0.5
    report = model.calibrate([(x, label)], metric="mean_squared_error")
    assert report.metric == "mean_squared_error"
    assert not report.higher_is_better
    assert report.score == pytest.approx(0.25, rel=0.2)
    model = made("maps", "explicit", "map")
    with torch.no_grad():
        mask = model(x).argmax(1)
    report = model.calibrate([(x, mask)])
    assert report.metric == "accuracy"
    assert report.score > 0.9
    assert report.taps == ("early", "middle", "late")


def test_taps_before_and_after_are_shown():
    from dynaxx.model import tap_states

    model, x = made("maps", "explicit", "mean"), inputs("maps")
    states = tap_states(model, x)
    assert [state.tap for state in states] == ["early", "middle", "late"]
    assert all(not torch.equal(state.before, state.after) for state in states)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "layers", "says"),
    [
        ({"mode": "layer_probe"}, 2, ("mode='layer_probe' reads one layer", "concat_probe")),
        ({"mode": "layer_probe", "readout": "classifier"}, 1, ("readout='classifier'", "give 'mean'")),
        ({"mode": "concat_probe", "readout": "classifier"}, 3, ("readout='classifier'", "give 'mean'")),
        ({"mode": "concat_probe", "num_classes": None}, 3, ("num_classes=None", "concat_probe")),
        ({"mode": "probe", "num_classes": None}, 3, ("num_classes=None", "probe")),
        ({"readout": "mean", "num_classes": None}, 3, ("num_classes=None", "readout='mean'")),
        ({"readout": "median"}, 3, ("readout='median'", "mean, moments, map")),
        ({"readout": "mean", "classifier": "answer"}, 3, ("classifier='answer'", "leave it out")),
        ({"readout": "map", "dynamics": "reentrant"}, 3, ("readout='map'", "anchored")),
        ({"mode": "linear"}, 3, ("mode='linear'", "concat_probe")),
        ({"mode": "direct"}, 1, ("layers", "two")),
    ],
)
def test_what_does_not_fit_is_one_line(options, layers, says):
    net = Plain().eval()
    given = {"num_classes": 2, "rank": 3, "T": 2, "example_input": images()} | options
    refused(lambda: wrap_with_resonance(net, NETS["maps"][1][:layers], **given), *says)
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("mode", LINEAR)
def test_what_needs_couplings_is_refused_to_a_linear_reading(mode, tmp_path):
    model, x = made("maps", mode, "mean"), inputs("maps")
    refused(lambda: setattr(model, "mode", "explicit"), "mode='explicit'", "add_adapter")
    refused(model.add_student, mode, "no couplings")
    refused(model.fold, "mode='folded'", "add_adapter")
    refused(model.stability, mode, "no couplings")
    refused(lambda: model.ablated([0]).__enter__(), "no couplings")
    refused(lambda: model.calibrate([(x, torch.zeros(3, dtype=torch.long))]), mode)
    refused(lambda: model.override(mode="explicit").__enter__(), "mode='explicit'", "add_adapter")
    made("maps", "explicit", "mean").save_pretrained(tmp_path)
    refused(lambda: model.start_from(tmp_path), "start_from()", "no couplings")
    coupled = made("maps", "explicit", "mean")
    refused(lambda: setattr(coupled, "mode", mode), f"mode={mode!r}", "add_adapter")
    refused(lambda: coupled.override(mode=mode).__enter__(), f"mode={mode!r}", "add_adapter")


def test_a_direct_reading_has_no_loop_to_calibrate():
    model, x = made("maps", "direct", "mean"), inputs("maps")
    refused(lambda: model.calibrate([(x, torch.zeros(3, dtype=torch.long))]), "mode='direct'", "no loop")


def test_couplings_start_from_those_of_another_readout(tmp_path):
    other = made("maps", "explicit", "mean")
    other.save_pretrained(tmp_path)
    model = made("maps", "explicit", "map")
    before = model.head.weight.clone()
    model.start_from(tmp_path)
    for mine, theirs in zip(model.resonator.parameters(), other.resonator.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(model.head.weight, before)
