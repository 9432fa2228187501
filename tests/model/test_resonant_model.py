"""The promises of a resonant model: exact at the start, alike in every batch, safe on bad samples."""

import copy
import warnings

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images, trained_like, wrapped
from torch import nn

from dynaxx import ResonanceError, ResonanceWarning, wrap_with_resonance


def test_untrained_equals_the_backbone_bit_for_bit(plain):
    x = images()
    bare = plain(x)
    every = ({}, {"gate": "learned"}, {"T": 1}, {"mode": "implicit"}, {"grid": (2, 2)}, {"solver": "anderson"})
    for options in (*every, {"gate": "mutual_information"}, {"couplings": "random"}, {"stability": "certified"}):
        model = wrapped(plain, **options)
        assert torch.equal(model(x), bare)
        model.remove()


def test_a_sample_answers_alike_alone_and_in_company(plain):
    model = trained_like(wrapped(plain, gate="learned"))
    x = images(batch=5)
    together = model(x)
    for n in range(5):
        assert torch.allclose(model(x[n : n + 1])[0], together[n], atol=1e-5)


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
    for U in model.resonator.exchange.couplings.U:
        U.data.mul_(1e6)
    with pytest.warns(ResonanceWarning, match="ran away for 3 of 3"):
        assert torch.equal(model(x), plain(x))
    assert model.fallback.all()


def test_deepcopy_and_state_dict(plain):
    x, model = images(), trained_like(wrapped(plain, num_classes=4, gate="learned"))
    model(x).sum().backward()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))
    nn.init.zeros_(twin.resonator.exchange.couplings.b)
    assert model.resonator.exchange.couplings.b.any()
    fresh = wrapped(Plain(), num_classes=4, gate="learned")
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), model(x))


def test_lazy_until_the_first_pass(plain):
    x = images()
    model = wrap_with_resonance(plain, PLAIN_TAPS[::-1], rank=4)
    assert model.resonator is None
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


def test_tail_runs_from_the_last_tap_alone(plain):
    x, model = images(), trained_like(wrapped(plain, num_classes=4))
    tail = model.tail(x)
    seen, _ = model.refine(model.read(x))
    assert torch.allclose(model.run_tail(seen, tail), model(x), atol=1e-6)


def test_a_tail_keeps_what_it_reads_besides_the_last_tap():
    class Skips(Plain):
        def forward(self, x):
            return super().forward(x) + x.mean((1, 2, 3))[:, None]

    model, x = trained_like(wrapped(Skips())), images()
    tail = model.tail(x)
    assert tail.way.endswith("beside the input")
    refined = model.refine(model.read(x))[0]
    assert torch.allclose(model.run_tail(refined, tail, tail.outside(x)), model(x), atol=1e-6)


def test_print_trainable_parameters(plain, capsys):
    model = wrapped(plain)
    model.print_trainable_parameters()
    trained = sum(p.numel() for p in model.resonator.parameters())
    assert f"trainable params: {trained:,} ||" in capsys.readouterr().out
