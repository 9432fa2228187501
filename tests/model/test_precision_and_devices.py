"""Half precision, GPUs, parallel processes and inference mode."""

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images, trained_like, wrapped
from torch import nn

from dynaxx import load_resonance, wrap_with_resonance


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"depthwise": False},
        {"depthwise": False, "gate": "learned"},
        {"gate": "mutual_information"},
        {"solver": "anderson", "tolerance": 1e-2},
        {"stability": "certified"},
        {"gradient": "implicit", "stability": "certified"},
        {"checkpoint": True},
    ],
    ids=str,
)
def test_autocast(plain, options):
    x = images()
    model = trained_like(wrapped(plain, num_classes=4, **options))
    full = model(x)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            low = model(x)
            low.float().square().sum().backward()
        assert torch.isfinite(low).all()
        assert torch.allclose(low.float(), full, atol=0.15 * full.abs().max().item())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu(plain):
    x, model = images(), trained_like(wrapped(plain))
    expected = model(x)
    assert torch.allclose(model.cuda()(x.cuda()).cpu(), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("options", [{}, {"num_classes": 4}, {"gate": "learned", "stability": "certified"}], ids=str)
def test_outputs_have_the_backbones_type(dtype, options, tmp_path):
    x = images().to(dtype)
    model = trained_like(wrapped(Plain().eval().to(dtype), example_input=x, **options))
    model.fit_statistics([x])
    assert model(x).dtype == dtype
    assert model.train()(x).dtype == dtype
    model.eval().save_pretrained(tmp_path / "wrapped")
    again = load_resonance(model.remove(), tmp_path / "wrapped")
    assert {p.dtype for p in again.adapter.parameters()} == {torch.float32}
    assert torch.equal(again(x), load_resonance(again.backbone, tmp_path / "wrapped")(x))

    cast = trained_like(wrapped(Plain().eval(), **options)).to(dtype)
    out = cast(x)
    assert out.dtype == dtype
    cast.save_pretrained(tmp_path / "cast")
    loaded = load_resonance(cast.remove(), tmp_path / "cast")
    assert torch.equal(loaded.to(dtype)(x), out)
    assert loaded.float()(x.float()).dtype == torch.float32


def test_distributed_data_parallel_gives_the_same_gradients(plain, tmp_path):
    x, model = images(), trained_like(wrapped(plain, num_classes=4, gate="learned"))
    model(x).square().sum().backward()
    expected = [p.grad.clone() for p in model.trainable_parameters()]
    model.zero_grad()
    dist = torch.distributed
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):  # a parameter left unused in the first pass would fail the second
            model.zero_grad()
            parallel(x).square().sum().backward()
    finally:
        dist.destroy_process_group()
    assert all(torch.allclose(p.grad, e) for p, e in zip(model.trainable_parameters(), expected, strict=True))


def test_a_first_pass_in_inference_mode_leaves_a_model_that_trains(plain):
    model = wrap_with_resonance(plain, PLAIN_TAPS, rank=3)
    with torch.inference_mode():
        model(images())
    model(images()).sum().backward()
    assert model.resonator.exchange.couplings.U[0].grad is not None
