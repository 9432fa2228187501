"""One pass for many adapters: what each gives alone, whatever runs beside it."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from support.checks import in_threads
from support.nets import UNET_TAPS, Plain, UNet
from support.random_models import Attention, Recurrent
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from dynaxx import ResonanceError, ResonantModel, load_resonance, wrap_with_resonance
from dynaxx.model import run_adapters, stack

pytestmark = pytest.mark.filterwarnings("ignore::dynaxx.ResonanceWarning")


class Wide(Plain):
    """A `Plain` with layers behind the last tap."""

    def __init__(self) -> None:
        super().__init__()
        self.after = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        x = self.late(self.middle(self.act(self.early(self.entry(x)))))
        return self.answer(self.after(x).mean((2, 3)))


NETS = {
    "maps": (Wide, ["early", "middle", "late"], (3, 16, 16)),
    "skips": (UNet, UNET_TAPS, (3, 16, 16)),
    "tokens": (Attention, ["blocks.0", "blocks.1", "blocks.2"], (5, 8)),
    "causal tokens": (Recurrent, ["one", "two"], (6, 5)),
}
CHOICES: dict[str, list[Any]] = {
    "mode": ["explicit", "implicit", "direct", "hybrid", "folded", "probe", "concat_probe"],
    "readout": ["classifier", "mean", "moments", "map", None],
    "T": [1, 2, 4],
    "rank": [2, 3],
    "num_classes": [1, 2, 4],
    "grid": [None, (3, 2)],
    "gate": ["none", "none", "learned", "position"],
    "tolerance": [None, None, 1e-2],
    "stability": ["monitored", "certified"],
    "depthwise": [None, False],
    "token_pool": [False, True],
    "layers": [0, 1],
}


def options_of(net: str, chosen: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Layers and options of an adapter that this network takes."""
    layers = NETS[net][1][chosen["layers"] :]
    layers = layers if len(layers) > 1 else NETS[net][1]
    given = {name: value for name, value in chosen.items() if name != "layers"}
    own = given["readout"] is None
    if given["readout"] in (None, "classifier"):
        given["readout"] = "classifier"
        if own and given["mode"] not in ("probe", "concat_probe"):
            given["num_classes"] = None
        if net == "skips" and given["num_classes"] is not None:
            given |= {"readout": "mean"}
    if given["mode"] == "concat_probe" and given["readout"] == "classifier":
        given["readout"] = "mean"
    if given["mode"] == "folded":
        given |= {"activation": "identity", "depthwise": False, "gate": "none", "stability": "monitored"}
    if net in ("tokens", "causal tokens"):
        given["grid"] = None
    else:
        given["token_pool"] = False
    if net == "causal tokens":
        given["tolerance"] = None
    return layers, given


def family(net: str, chosen: list[dict[str, Any]], dtype: torch.dtype = torch.float32) -> ResonantModel:
    """A model with an adapter `0`, `1` … of each choice, all of them as after training on data of their own."""
    make, _, shape = NETS[net]
    torch.manual_seed(0)
    model: ResonantModel | None = None
    for number, choice in enumerate(chosen):
        layers, given = options_of(net, choice)
        folded = given["mode"] == "folded"
        given["mode"] = "explicit" if folded else given["mode"]
        example = torch.randn(2, *shape, dtype=dtype)
        if model is None:
            model = wrap_with_resonance(make().eval().to(dtype), layers, example_input=example, **given)
        model.add_adapter(str(number), layers, example_input=example, **given)
        model.set_adapter(str(number))
        model.fit_statistics([(1 + number % 3) * torch.randn(8, *shape, dtype=dtype) + 0.3 * number])
        with torch.no_grad():
            for parameter in model.trainable_parameters():
                parameter.copy_(0.3 * torch.randn_like(parameter))
            if folded:
                model.adapter.require_built().exchange.strength.mul_(0.2)
        model.eval()
        if folded:
            model.fold()
    assert model is not None
    return model.double() if dtype == torch.float64 else model


def choice(**changes: Any) -> dict[str, Any]:
    return {name: values[0] for name, values in CHOICES.items()} | {"num_classes": 2, "T": 3} | changes


@torch.no_grad()
def alone(model: ResonantModel, x: Tensor, names: list[str]) -> dict[str, Any]:
    found, before = {}, model.active_adapter
    for name in names:
        model.set_adapter(name)
        found[name] = model(x)
    model.set_adapter(before)
    return found


def assert_same(found: dict[str, Any], expected: dict[str, Any], tolerance: float = 3e-5) -> None:
    assert list(found) == list(expected)
    for name, output in expected.items():
        assert found[name].dtype == output.dtype
        torch.testing.assert_close(found[name], output, rtol=tolerance, atol=tolerance, equal_nan=True)


def names_of(model: ResonantModel) -> list[str]:
    return [name for name in model.adapters if name != "default"]


def inputs(net: str, batch: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, *NETS[net][2], dtype=dtype)


KINDS = [
    choice(),
    choice(readout="mean"),
    choice(readout="moments", num_classes=1),
    choice(readout="map"),
    choice(mode="direct"),
    choice(mode="direct", readout="mean", num_classes=4),
    choice(mode="implicit", readout="map", num_classes=1),
    choice(mode="concat_probe", readout="moments"),
    choice(mode="probe"),
    choice(mode="folded"),
    choice(readout=None),
    choice(gate="learned", readout="mean"),
    choice(layers=1, readout="mean"),
]
EACH_TWICE = [kind | {"num_classes": n} for n in (1, 3) for kind in KINDS]


@pytest.fixture(scope="module")
def many() -> ResonantModel:
    """Two adapters of every kind on one network."""
    return family("maps", EACH_TWICE)


def passes(model: ResonantModel) -> list[str]:
    """A list that notes the first and the last layer of the backbone."""
    ran: list[str] = []
    for path in ("entry", "answer"):
        model.backbone.get_submodule(path).register_forward_hook(lambda m, a, y, path=path: ran.append(path))
    return ran


# ---- equal to one at a time -----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    net=st.sampled_from(sorted(NETS)),
    chosen=st.lists(st.fixed_dictionaries({n: st.sampled_from(v) for n, v in CHOICES.items()}), min_size=1, max_size=3),
    copies=st.integers(1, 3),
    batch=st.integers(1, 3),
)
def test_any_mixture_gives_what_each_gives_alone(net, chosen, copies, batch):
    model = family(net, chosen * copies, torch.float64)
    x = inputs(net, batch, torch.float64)
    assert_same(model.run_adapters(x, names_of(model)), alone(model, x, names_of(model)), 1e-8)


def test_in_single_precision_up_to_rounding(many):
    x = inputs("maps")
    expected = alone(many, x, names_of(many))
    for name, found in many.run_adapters(x, names_of(many)).items():
        assert float((found - expected[name]).abs().max()) <= 1e-5 * float(expected[name].abs().max().clamp_min(1.0))
    assert not any(output.requires_grad for output in many.run_adapters(x).values())


def test_all_of_them_from_one_pass(many):
    x, net = inputs("maps"), copy.deepcopy(many)
    net.run_adapters(x)  # finds the tails
    ran = passes(net)
    found = net.run_adapters(x)
    assert list(found) == ["default", *names_of(net)]
    assert ran.count("entry") == 1
    readers = [name for name in net.adapters if net.adapters[name].config.reads_taps]
    ran.clear()
    net.run_adapters(x, readers)
    assert ran == ["entry"]  # nothing behind the last tap


def test_adapters_of_a_kind_run_side_by_side(many):
    many.run_adapters(inputs("maps"), names_of(many))
    ((_, stacks),) = [kept for key, kept in many._kept.stacks.items() if key[0] == tuple(names_of(many))]
    together = {frozenset(made.names) for made in stacks}
    gated, heads_behind = {"11", "24"}, {"8", "21"}
    pairs = {frozenset({str(n), str(n + len(KINDS))}) for n in range(len(KINDS))}
    # direct and implicit are one kind; probes in the classifier's place have nothing to stack
    assert together == pairs - {frozenset(gated), frozenset(heads_behind)}


def test_far_from_each_others_statistics_they_do_not_share_a_centre():
    model = family("maps", [choice(readout="mean")] * 2, torch.float64)
    x = inputs("maps", dtype=torch.float64)
    statistics = model.adapters["1"].resonator.exchange.statistics
    statistics.set([(statistics.mean(tap) + 100, statistics.std(tap)) for tap in range(3)])
    assert_same(model.run_adapters(x), alone(model, x, list(model.adapters)), 1e-8)
    assert all({"0", "1"} - set(made.names) for _, made_of in model._kept.stacks.values() for made in made_of)


@pytest.mark.parametrize("limit", [1, 700, 10**9])
def test_in_whatever_batches_what_lies_behind_is_run(many, limit, monkeypatch):
    for module in (run_adapters, stack):
        monkeypatch.setattr(module, "LIMIT", limit)
    x = inputs("maps")
    assert_same(many.run_adapters(x), alone(many, x, list(many.adapters)))


def test_other_shapes_and_forms_of_the_input(many):
    for x in (inputs("maps", 1), inputs("maps", 5), torch.randn(2, 3, 20, 12)):
        assert_same(many.run_adapters(x), alone(many, x, list(many.adapters)))
    assert_same(many.run_adapters({"x": x}), alone(many, x, list(many.adapters)))
    assert_same(many.run_adapters((x,)), alone(many, x, list(many.adapters)))


def test_in_half_precision_and_under_autocast():
    model, x = family("maps", [*KINDS[:8], *KINDS[:8]]), inputs("maps")
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = model.run_adapters(x), alone(model, x, list(model.adapters))
    assert_same(found, expected, 0.1)
    for dtype in (torch.bfloat16, torch.float16):
        model.to(dtype)
        assert_same(model.run_adapters(x.to(dtype)), alone(model, x.to(dtype), list(model.adapters)), 0.15)


# ---- what has its own way -------------------------------------------------------------------------------------------


def test_the_reentrant_dynamics_and_sources_beside_others():
    net, x = Wide().eval(), inputs("maps")
    model = wrap_with_resonance(net, NETS["maps"][1], T=2, rank=3, dynamics="reentrant", example_input=x)
    for name in ("clicked", "pointed"):
        model.add_adapter(name, ["early", "late"], T=2, rank=3, sources={"click": 1}, example_input=x)
    model.add_adapter("direct", ["early", "late"], mode="direct", rank=3, num_classes=2, example_input=x)
    for name in model.adapters:
        model.set_adapter(name)
        for parameter in model.trainable_parameters():
            nn.init.normal_(parameter, std=0.2)
    model.eval()
    click = torch.randn(3, 1, 16, 16)
    found = model.run_adapters(x, sources={"click": click})
    with torch.no_grad():
        for name, output in found.items():
            model.set_adapter(name)
            given = {"sources": {"click": click}} if model.config.sources else {}
            torch.testing.assert_close(output, model(x, **given), rtol=1e-5, atol=1e-5)
        model.set_adapter("clicked")
        assert not torch.allclose(found["clicked"], model(x), atol=1e-3)
    assert_same(model.run_adapters(x), alone(model, x, list(model.adapters)))
    with pytest.raises(ResonanceError, match=r"no adapter of these has 'tap'; they have click"):
        model.run_adapters(x, sources={"tap": click})


@pytest.mark.parametrize("cut", [None, 5])
def test_text_with_an_attention_mask(cut):
    torch.manual_seed(0)
    size = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    net = BertForSequenceClassification(BertConfig(num_hidden_layers=3, num_labels=3, **size)).eval()
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, cut:] = 0 if cut else 1
    batch = {"input_ids": torch.arange(3, 27).view(3, 8), "attention_mask": mask}
    model = wrap_with_resonance(net, [1, 2], T=2, rank=3, example_input=batch)
    for name, options in {
        "two": {"num_classes": 2},
        "five": {"num_classes": 5},
        "mean": {"readout": "mean"},
        "map": {"readout": "map"},
    }.items():
        model.add_adapter(name, [1, 2], T=2, rank=3, example_input=batch, **({"num_classes": 4} | options))
    for name in model.adapters:
        model.set_adapter(name)
        for parameter in model.trainable_parameters():
            nn.init.normal_(parameter, std=0.3)
    model.eval()
    found = model.run_adapters(batch)
    ran: list[int] = []
    net.bert.embeddings.register_forward_hook(lambda m, a, y: ran.append(1))
    again = model.run_adapters(batch)
    # what lies behind the taps reads the mask, and does not run by itself: those heads have passes of their own
    assert len(ran) == 4
    ran.clear()
    model.run_adapters(batch, ["mean", "map"])
    assert ran == [1]
    with torch.no_grad():
        for name in model.adapters:
            model.set_adapter(name)
            for output in (found[name], again[name]):
                one, other = (o if isinstance(o, Tensor) else o.logits for o in (output, model(**batch)))
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
                assert type(output) is type(model(**batch))
    with pytest.raises(ResonanceError, match="labels"):
        model.run_adapters({**batch, "labels": torch.tensor([0, 1, 2])})


def test_outputs_of_several_parts_come_apart_by_samples():
    class Two(Wide):
        def forward(self, x: Tensor) -> dict[str, Any]:
            x = self.late(self.middle(self.act(self.early(self.entry(x)))))
            return {"logits": self.answer(self.after(x).mean((2, 3))), "last": x, "size": 3}

    torch.manual_seed(0)
    x, model = inputs("maps"), None
    for classes in (2, 4):
        given = {"T": 2, "rank": 3, "num_classes": classes, "example_input": x}
        if model is None:
            model = wrap_with_resonance(Two().eval(), NETS["maps"][1], **given)
        model.add_adapter(str(classes), NETS["maps"][1], **given)
        model.set_adapter(str(classes))
        for parameter in model.trainable_parameters():
            nn.init.normal_(parameter, std=0.2)
    expected = alone(model.eval(), x, list(model.adapters))
    for name, output in model.run_adapters(x).items():
        assert output.keys() == expected[name].keys()
        assert output["size"] == 3
        for part in ("logits", "last"):
            torch.testing.assert_close(output[part], expected[name][part], rtol=1e-5, atol=1e-5)


# ---- switches, samples, threads -------------------------------------------------------------------------------------


def test_switches_act_as_in_single_passes(many):
    x, names = inputs("maps"), ["0", "13", "1", "14", "4", "17", "8"]
    with torch.no_grad(), many.disabled():
        bare = many(x)
        assert all(torch.equal(output, bare) for output in many.run_adapters(x, names).values())
    with many.override(T=7):
        assert_same(many.run_adapters(x, names), alone(many, x, names))
    with many.override(mode="explicit"):
        assert_same(many.run_adapters(x, ["4", "17"]), alone(many, x, ["4", "17"]))
    many.set_adapter("0")
    with many.ablated([0, 2]):
        assert_same(many.run_adapters(x, names[:6]), alone(many, x, names[:6]))
    with many.ablated([5]), pytest.raises(ResonanceError, match=r"ablated\(5\): adapter '12' has couplings 0 to 1"):
        many.run_adapters(x, ["0", "12"])
    with many.observed() as outputs:
        assert_same(many.run_adapters(x, names), alone(many, x, names))
    assert len(outputs) == 2 * len(names)
    assert all(output.fallback is not None for output in outputs)
    assert many.active_adapter == "0"


def test_a_sample_that_is_not_finite_stays_by_itself(many):
    x = inputs("maps")
    expected = many.run_adapters(x)
    assert many.fallback.tolist() == [False, False, False]
    x[1] = float("nan")
    found = many.run_adapters(x)
    assert many.fallback.tolist() == [False, True, False]
    assert_same(found, alone(many, x, list(many.adapters)))
    for name, output in found.items():
        torch.testing.assert_close(output[::2], expected[name][::2], rtol=1e-4, atol=1e-5)


def test_a_loop_that_runs_away_falls_back_in_its_own_adapter_alone():
    model, x = family("maps", [choice(readout="mean")] * 3), inputs("maps")
    with torch.no_grad():
        for U in model.adapters["1"].resonator.exchange.couplings.U:
            U.mul_(1e9)
    found = model.run_adapters(x, ["0", "1", "2"])
    assert model.fallback.all()
    assert_same(found, alone(model, x, ["0", "1", "2"]))


def test_parameters_that_change_are_seen(many):
    model, x = copy.deepcopy(many), inputs("maps")
    names = [name for name in names_of(model) if name not in ("9", "22")]  # training discards a folded loop
    model.run_adapters(x, names)
    optimizer = torch.optim.SGD(model.adapters["0"].parameters(), 1.0)
    for parameter in model.adapters["0"].parameters():
        parameter.grad = torch.full_like(parameter, 0.05)
    optimizer.step()
    assert_same(model.run_adapters(x, names), alone(model, x, names))
    model.set_adapter("17")
    model.fit_statistics([3 * inputs("maps", 8)])
    assert_same(model.run_adapters(x, names), alone(model, x, names))
    model.set_adapter("0")
    model.T = 6
    assert_same(model.run_adapters(x, names), alone(model, x, names))
    model.load_state_dict(many.state_dict())
    assert_same(model.run_adapters(x, names), alone(model, x, names))
    with torch.no_grad():
        model.adapters["1"].head.in_units(torch.tensor([5.0]), torch.tensor([2.0]))
        model.adapters["1"].head.bias.data.add_(1.0)  # goes around torch's count of versions
    model.train().eval()
    assert_same(model.run_adapters(x, names), alone(model, x, names))
    model.double()
    assert_same(model.run_adapters(x.double(), names), alone(model, x.double(), names), 1e-8)


def test_a_backbone_that_is_changed_is_followed(many):
    model, x = copy.deepcopy(many), inputs("maps")
    names = ["10", "23", "1"]  # with the backbone's own head, and one that reads the taps
    model.run_adapters(x, names)
    with torch.no_grad():
        model.backbone.after[0].weight.mul_(0.5)
    assert_same(model.run_adapters(x, names), alone(model, x, names))
    model.backbone.answer = nn.Linear(12, 7)
    found = model.run_adapters(x, names)
    assert found["10"].shape == (3, 7)
    assert_same(found, alone(model, x, names))


def test_threads_and_copies(many):
    x = inputs("maps")
    expected = {batch: alone(many, x[:batch], list(many.adapters)) for batch in (1, 2, 3)}
    wrong: list[int] = []

    def work(batch: int) -> None:
        for _ in range(3):
            found = many.run_adapters(x[:batch])
            right = expected[batch]
            if any(not torch.allclose(found[n], right[n], rtol=1e-4, atol=1e-5) for n in right):
                wrong.append(batch)
            with many.disabled(), torch.no_grad():
                many.run_adapters(x[:batch])

    in_threads(work, expected)
    assert wrong == []
    for twin in (copy.copy(many), copy.deepcopy(many)):
        assert_same(twin.run_adapters(x), expected[3])


def test_an_adapter_that_is_added_deleted_or_loaded(tmp_path):
    model, x = family("maps", [choice(readout="mean")] * 3), inputs("maps")
    model.run_adapters(x)
    model.save_pretrained(tmp_path)
    model.delete_adapter("1")
    model.load_adapter(tmp_path, "guest")
    model.add_adapter("unbuilt", ["early", "late"], rank=2)
    found = model.run_adapters(x)
    assert list(found) == ["default", "0", "2", "guest", "unbuilt"]
    assert_same(found, alone(model, x, list(found)))
    loaded = load_resonance(copy.deepcopy(model.backbone), tmp_path)
    assert_same(loaded.run_adapters(x), {"default": found["guest"]})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, x: m.run_adapters(x, ["0", "other"]), "no adapter 'other'; there are default, 0"),
        (lambda m, x: m.run_adapters(x, ["0", "0"]), "'0' is given twice"),
        (lambda m, x: m.run_adapters(x, "0"), "names='0': give a list"),
        (lambda m, x: m.run_adapters("cat.jpg", ["0"]), "inputs: str holds no tensor"),
        (lambda m, x: m.run_adapters(x, ["0"], sources={"click": x}), "'click'; they have none"),
    ],
)
def test_what_is_refused_is_one_line(many, call, says):
    with pytest.raises(ResonanceError, match=says) as caught:
        call(many, inputs("maps"))
    assert "\n" not in str(caught.value)


def test_none_at_all_and_a_removed_model():
    model, x = family("maps", [choice()]), inputs("maps")
    assert model.run_adapters(x, []) == {}
    model.remove()
    with pytest.raises(ResonanceError, match="removed"):
        model.run_adapters(x)
