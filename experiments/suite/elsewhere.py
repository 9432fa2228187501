"""Trained arms on samples of another kind than they were trained on: larger crops, longer lines, more iterations."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.data import LabelledImages
from dynaxx.evaluation import Judge
from dynaxx.evaluation.arms import Task, load_arm
from experiments.suite.cases import Case, Elsewhere
from pipelines.common.source import open_source

SAVED = "resonance.json"


@lru_cache
def samples(case: Case, there: Elsewhere, data: Path | None) -> LabelledImages:
    """The test samples there.

    >>> len(samples(CASES["lines-16"], CASES["lines-16"].elsewhere[0], None))  # doctest: +SKIP
    320
    """
    found = open_source(replace(case, overrides=(*case.overrides, *there.overrides)).params(data).data)
    return found.test()


def about(case: Case, data: Path | None) -> dict[str, dict[str, list[object]]]:
    """Group and foreground pixels of each sample, by the name of where it is.

    >>> about(CASES["digits-600"], None)
    {}
    """
    found: dict[str, dict[str, list[object]]] = {}
    for there in case.elsewhere:
        tested = samples(case, there, data)
        areas: Tensor = (tested.labels > 0).flatten(1).sum(1)
        found[there.name] = {"groups": list(tested.groups), "areas": areas.tolist()}
    return found


def scored(folder: Path, task: Task, case: Case, judge: Judge, data: Path | None) -> Iterator[tuple[str, Tensor]]:
    """Name and scores (N,) of the arm in `folder` wherever the case is also tested."""
    for there in case.elsewhere:
        model = on_grid(folder, task.backbone(), there.grid)
        loops = isinstance(model, ResonantModel) and model.T > 1 and model.config.way(training=False) == "loop"
        there_judge = judge.of(samples(case, there, data))
        for name, T in there.runs(loops):
            if T is not None:
                assert isinstance(model, ResonantModel)
                model.T = T
            output = there_judge.outputs(model)
            yield name, judge.kind.scores(output, there_judge.data.labels)


def on_grid(folder: Path, backbone: nn.Module, grid: tuple[int, int] | None) -> nn.Module:
    """The trained arm in `folder` with another grid of messages; couplings know nothing of its size."""
    if grid is None or not (folder / SAVED).exists():
        return load_arm(folder, backbone)
    with tempfile.TemporaryDirectory() as place:
        there = shutil.copytree(folder, Path(place) / "arm")
        text = json.loads((there / SAVED).read_text())
        text["config"]["grid"] = list(grid)
        (there / SAVED).write_text(json.dumps(text))
        return load_arm(there, backbone)
