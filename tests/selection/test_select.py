"""The selection finds the layer that knows what the last one lost, and says why."""

import json

import numpy as np
import pytest
import torch
from support.selection_nets import Forgetful, images

from dynaxx import ResonanceError
from dynaxx.data import Normalisation
from dynaxx.selection import Score, candidates, choose, select_layers
from dynaxx.selection.scores import mutual_information
from dynaxx.training.small_resnet import SmallResNet

OPTIONS = {"T": 2, "rank": 2}


def score(tap, gain, error=0.01, redundancy=0.5):
    return Score(tap, 8, gain, error, redundancy, 0.1, 0.0)


def test_the_best_of_each_part_and_always_the_last():
    scores = [
        score("a", 0.0),
        score("b", 0.1),
        score("c", 0.2),
        score("d", 0.05),
        score("e", 0.0),
        score("f", 0.0),
    ]
    choice = choose(scores, 3)
    assert choice.chosen == ["b", "c", "f"]
    assert "b (best of 2" in choice.reason


def test_within_one_standard_error_the_least_redundant_wins():
    scores = [score("a", 0.10, 0.02, 0.9), score("b", 0.09, 0.02, 0.2), score("c", 0.0), score("d", 0.0)]
    assert choose(scores, 2).chosen == ["b", "d"]


@pytest.mark.parametrize(("taps", "says"), [(1, "at least 2"), (4, "only 3 layers")])
def test_impossible_numbers_of_taps(taps, says):
    with pytest.raises(ResonanceError, match=says):
        choose([score("a", 0), score("b", 0), score("c", 0)], taps)


def test_mutual_information_by_hand():
    labels = np.array([0, 1] * 50)
    assert mutual_information(np.full((100, 2), 0.5), labels) == pytest.approx(0.0)
    perfect = np.eye(2)[labels]
    assert mutual_information(perfect, labels) == pytest.approx(1.0)


def test_an_early_layer_that_knows_the_label_gains_and_is_chosen(tmp_path):
    data = images(120)
    selection = select_layers(
        Forgetful().eval(),
        data,
        Normalisation((0.5,), (0.25,)),
        layers="auto",
        taps=2,
        folds=3,
        max_images=100,
        seed=0,
        options=OPTIONS,
    )
    by_tap = {s.tap: s for s in selection.candidates}
    assert selection.chosen == ["parts.1", "parts.3"]
    assert by_tap["parts.1"].probe_gain > 0.3 > by_tap["parts.3"].probe_gain
    assert by_tap["parts.1"].mutual_information > by_tap["parts.3"].mutual_information
    assert by_tap["parts.1"].overhead > 0
    assert selection.overhead > 0
    selection.write(tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["chosen"] == selection.chosen


def test_given_layers_are_taken_and_scored_all_the_same():
    selection = select_layers(
        SmallResNet(3, 1, (4, 6, 8), 1).eval(),
        images(60),
        Normalisation((0.5,), (0.25,)),
        layers=[1, 3],
        taps=3,
        folds=3,
        max_images=60,
        seed=0,
        options=OPTIONS,
    )
    assert selection.chosen == ["layer1", "layer3"]
    assert len(selection.candidates) == 2


def test_candidates_leave_out_stem_and_classifier():
    assert candidates(SmallResNet(3, 1), torch.zeros(1, 1, 8, 8)) == ["layer1", "layer2", "layer3"]
    assert candidates(Forgetful(), torch.zeros(1, 1, 8, 8)) == ["parts.1", "parts.2", "parts.3"]
    with pytest.raises(ResonanceError, match="select.layers"):
        candidates(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)), torch.zeros(1, 1, 8, 8))
