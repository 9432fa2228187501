"""Compiled without a graph break, exported, and in ONNX Runtime: the same answers as the eager model."""

import copy
import io

import pytest
import torch
from support.nets import PLAIN_TAPS, UNET_TAPS, ZOO, Plain, UNet, images, trained_like, wrapped
from torch import Tensor, nn

from dynaxx import load_resonance, wrap_with_resonance

CASES = {
    "explicit": (Plain, PLAIN_TAPS, {"T": 3}),
    "a new head": (Plain, PLAIN_TAPS, {"T": 2, "num_classes": 4}),
    "implicit": (Plain, PLAIN_TAPS, {"T": 3, "mode": "implicit"}),
    "gated": (Plain, PLAIN_TAPS, {"T": 2, "gate": "mutual_information"}),
    "certified": (Plain, PLAIN_TAPS, {"T": 2, "stability": "certified"}),
    "anderson": (Plain, PLAIN_TAPS, {"T": 5, "solver": "anderson"}),
    "adaptive": (Plain, PLAIN_TAPS, {"T": 6, "tolerance": 0.05}),
    "split": (UNet, UNET_TAPS, {"T": 2}),
    "reentrant": (Plain, PLAIN_TAPS, {"T": 2, "dynamics": "reentrant"}),
    "tokens": (ZOO["timm small ViT"][0], [3, 6, 9], {"T": 2}),
}


def made(name: str, side: int = 16):
    make, taps, options = CASES[name]
    torch.manual_seed(0)
    x = images(32 if name == "tokens" else side)
    model = trained_like(wrap_with_resonance(make(), taps, rank=3, example_input=x[:1], **options)).eval()
    model.fit_statistics([x])
    return model, x


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


@pytest.mark.parametrize("name", CASES)
def test_compiles_as_one_graph_and_learns_the_same(name):
    """No graph break anywhere; the compiler's own code generation is another test's."""
    model, x = made(name)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.allclose(compiled(x), model(x), atol=1e-5)
        assert torch.equal(model.fallback, torch.zeros(3, dtype=torch.bool))
    parameters = model.train().trainable_parameters()
    grads = []
    for run in (compiled, model):
        grads.append(torch.autograd.grad(run(x).square().mean(), parameters, allow_unused=True))
    for one, other in zip(*grads, strict=True):
        assert (one is None) == (other is None) or not (one if other is None else other).any()
        assert one is None or other is None or torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_compiled_to_machine_code():
    model, x = made("explicit")
    with torch.no_grad():
        assert torch.allclose(torch.compile(model, fullgraph=True)(x), model(x), atol=1e-5)


def test_switches_count_after_compiling_too():
    model, x = made("implicit")
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        answers = {}
        for mode in ("implicit", "explicit"):
            model.mode = mode
            answers[mode] = compiled(x)
            assert torch.allclose(answers[mode], model(x), atol=1e-5)
        assert not torch.equal(*answers.values())
        model.T = 1
        assert torch.allclose(compiled(x), model(x), atol=1e-5)
        with model.disabled():
            assert torch.allclose(compiled(x), model.backbone(x), atol=1e-5)


@pytest.mark.parametrize("name", ["explicit", "a new head", "implicit", "anderson", "split"])
def test_exports_and_runs_in_onnx_runtime(name):
    import onnxruntime

    model, x = made(name)
    with torch.no_grad():
        expected = model(x)
        program = torch.export.export(model, (x,))
        assert torch.allclose(program.module()(x), expected, atol=1e-5)
        buffer = io.BytesIO()
        torch.onnx.export(program, dynamo=True, verbose=False).save(buffer)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.allclose(torch.from_numpy(answer), expected, rtol=1e-4, atol=1e-4)


def test_an_exported_program_takes_any_batch_and_answers_each_sample_by_itself():
    model, x = made("adaptive")
    batch = torch.export.Dim("batch", min=2, max=64)
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes=((({0: batch},)),)).module()
        many = torch.cat([x, x.flip(0), x])
        assert torch.allclose(program(many), model(many), atol=1e-5)
        spoilt = many.clone()
        spoilt[4] = float("nan")
        kept = [n for n in range(9) if n != 4]
        assert torch.allclose(program(spoilt)[kept], model(many)[kept], atol=1e-5)


def test_channels_last_and_half_precision_answer_alike():
    model, x = made("explicit")
    with torch.no_grad():
        expected = model(x)
        last = model.to(memory_format=torch.channels_last)
        assert torch.allclose(last(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(model(x).float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_loaded_model_compiles_as_one_graph_before_any_pass(tmp_path, num_classes):
    class Owner(Plain):
        """Holds a parameter itself, beside its layers."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * self.scale)

    torch.manual_seed(0)
    net, x = Owner().eval(), images()
    model = trained_like(wrapped(net, num_classes=num_classes))
    model.save_pretrained(tmp_path)
    right = model(x)
    loaded = load_resonance(copy.deepcopy(net), tmp_path)
    loaded.load_adapter(tmp_path, "other")
    loaded.set_adapter("other")
    for each in (loaded, load_resonance(copy.deepcopy(net), tmp_path)):
        with torch.no_grad():
            assert torch.allclose(torch.compile(each, backend="eager", fullgraph=True)(x), right, atol=1e-6)
        torch._dynamo.reset()
