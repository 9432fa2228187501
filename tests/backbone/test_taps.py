"""The backbone is listened to during a pass alone, and is given back as it was."""

import copy
import threading

import pytest
import torch
from support.nets import images, trained_like, wrapped
from torch import nn

from dynaxx import ResonanceError


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


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


def test_hooks_go_even_when_the_pass_fails(plain):
    model = wrapped(plain)
    with pytest.raises(RuntimeError):
        model(torch.randn(1, 4, 16, 16))
    assert hooks(plain) == 0


def test_an_activation_that_is_overwritten_in_place_is_read_before(plain):
    x = images()
    model = wrapped(plain)
    assert [info.overwritten for info in model.adapter.taps] == [True, False, False]
    expected = torch.nn.functional.adaptive_avg_pool2d(plain.early(plain.entry(x)), 4).flatten(2).transpose(1, 2)
    assert torch.allclose(model.read(x).pooled[0], expected, atol=1e-6)
    assert expected.min() < 0  # behind the in-place ReLU it could not be


def test_training_mode_leaves_the_backbone_in_eval(plain):
    model = wrapped(plain).train()
    assert model.resonator.training
    assert not any(m.training for m in plain.modules())


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
