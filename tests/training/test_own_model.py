"""A model that the user brings, by three plain forms; what does not fit is one line."""

import os
import sys

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from dynaxx.training.own_model import BackboneError, make, with_weights

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes)
    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

def fixed():
    return Net(5)
def wrong():
    return "a network"
def fails():
    raise RuntimeError("no luck")
def leaves():
    raise SystemExit(3)
class Nets:
    fixed = staticmethod(fixed)
number = 3
ready = Net(2)
"""


def section(library, weights=None, **more):
    return OmegaConf.create({"library": library, "weights": None if weights is None else str(weights), **more})


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A module `brought` in the working directory."""
    (tmp_path / "brought.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "brought", raising=False)
    yield tmp_path
    sys.modules.pop("brought", None)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize(
    ("library", "name"), [("torchvision", "squeezenet1_1"), ("torchvision", "shufflenet_v2_x0_5"), ("timm", "test_vit")]
)
def test_the_number_of_classes_follows_the_weights(library, name, suffix, tmp_path):
    whole = make(section(library, name=name), 3, 6)
    file = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save({"state_dict": whole.state_dict(), "epoch": 3}, file)
    else:
        save_file(whole.state_dict(), file)
    network, classes = with_weights(section(library, file, name=name), 3)
    assert classes == 6
    x = torch.rand(1, 3, 160, 160)
    assert torch.equal(network(x), whole(x))


@pytest.mark.parametrize(("function", "size", "classes"), [("fixed", 5, None), ("Net", 7, 7), ("Nets.fixed", 5, None)])
def test_a_function_of_the_users_own(function, size, classes, code):
    whole = make(section("python", target="brought:Net"), 3, size)
    torch.save(whole.state_dict(), "w.pt")
    network, found = with_weights(section("python", "w.pt", target=f"brought:{function}"), 3)
    assert found == classes
    assert torch.equal(network(torch.ones(1, 3, 8, 8)), whole(torch.ones(1, 3, 8, 8)))


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("brought", "give package.module:function"),
        ("brought.py:Net", "give package.module:function"),
        ("./brought:Net", "give package.module:function"),
        ("brought:leaves", "cannot be made .*SystemExit"),
        ("brought:Net.absent", "has no 'Net.absent'"),
        ("nowhere.models:net", "no module 'nowhere'.*PYTHONPATH"),
        ("brought:absent", "has no 'absent'; it has Net, Nets, fails, fixed"),
        ("brought:number", "is a int; name a function"),
        ("brought:ready", "is a Net; name a function"),
        ("brought:wrong", "returns str; it must return a torch.nn.Module"),
        ("brought:fails", "cannot be made .*no luck"),
    ],
)
def test_a_target_that_is_no_function_of_a_network(target, says, code):
    with pytest.raises(BackboneError, match=says) as raised:
        make(section("python", target=target), 3)
    assert str(raised.value).startswith(f"model.target={target}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_wrappers_put_before_all_names_is_left_out(prefix, dtype, code):
    whole = make(section("python", target="brought:Net"), 3, 4)
    state = {f"{prefix}{name}": t.to(dtype) for name, t in whole.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 2}, "w.ckpt")
    network, classes = with_weights(section("python", "w.ckpt", target="brought:Net"), 3)
    assert classes == 4
    assert all(t.dtype == torch.float32 for t in network.state_dict().values())
    assert torch.equal(network.fc.weight, whole.fc.weight.to(dtype).float())


@pytest.mark.parametrize("written", ["safetensors", "pt"])
@pytest.mark.parametrize("suffix", ["bin", "safetensors", "pth.tar"])
def test_the_content_tells_the_format_and_not_the_suffix(written, suffix, code):
    state, file = make(section("python", target="brought:fixed"), 3).state_dict(), f"w.{suffix}"
    save_file(state, file) if written == "safetensors" else torch.save(state, file)
    network, _ = with_weights(section("python", file, target="brought:fixed"), 3)
    assert torch.equal(network.fc.weight, state["fc.weight"])


class Touches:
    """Unpickled by a careless program, it makes the folder `touched`."""

    def __reduce__(self):
        return os.mkdir, ("touched",)


def test_pickled_objects_are_not_loaded(code):
    state = make(section("python", target="brought:fixed"), 3).state_dict()
    torch.save({"state_dict": state, "more": Touches()}, "w.pt")
    with pytest.raises(BackboneError, match="pickled objects beside tensors.*give a .safetensors") as raised:
        with_weights(section("python", "w.pt", target="brought:fixed"), 3)
    assert "\n" not in str(raised.value)
    assert not os.path.exists("touched")


def test_weights_that_do_not_fit_name_the_first_tensor(tmp_path):
    model = section("torchvision", tmp_path / "w.pt", name="squeezenet1_1")
    good = torchvision.models.squeezenet1_1(num_classes=4).state_dict()
    first = next(iter(good))
    for state, says in (
        (
            {f"{'head' if 'classifier' in name else 'body'}.{name}": t for name, t in good.items()},
            f"'{first}' is missing.*'body.{first}' instead",
        ),
        ({name: t for name, t in good.items() if name != first}, f"'{first}' is missing in the file, first of 1"),
        (good | {"extra": torch.ones(1)}, "'extra' of the file is unknown to the network"),
        (good | {first: torch.ones(2, 3)}, rf"'{first}' is \(2, 3\) in the file and \(64, 3, 3, 3\)"),
    ):
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(BackboneError, match=says) as raised:
            with_weights(model, 3)
        assert "\n" not in str(raised.value)


def test_a_file_without_a_state_dict(tmp_path):
    model = section("torchvision", tmp_path / "w.pt", name="squeezenet1_1")
    with pytest.raises(BackboneError, match="no such file"):
        with_weights(model, 3)
    for content, says in (
        (nn.Linear(2, 2), "no readable weights.*state_dict"),
        ([1, 2], "holds no state dict"),
        ({"epoch": 3, "weights": {}}, "holds no state dict, but epoch, weights; give"),
        ({"conv.weight": torch.ones(2, device="meta")}, "holds no state dict, but conv.weight"),
    ):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(BackboneError, match=says):
            with_weights(model, 3)
