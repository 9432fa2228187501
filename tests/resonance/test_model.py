"""The promises of a resonant model: exact at the start, off at will, gone without a trace, safe on bad samples."""

import copy
import threading
import warnings

import pytest
import torch
from nets import PLAIN_TAPS, Plain, images, trained_like
from torch import nn

from dynaxx import ResonanceError, wrap_with_resonance
from dynaxx.resonance import ResonanceWarning


@pytest.fixture
def plain() -> Plain:
    return Plain().eval()


def wrapped(plain, **options):
    options = {"T": 3, "rank": 4, "example_input": images()[:1]} | options
    return wrap_with_resonance(plain, PLAIN_TAPS, **options)


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_untrained_equals_the_backbone_bit_for_bit(plain):
    x = images()
    bare = plain(x)
    every = ({}, {"gate": "learned"}, {"T": 1}, {"mode": "implicit"}, {"grid": (2, 2)}, {"solver": "anderson"})
    for options in (*every, {"gate": "mutual_information"}, {"couplings": "random"}, {"stability": "certified"}):
        model = wrapped(plain, **options)
        assert torch.equal(model(x), bare)
        model.remove()


def test_disabled_and_remove_give_the_backbone_back(plain):
    x, flags = images(), [p.requires_grad for p in plain.parameters()]
    plain.train()
    plain.middle[1].eval()
    modes = [m.training for m in plain.modules()]
    model = trained_like(wrapped(plain, num_classes=7))
    bare = copy.deepcopy(plain).eval()(x)
    assert model(x).shape == (3, 7)
    with model.disabled():
        assert torch.equal(model(x), bare)
    assert model(x).shape == (3, 7)
    assert hooks(plain) == 0
    assert model.remove() is plain
    assert [p.requires_grad for p in plain.parameters()] == flags
    assert [m.training for m in plain.modules()] == modes
    with pytest.raises(ResonanceError, match="removed"):
        model(x)


@pytest.mark.parametrize("num_classes", [None, 7])
def test_posthoc_keeps_the_backbones_own_answer_untouched_beside_the_refined_one(plain, num_classes):
    x = images()
    bare = copy.deepcopy(plain)(x)
    model = trained_like(wrapped(plain, num_classes=num_classes))
    refined = model(x)
    assert num_classes is not None or not torch.equal(refined, bare)  # the couplings do something
    both = model.posthoc(x)
    assert torch.equal(both.own, bare)
    assert torch.equal(both.refined, refined)


def test_posthoc_of_a_bad_sample_says_that_resonance_fell_back(plain):
    x = images()
    x[1] = float("nan")
    model = trained_like(wrapped(plain))
    own, refined = model.posthoc(x)
    assert model.fallback.tolist() == [False, True, False]
    assert torch.equal(own[1].nan_to_num(7), refined[1].nan_to_num(7))
    with model.disabled():
        model.posthoc(x)
        assert torch.equal(model(x)[0], own[0])  # still disabled


def test_hooks_go_even_when_the_pass_fails(plain):
    model = wrapped(plain)
    with pytest.raises(RuntimeError):
        model(torch.randn(1, 4, 16, 16))
    assert hooks(plain) == 0


def test_an_activation_that_is_overwritten_in_place_is_read_before(plain):
    x = images()
    model = wrapped(plain)
    assert [info.overwritten for info in model.adapter.infos] == [True, False, False]
    expected = torch.nn.functional.adaptive_avg_pool2d(plain.early(plain.entry(x)), 4).flatten(2).transpose(1, 2)
    assert torch.allclose(model.read(x).pooled[0], expected, atol=1e-6)
    assert expected.min() < 0  # behind the in-place ReLU it could not be


def test_a_sample_answers_alike_alone_and_in_company(plain):
    model = trained_like(wrapped(plain, gate="learned"))
    x = images(batch=5)
    together = model(x)
    for n in range(5):
        assert torch.allclose(model(x[n : n + 1])[0], together[n], atol=1e-5)


def test_training_mode_leaves_the_backbone_in_eval(plain):
    model = wrapped(plain).train()
    assert model.engine.training
    assert not any(m.training for m in plain.modules())


def test_without_statistics_training_warns_once(plain):
    model = wrapped(plain).train()
    with pytest.warns(ResonanceWarning, match="fit_statistics"):
        model(images())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(images())


def test_non_finite_samples_keep_the_backbones_answer_and_leave_their_neighbours_alone(plain):
    model = trained_like(wrapped(plain, num_classes=4))
    model.fit_statistics([images(batch=8)])
    good = images(batch=4)
    bad = good.clone()
    bad[1, 0, 0, 0] = float("nan")
    bad[2] = float("inf")

    def gradients(x, rows):
        model.zero_grad()
        model(x)[rows].square().sum().backward()
        return [p.grad.clone() for p in model.trainable_parameters()]

    out = model(bad)
    assert model.fallback.tolist() == [False, True, True, False]
    assert torch.isnan(out[1]).all()
    assert torch.equal(out[[0, 3]], model(good)[[0, 3]])
    clean, dirty = gradients(good, [0, 3]), gradients(bad, [0, 3])
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))


def test_a_loop_that_overflows_falls_back_to_the_anchor(plain):
    model = trained_like(wrapped(plain, activation="identity", T=60))
    x = images()
    for U in model.engine.couplings.U:
        U.data.mul_(1e6)
    assert torch.equal(model(x), plain(x))
    assert model.fallback.all()


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


def test_deepcopy_and_state_dict(plain):
    x, model = images(), trained_like(wrapped(plain, num_classes=4, gate="learned"))
    model(x).sum().backward()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))
    nn.init.zeros_(twin.engine.couplings.b)
    assert model.engine.couplings.b.any()
    fresh = wrapped(Plain(), num_classes=4, gate="learned")
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), model(x))


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
    assert model.engine.couplings.U[0].grad is not None


def test_lazy_until_the_first_pass(plain):
    x = images()
    model = wrap_with_resonance(plain, PLAIN_TAPS[::-1], rank=4)
    assert model.engine is None
    for use in (
        model.parameters,
        model.print_trainable_parameters,
        model.stability,
        lambda: model.save_pretrained("x"),
    ):
        with pytest.raises(ResonanceError, match="example_input"):
            list(use() or [])
    assert torch.equal(model(x), plain(x))
    assert model.paths == tuple(PLAIN_TAPS)  # depth order, not the order they were named in
    assert len(model.trainable_parameters()) > 0


def test_mode_switches_at_run_time_and_needs_a_student(plain):
    x, model = images(), trained_like(wrapped(plain))
    with pytest.raises(ResonanceError, match="add_student"):
        model.mode = "implicit"
    explicit = model(x)
    model.add_student()
    model.mode = "implicit"
    assert not torch.equal(model(x), explicit)
    model.mode = "explicit"
    assert torch.equal(model(x), explicit)
    with pytest.raises(ResonanceError, match="explicit, implicit"):
        model.mode = "both"


def test_an_untrained_student_is_one_undamped_step(plain):
    x, model = images(), trained_like(wrapped(plain, damping=1.0))
    model.add_student()
    model.T = 1
    one_step = model(x)
    model.mode = "implicit"
    assert torch.allclose(model(x), one_step, atol=1e-6)


def test_trace_only_when_asked_for(plain):
    x, model = images(), trained_like(wrapped(plain, gate="learned"))
    model(x)
    assert model.trace is None
    with model.tracing():
        traced = model(x)
    assert torch.equal(traced, model(x))
    with model.tracing():
        model(x)
        trace = model.trace
    assert trace.residual.shape == (3, 3, 3)
    assert trace.gates.shape == (3, 6)
    assert trace.taps == tuple(PLAIN_TAPS)
    assert trace.pairs[0] == ("middle", "early")


def test_a_second_thread_on_the_backbone_is_not_listened_to(plain):
    x, model = images(), trained_like(wrapped(plain))
    expected = model(x)
    started, go = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        go.wait(10)

    pause = plain.middle.register_forward_hook(lambda *_: wait())
    result: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: result.append(model(x)))
    thread.start()
    started.wait(10)
    go.set()
    plain(x)  # on this thread, while the other's hooks are on
    thread.join()
    pause.remove()
    assert torch.equal(result[0], expected)


def test_tail_runs_from_the_last_tap_alone(plain):
    x, model = images(), trained_like(wrapped(plain, num_classes=4))
    tail = model.tail(x)
    seen, _ = model.agree(model.read(x))
    assert torch.allclose(model.finish(seen, tail), model(x), atol=1e-6)


def test_tail_refuses_what_reads_more_than_the_last_tap():
    class Skips(Plain):
        def forward(self, x):
            return super().forward(x) + x.mean()

    model = wrapped(Skips())
    with pytest.raises(ResonanceError, match="also reads 'x'"):
        model.tail(images())


def test_print_trainable_parameters(plain, capsys):
    model = wrapped(plain)
    model.print_trainable_parameters()
    trained = sum(p.numel() for p in model.engine.parameters())
    assert f"trainable params: {trained:,} ||" in capsys.readouterr().out
