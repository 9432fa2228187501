"""The selection finds the layer that knows what the last one lost, and says why."""

import json
from dataclasses import replace

import pytest
import torch
from support.selection_nets import Forgetful, images

from dynaxx import ResonanceError
from dynaxx.data import LabelledImages, Normalisation
from dynaxx.selection import LAST, Score, candidates, choose, select_layers
from dynaxx.tasks import Classification, Metric, PromptedSegmentation, Regression, Segmentation, TaskError
from dynaxx.training.small_resnet import SmallResNet

OPTIONS = {"T": 2, "rank": 2}
ACCURACY, NORMALISATION = Metric("accuracy"), Normalisation((0.5,), (0.25,))


class Unlabelled(Classification):
    """A kind without labels to train on."""

    def coded(self, labels, outputs, grid=()):
        return None


def score(tap, gain, error=0.01, redundancy=0.5, value=0.5, bits=0.1):
    return Score(tap, 8, value, gain, error, redundancy, bits, 0.0)


def selected(kind, data, net=None, **changes):
    options = {"layers": "auto", "taps": 2, "folds": 3, "max_images": 100, "seed": 0, "options": OPTIONS} | changes
    return select_layers(kind, (net or Forgetful()).eval(), data, NORMALISATION, **options)


def test_the_best_of_each_part_and_the_last_that_the_output_is_read_behind():
    gains = {"a": 0.0, "b": 0.1, "c": 0.2, "d": 0.05, "e": 0.3, "f": 0.0}
    choice = choose([score(*item) for item in gains.items()], 3, ACCURACY)
    assert choice.chosen == ["b", "c", "f"]
    assert "b (best of 2 in its part of the depth: probe gain +10.0 ± 1.0 points of accuracy" in choice.reason
    assert "f (the output is read behind it)" in choice.reason


def test_heads_that_read_the_taps_alone_have_in_the_last_place_what_knows_most():
    scores = [score("a", 0.1), score("b", 0.2), score("c", 0.3, value=0.9), score("d", 0.0, value=0.6)]
    assert choose(scores, 2, ACCURACY, behind=False).chosen == ["b", "c"]
    # values within one standard error are equal, and bits decide
    scores = [score("a", 0.1), score("b", 0.2), score("c", 0.3, value=0.605), score("d", 0.0, value=0.6, bits=0.2)]
    choice = choose(scores, 2, ACCURACY, behind=False)
    assert choice.chosen == ["b", "d"]
    assert "d (best of 2 in its part of the depth, in the last layer's place: alone accuracy 60.0 %)" in choice.reason


def test_errors_are_better_the_smaller_and_told_in_their_unit():
    rmse = Metric("rmse", higher_is_better=False, root=True, unit="mm")
    scores = [score("a", 0.25, 0.05), score("b", 0.1), score("c", 0.3, value=0.5), score("d", 0.0, value=0.8)]
    choice = choose(scores, 2, rmse, behind=False)
    assert choice.chosen == ["a", "c"]
    assert "probe gain +0.25 ± 0.05 mm of RMSE" in choice.reason
    assert "alone RMSE 0.5 mm" in choice.reason


def test_within_one_standard_error_the_least_redundant_wins():
    scores = [score("a", 0.10, 0.02, 0.9), score("b", 0.09, 0.02, 0.2), score("c", 0.0), score("d", 0.0)]
    assert choose(scores, 2, ACCURACY).chosen == ["b", "d"]


@pytest.mark.parametrize(("taps", "says"), [(1, "at least 2"), (4, "only 3 layers")])
def test_impossible_numbers_of_taps(taps, says):
    with pytest.raises(ResonanceError, match=says):
        choose([score("a", 0), score("b", 0), score("c", 0)], taps, ACCURACY)


def test_an_early_layer_that_knows_the_class_gains_and_is_chosen(tmp_path):
    selection = selected(Classification(), images(120))
    by_tap = {s.tap: s for s in selection.candidates}
    assert selection.chosen[0] == "parts.1"
    assert by_tap["parts.1"].probe_gain > 0.3 > by_tap["parts.3"].probe_gain
    assert by_tap["parts.1"].value > 0.95
    assert by_tap["parts.1"].mutual_information > 0.9 > 0.1 > by_tap["parts.3"].mutual_information
    assert by_tap["parts.1"].channels == 4
    selection.write(tmp_path / "s.json")
    written = json.loads((tmp_path / "s.json").read_text())
    assert (written["chosen"], written["metric"]["name"]) == (selection.chosen, "accuracy")
    assert [row["tap"] for row in written["candidates"]] == list(by_tap)


def test_the_last_layer_is_taken_where_the_head_stands_behind_it():
    selection = selected(Classification(), images(120), options=OPTIONS | {"readout": "classifier"})
    assert selection.chosen == ["parts.1", "parts.3"]
    assert selection.candidates[0].overhead > 0
    assert selection.overhead > 0


def test_an_early_layer_that_knows_the_number_gains_in_its_unit():
    data = images(120)
    amount = torch.rand(len(data), generator=torch.Generator().manual_seed(1))
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1
    noise = torch.randint(-10, 10, (120, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    pixels = (128 + 100 * amount[:, None, None, None] * board + noise).clamp(0, 255).to(torch.uint8)
    numbered = LabelledImages(pixels, 10 * amount[:, None], ("size",), groups=tuple(str(n // 4) for n in range(120)))
    selection = selected(Regression(unit="mm"), numbered)
    first, *_, last = selection.candidates
    assert selection.chosen[0] == "parts.1"
    assert first.value < 0.5 < 2 < last.value  # the deviation of the numbers is 2.9
    assert first.probe_gain > 2 > 3 * first.standard_error > 0
    assert first.mutual_information > 2 > 0.2 > last.mutual_information
    assert "mm of RMSE" in selection.reason


def test_an_early_layer_that_knows_the_places_gains_in_iou():
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(60, 8, 8, dtype=torch.uint8)
    for one, (row, column) in zip(mask, torch.randint(0, 3, (60, 2), generator=generator).tolist(), strict=True):
        one[2 * row : 2 * row + 4, 2 * column : 2 * column + 4] = 1
    pixels = (100 + 80 * mask[:, None] + torch.randint(-20, 20, (60, 1, 8, 8), generator=generator)).to(torch.uint8)
    data = LabelledImages(pixels, mask, ("background", "thing"))
    selection = selected(Segmentation(), data, options=OPTIONS | {"grid": (4, 4)})
    first, *_, last = selection.candidates
    assert selection.chosen[0] == "parts.1"
    assert first.value > 0.9 > 0.6 > last.value
    assert first.probe_gain > 0.3
    assert (last.probe_gain, last.redundancy) == (0.0, 1.0)  # it is the last layer here
    assert first.mutual_information > 0.5 > 0.1 > last.mutual_information
    assert "points of IoU" in selection.reason


def test_without_labels_redundancy_alone_decides():
    selection = selected(Unlabelled(), images(60), options=OPTIONS | {"readout": "classifier"})
    assert [s.probe_gain for s in selection.candidates] == [None] * 3
    assert selection.chosen[-1] == "parts.3"
    assert "probe gain" not in selection.reason


@pytest.mark.parametrize("most", [100, 40])
def test_the_order_of_the_images_changes_nothing(most):
    data = replace(images(60), groups=tuple(str(number // 3) for number in range(60)))
    shuffled = data.subset(torch.randperm(60, generator=torch.Generator().manual_seed(3)))
    assert selected(Classification(), data, max_images=most) == selected(Classification(), shuffled, max_images=most)


def test_given_features_are_those_of_the_images_in_any_order():
    data = images(60)
    known = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    known[:, 0] += 3 * data.labels
    noise = {path: torch.randn(60, 6, generator=torch.Generator().manual_seed(1)) for path in ("parts.2", "parts.3")}
    features = {"parts.1": known, LAST: noise["parts.3"], **noise}
    found = selected(Classification(), data, features=features)
    assert found.candidates[0].value > 0.85 > 0.7 > found.candidates[2].value
    order = torch.randperm(60, generator=torch.Generator().manual_seed(4))
    again = selected(Classification(), data.subset(order), features={path: x[order] for path, x in features.items()})
    assert again == found
    with pytest.raises(ResonanceError, match="features: 'parts.2' is missing"):
        selected(Classification(), data, features={"parts.1": known})


def test_bad_input_is_one_line():
    with pytest.raises(TaskError, match="task=regression: the labels are no numbers"):
        selected(Regression(), images(60))
    with pytest.raises(ResonanceError, match=r"select.folds=3: there are 2 groups, .*give 2 folds"):
        selected(Classification(), replace(images(60), groups=tuple(str(number // 30) for number in range(60))))
    broken = {path: torch.full((60, 4), torch.nan) for path in ("parts.1", "parts.2", "parts.3", LAST)}
    with pytest.raises(ResonanceError, match=r"features\['parts.1'\]: is not finite"):
        selected(Classification(), images(60), features=broken)


def test_given_layers_are_taken_and_scored_all_the_same():
    selection = selected(Classification(), images(60), SmallResNet(3, 1, (4, 6, 8), 1), layers=[1, 3], taps=3)
    assert selection.chosen == ["layer1", "layer3"]
    assert len(selection.candidates) == 2


def test_candidates_leave_out_stem_and_classifier():
    assert candidates(SmallResNet(3, 1), torch.zeros(1, 1, 8, 8)) == ["layer1", "layer2", "layer3"]
    assert candidates(Forgetful(), torch.zeros(1, 1, 8, 8)) == ["parts.1", "parts.2", "parts.3"]
    with pytest.raises(ResonanceError, match="select.layers"):
        candidates(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)), torch.zeros(1, 1, 8, 8))


class Headed(torch.nn.Module):
    """A network whose classifier reads the mean of a map behind its last stage."""

    def __init__(self, behind):
        super().__init__()
        self.blocks = torch.nn.Sequential(*(torch.nn.Conv2d(n, n + 1, 3, padding=1) for n in (1, 2, 3, 4)))
        self.behind = behind
        self.fc = torch.nn.Linear(7 if len(behind) else 5, 2)

    def forward(self, x):
        return self.fc(self.behind(self.blocks(x)).mean((2, 3)))


def test_the_map_that_the_classifier_reads_is_a_candidate_where_means_of_taps_are_read():
    widened = torch.nn.Sequential(torch.nn.Conv2d(5, 7, 1), torch.nn.Sequential(torch.nn.GELU()))
    net, example = Headed(widened).eval(), torch.zeros(1, 1, 8, 8)
    known = candidates(net, example)
    for readout in ("mean", "moments"):
        assert candidates(net, example, readout) == [*known, "behind"]  # of equals the outermost
    for readout in ("classifier", "map"):
        assert candidates(net, example, readout) == known
    alone = Headed(torch.nn.Sequential()).eval()
    assert candidates(alone, example, "mean") == candidates(alone, example)  # its last stage is what is read


def test_what_comes_behind_the_last_stage_is_in_the_last_part():
    scores = [score(name, 0.1) for name in "abcd"] + [score("behind", 0.0, value=0.9)]
    assert choose(scores, 2, ACCURACY, behind=False, deep=1).chosen == ["a", "behind"]
    assert "best of 3 in its part" in choose(scores, 2, ACCURACY, behind=False, deep=1).reason
    # it does not move where the depth is cut: of seven stages the fifth is in the last part
    gains = [score(name, 0.3 if name == "e" else 0.1, value=0.9 if name == "e" else 0.5) for name in "abcdefg"]
    with_it = choose([*gains, score("behind", 0.0)], 3, ACCURACY, behind=False, deep=1).chosen
    assert with_it == choose(gains, 3, ACCURACY, behind=False).chosen
    assert with_it[-1] == "e"


def test_sources_are_read_beside_the_last_layer():
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 2, (40, 4, 4), generator=generator, dtype=torch.uint8)
    mask = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    pixels = torch.randint(0, 255, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    blind = LabelledImages(pixels, mask, ("background", "thing"))
    pointed = replace(blind, sources={"click": mask[:, None].float()})
    grid = OPTIONS | {"grid": (4, 4)}
    values = [
        selected(kind, data, options=grid).candidates[0].value
        for kind, data in ((Segmentation(), blind), (PromptedSegmentation(), pointed))
    ]
    assert values[0] < 0.6
    assert values[1] > 0.95  # the click tells all, whatever the layers know
