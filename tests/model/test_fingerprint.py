"""An adapter knows the weights it was trained on, however they are held, and refuses others."""

import copy
import json
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images, trained_like, wrapped
from torch import nn

from dynaxx import ResonanceError, ResonanceWarning, load_resonance, wrap_with_resonance
from dynaxx.model.fingerprint import difference, fingerprint


@pytest.fixture
def saved(plain, tmp_path):
    """A backbone that has been somewhat trained, with its adapter in the folder."""
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
    model = trained_like(wrapped(plain, num_classes=3))
    model.save_pretrained(tmp_path / "own")
    model.remove()
    model = trained_like(wrapped(plain))
    model.save_pretrained(tmp_path / "kept")
    return model.remove(), tmp_path


def refuses(network, folder, says="other weights"):
    with pytest.raises(ResonanceError, match=says) as caught:
        load_resonance(network, folder)
    assert "\n" not in str(caught.value)
    assert "strict=False" in str(caught.value)


def ignored(network):
    """A shell around a network brings a warning, which is another test's."""
    return pytest.warns(ResonanceWarning, match="taken off") if not isinstance(network, Plain) else nullcontext()


SAME = {
    "itself": lambda net: net,
    "a copy": copy.deepcopy,
    "float16": lambda net: copy.deepcopy(net).half(),
    "bfloat16": lambda net: copy.deepcopy(net).bfloat16(),
    "bfloat16 and back": lambda net: copy.deepcopy(net).bfloat16().float(),
    "float64": lambda net: copy.deepcopy(net).double(),
    "channels last": lambda net: copy.deepcopy(net).to(memory_format=torch.channels_last),
    "compiled": lambda net: torch.compile(copy.deepcopy(net), backend="eager"),
    "parallel": lambda net: nn.DataParallel(copy.deepcopy(net)),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_weights_in_another_form_are_the_same(saved, name):
    network, folder = saved
    other = SAME[name](network)
    with ignored(other):
        model = load_resonance(other, folder / "kept")
    assert model.remove() is other


def counted(net):
    net.middle[1].num_batches_tracked += 7


def fine_tuned(net):
    for parameter in net.parameters():
        parameter.data += 1e-4 * torch.randn_like(parameter)


def norms_tuned(net):
    net.middle[1].weight.data *= 1.0003


def biases_tuned(net):
    net.early.bias.data += 1e-5


def statistics_moved(net):
    net.middle[1].running_mean += 0.01


@pytest.mark.parametrize("change", [fine_tuned, norms_tuned, biases_tuned, statistics_moved])
def test_other_weights_are_refused_unless_asked_for(saved, change):
    network, folder = saved
    change(other := copy.deepcopy(network))
    flags = [parameter.requires_grad for parameter in other.parameters()]
    refuses(other, folder / "kept")
    assert [parameter.requires_grad for parameter in other.parameters()] == flags
    with pytest.warns(ResonanceWarning, match="other weights"):
        load_resonance(other, folder / "kept", strict=False)
    if change is fine_tuned:
        refuses(other.bfloat16(), folder / "kept")


def test_another_seed_is_refused_by_every_way_of_loading(saved):
    folder = saved[1] / "kept"
    refuses(Plain(), folder)
    model = wrapped(Plain())
    for load in (partial(model.load_adapter, folder, "other"), partial(model.start_from, folder)):
        with pytest.raises(ResonanceError, match="other weights"):
            load()
        with pytest.warns(ResonanceWarning, match="other weights"):
            load(strict=False)


def test_a_counter_and_a_replaced_classifier_do_not_matter(saved):
    network, folder = saved
    counted(other := copy.deepcopy(network))
    load_resonance(other, folder / "kept").remove()
    nn.init.normal_(other.answer.weight)
    load_resonance(other, folder / "own").remove()
    other.answer = nn.Linear(12, 9)
    load_resonance(other, folder / "own").remove()
    refuses(other, folder / "kept", "another architecture")


def test_float16_and_bfloat16_of_one_network_are_the_same(saved):
    network, _ = saved
    half, bfloat = copy.deepcopy(network).half(), copy.deepcopy(network).bfloat16()
    assert difference(fingerprint(half, None), bfloat, None) is None
    assert difference(fingerprint(bfloat, None), half, None) is None
    half.late[0].weight.data *= 1.1
    assert "late" in difference(fingerprint(bfloat, None), half, None)


def test_the_fingerprint_of_a_tuned_backbone_is_that_of_its_tuned_weights(plain, tmp_path):
    before = copy.deepcopy(plain)
    model = wrapped(plain)
    model.unfreeze_backbone()
    model(images()).square().sum().backward()
    torch.optim.SGD(model.trainable_parameters(), 1e-3).step()
    model.save_pretrained(tmp_path)
    refuses(before, tmp_path)
    load_resonance(model.remove(), tmp_path)


def test_files_without_a_fingerprint_load_and_damaged_ones_say_so(saved):
    network, folder = saved
    path = folder / "kept" / "resonance.json"
    description = json.loads(path.read_text())
    for damaged in ("x", {}, {"architecture": description["backbone"]["architecture"], "weights": "%%"}):
        path.write_text(json.dumps(description | {"backbone": damaged}))
        refuses(network, folder / "kept", "cannot be read|differ")
    del description["backbone"]
    path.write_text(json.dumps(description))
    load_resonance(Plain(), folder / "kept")


def test_a_network_without_values_has_no_fingerprint():
    with torch.device("meta"):
        assert fingerprint(Plain(), None) is None
    assert fingerprint(nn.Sequential(nn.ReLU()), None) is None


def test_scripted_networks_are_refused_when_they_are_wrapped():
    for scripted in (torch.jit.script(Plain().eval()), torch.jit.trace(Plain().eval(), images())):
        with pytest.raises(ResonanceError, match="torch.jit"):
            wrap_with_resonance(scripted, PLAIN_TAPS, example_input=images())


def test_a_served_arm_on_other_weights_is_one_line(saved):
    from dynaxx.evaluation import EvaluationError
    from dynaxx.evaluation.arms import load_arm
    from dynaxx.evaluation.arms.record import ArmRecord

    network, folder = saved
    ArmRecord("explicit", 0, "resonance", PLAIN_TAPS, 1, 1, 0.0, 0.5, {}).write(folder / "kept")
    load_arm(folder / "kept", network)
    with pytest.raises(EvaluationError, match="other weights"):
        load_arm(folder / "kept", Plain())
