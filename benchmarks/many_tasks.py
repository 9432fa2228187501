"""Many tasks on one backbone: all adapters from one pass, against a pass for each, and against LoRA switched."""

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.arms import BARE, count_trainable, resonant
from benchmarks.bars import Bar, Spread, ratio
from benchmarks.measure import judged, timed
from benchmarks.networks import NETWORKS, Case
from benchmarks.results import ArmResult, Section
from benchmarks.rivals import lora
from dynaxx import ResonantModel

FEW, MANY = 10, 100
KINDS: dict[str, dict[str, Any]] = {
    "explicit T=5": {"T": 5},
    "explicit T=5 on means": {"T": 5, "readout": "mean"},
    "implicit": {"mode": "implicit"},
    "direct on means": {"mode": "direct", "readout": "mean"},
}
"""The options of the adapters by kind; unless they read means, their heads stand in the classifier's place."""
MANY_KINDS = ("explicit T=5", "explicit T=5 on means")
CLASSES = (2, 10)
"""Fewest and most outputs of a task; the tasks take them in turn."""
FEW_BAR, MANY_BAR = 1.25, 3.0
ROUNDS = 5


def one_pass(count: int, kind: str) -> str:
    """Name of the arm that runs `count` adapters in one pass."""
    return f"{count} × {kind}, one pass"


class OnePass(nn.Module):
    """All adapters of a model from one pass of the backbone."""

    def __init__(self, model: ResonantModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> dict[str, Any]:
        """The outputs by name."""
        return self.model.run_adapters(x)


class InTurn(nn.Module):
    """A pass for each adapter, which is switched to before.

    Args:
        model: a resonant model, or peft's, whose adapters are switched by `set_adapter`.
        names: names of the adapters.
    """

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, x: Tensor) -> dict[str, Any]:
        """The outputs by name."""
        found = {}
        for name in self.names:
            self.model.set_adapter(name)
            found[name] = self.model(x)
        return found


def adapters(case: Case, backbone: nn.Module, x: Tensor, count: int, **options: Any) -> ResonantModel:
    """A model with `count` adapters of a kind, each with parameters, statistics and a number of classes of its own."""
    fewest, most = CLASSES
    options = {"layers": NETWORKS[case.network].layers, "rank": case.rank} | options
    tasks = range(min(count, most - fewest + 1))
    model: ResonantModel | None = None
    with tempfile.TemporaryDirectory() as folder:
        for number in tasks:  # a saved adapter is loaded in a fraction of the time in which one is made
            resonant(backbone, x, num_classes=fewest + number, **options).save_pretrained(f"{folder}/{number}")
        for number in range(count):
            saved = f"{folder}/{number % len(tasks)}"
            if model is None:
                model = resonant(backbone, x, num_classes=fewest, **options)
            else:
                model.load_adapter(saved, str(number))
    assert model is not None
    for name in model.adapters:
        _move(model, name)
    return model.to(x).eval()


@torch.no_grad()
def _move(model: ResonantModel, name: str) -> None:
    """Move parameters and statistics a little, as data of another task would."""
    adapter = model.adapters.named(name)
    for parameter in adapter.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.01)
    statistics = adapter.require_built().exchange.statistics
    taps = [(statistics.mean(tap), statistics.std(tap)) for tap in range(len(adapter.taps))]
    statistics.set([(mean + 0.1 * std * torch.randn_like(std), std) for mean, std in taps])


def lora_adapters(backbone: nn.Module, parameters: int, count: int) -> InTurn:
    """A copy of the backbone with `count` of peft's LoRA adapters of this many parameters."""
    model: Any = lora(backbone, parameters)
    names = ["default", *(str(number) for number in range(1, count))]
    for name in names[1:]:
        model.add_adapter(name, model.peft_config["default"])
    return InTurn(model, names)


def bars(few: int, many: int) -> list[Bar]:
    """The bars on the time of one pass for all, in passes of the bare backbone."""
    return [ratio(one_pass(few, kind), BARE, FEW_BAR) for kind in KINDS] + [
        ratio(one_pass(many, kind), BARE, MANY_BAR) for kind in MANY_KINDS
    ]


def many_tasks(case: Case, budget: float, few: int = FEW, many: int = MANY) -> Section:
    """Time all arms in turn; for `budget` see `measure.timed`."""
    x, backbone = case.images(), case.backbone()
    models: dict[str, nn.Module] = {BARE: backbone}
    for kind, options in KINDS.items():
        models[one_pass(few, kind)] = OnePass(adapters(case, backbone, x, few, **options))
    for kind in MANY_KINDS:
        models[one_pass(many, kind)] = OnePass(adapters(case, backbone, x, many, **KINDS[kind]))
    own = adapters(case, backbone, x, few, **KINDS["explicit T=5"])
    models[f"{few} × explicit T=5, a pass each"] = InTurn(own, list(own.adapters))
    skipped: dict[str, str] = {}
    rival, name = partial(lora_adapters, backbone, count_trainable(own), few), f"{few} × LoRA, peft, switched"
    _add(models, skipped, name, lambda: rival().to(x))
    seconds = timed({name: model.eval() for name, model in models.items()}, x, budget, ROUNDS, ROUNDS)
    verdicts, profiles = judged(bars(few, many), seconds, models, x)
    rows = [
        ArmResult(name, Spread.of(1e3 * times), Spread.of(times / seconds[BARE])) for name, times in seconds.items()
    ]
    return Section(f"many tasks, {case.title}", BARE, len(seconds[BARE]), rows, verdicts, skipped, profiles)


def _add(models: dict[str, nn.Module], skipped: dict[str, str], name: str, make: Callable[[], nn.Module]) -> None:
    try:
        models[name] = make()
    except ImportError as error:
        skipped[name] = str(error)
