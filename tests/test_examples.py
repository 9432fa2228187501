"""The examples in the docstrings of the core give what they show."""

import copy
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

import dynaxx
from dynaxx import ResonanceConfig, wrap_with_resonance

PACKAGES = ("fixed_point", "resonance", "backbone", "model")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

MODULES = [
    f"dynaxx.{package}.{module.name}"
    for package in PACKAGES
    for module in pkgutil.iter_modules(importlib.import_module(f"dynaxx.{package}").__path__)
]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, object]:
    """What the examples take as given."""
    torch.manual_seed(0)
    folder, images = str(tmp_path_factory.mktemp("examples") / "adapter"), torch.randn(2, 3, 64, 64)
    network = torchvision.models.resnet18().eval()
    model = wrap_with_resonance(copy.deepcopy(network), T=3, rank=2, example_input=images)
    model.save_pretrained(folder)
    given = {"folder": folder, "images": images, "x": images, "y": torch.tensor([1, 2]), "network": network}
    given |= {"model": model, "train_loader": [images], "cross_entropy": nn.functional.cross_entropy}
    libraries = {"torch": torch, "torchvision": torchvision, "timm": timm, "nn": nn}
    return given | libraries | {"ResonanceConfig": ResonanceConfig, "dynaxx": dynaxx}


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name, names, monkeypatch):
    monkeypatch.chdir(Path(names["folder"]).parent)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    output: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs=vars(module) | names):
        runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)
