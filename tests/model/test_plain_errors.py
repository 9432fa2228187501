"""Bad input is one line that names the argument and what would do, and leaves everything as it was."""

import numpy
import pytest
import torch
from support.checks import refused
from support.nets import PLAIN_TAPS, Plain, images, trained_like, wrapped
from torch import nn

from dynaxx import ResonanceWarning, load_resonance, wrap_with_resonance


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (images()[:, :2], "(3, 2, 16, 16) float32"),
        (images().half(), "(3, 3, 16, 16) float16"),
        ({"x": images(), "size": 3}, "x (3, 3, 16, 16)"),
        ((images(), images()), "(3, 3, 16, 16) float32, (3, 3, 16, 16) float32"),
        (torch.zeros(3, 16), "(3, 16) float32"),
        (torch.zeros(1, 3, 16, 16, device="meta"), "(1, 3, 16, 16)"),
        ("cat.jpg", "str holds no tensor"),
        (numpy.zeros((1, 3, 16, 16)), "ndarray holds no tensor"),
        ([3, 16, 16], "list holds no tensor"),
        ({}, "dict holds no tensor"),
    ],
)
def test_an_example_that_the_network_does_not_take(plain, example, says):
    before = [parameter.requires_grad for parameter in plain.parameters()]
    refused(lambda: wrap_with_resonance(plain, PLAIN_TAPS, example_input=example), "example_input", says)
    assert [parameter.requires_grad for parameter in plain.parameters()] == before
    refused(lambda: wrapped(plain).add_adapter("second", PLAIN_TAPS, example_input="cat.jpg"), "example_input")


@pytest.mark.parametrize("classes", [0, -1, "ten", True, 2.0])
def test_a_number_of_classes_that_is_none(plain, classes):
    refused(lambda: wrapped(plain, num_classes=classes), "num_classes", repr(classes))


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([1, 2], "int holds no tensor"),
        (["a"], "str holds no tensor"),
        ([()], "tuple holds no tensor"),
        ([], "there is none"),
        ((batch for batch in ()), "there is none"),
        (images(), "one Tensor is given"),
        ({"x": images()}, "one dict is given"),
        ("abc", "one str is given"),
        (None, "batches=None"),
        (7, "batches=7"),
        ([images().to("meta")], "where the model is"),
        ([images() * float("nan")], "no finite sample"),
    ],
)
def test_batches_that_are_none(plain, batches, says):
    model = wrapped(plain)
    refused(lambda: model.fit_statistics(batches), "batches", says)
    assert not model.resonator.exchange.statistics.fitted
    if says not in ("there is none", "no finite sample"):
        refused(lambda: model.calibrate(batches), "loader")


def test_a_generator_and_a_loader_of_lists_are_read(plain):
    model, x = wrapped(plain), images(batch=8)
    model.fit_statistics(batch for batch in x.split(3))
    expected = model.resonator.exchange.statistics.mean(0).clone()
    model.fit_statistics(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=5))
    torch.testing.assert_close(model.resonator.exchange.statistics.mean(0), expected)


def test_samples_that_are_not_finite_are_counted(plain):
    model, x = wrapped(plain), images(batch=8)
    spoilt = x.clone()
    spoilt[[1, 6], 0, 0, 0] = float("inf")
    with pytest.warns(ResonanceWarning, match="2 of 8 samples are not finite"):
        model.fit_statistics(spoilt.split(4))
    found = model.resonator.exchange.statistics.mean(1).clone()
    model.fit_statistics([x[[0, 2, 3, 4, 5, 7]]])
    torch.testing.assert_close(model.resonator.exchange.statistics.mean(1), found)


class Two(Plain):
    def forward(self, x, shift):
        return super().forward(x + shift)


def test_a_tuple_of_inputs_is_positional_in_batches_as_in_the_example():
    model = wrap_with_resonance(Two().eval(), PLAIN_TAPS, rank=2, example_input=(images(), images()))
    model.fit_statistics([((images(), images()), torch.tensor([0, 1, 2]))])
    assert model.calibrate([((images(), images()), torch.tensor([0, 1, 2]))]).metric == "accuracy"


def test_a_folder_that_is_a_file(plain, tmp_path):
    (tmp_path / "file").write_text("mine")
    model = wrapped(plain)
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        refused(lambda path=path: model.save_pretrained(path), "directory", "a file is in the way")
    refused(lambda: load_resonance(model.backbone, tmp_path / "file"), "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_override_that_changes_nothing_is_said(plain):
    model = trained_like(wrapped(plain, mode="implicit"))
    with pytest.warns(ResonanceWarning, match=r"override\(T=9\): mode='implicit' runs no loop"), model.override(T=9):
        pass
    with model.override(T=9, mode="explicit"), model.override(T=2):
        pass
    with pytest.warns(ResonanceWarning, match="mode='implicit'"), model.override(mode="implicit", tolerance=0.1):
        pass
    linear = wrapped(Plain(), activation="identity", depthwise=False)
    linear.fold()
    with pytest.warns(ResonanceWarning, match="mode='folded'"), linear.override(solver="anderson"):
        pass


@pytest.mark.parametrize("base", [None, "resnet18", Plain])
def test_what_is_no_network(base):
    refused(lambda: wrap_with_resonance(base, PLAIN_TAPS), "base_model")
    refused(lambda: load_resonance(base, "nowhere"), "base_model")


def test_a_resonant_model_in_a_shell_is_resonant_already(plain):
    model = wrapped(plain)
    with pytest.warns(ResonanceWarning, match="taken off"):
        refused(lambda: wrap_with_resonance(nn.DataParallel(model), PLAIN_TAPS), "resonant already")
