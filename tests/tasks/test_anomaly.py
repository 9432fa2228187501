"""The task kind `anomaly`: the score of an image, measures by pairs counted one by one, pictures and refusals."""

import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.metrics import roc_auc_score

from dynaxx.data import LabelledImages
from dynaxx.tasks import KINDS, Anomaly, Examples, LinearOptions, TaskError, area, kind_of

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def data(regions: bool = True) -> LabelledImages:
    where = torch.zeros(6, 4, 4, dtype=torch.uint8)
    where[3:, :2, 1] = 1
    pixels = torch.zeros(6, 3, 4, 4, dtype=torch.uint8)
    return LabelledImages(pixels, LABELS, ("good", "crack", "hole"), regions=where if regions else None)


@given(seed=st.integers(0, 999), top=st.sampled_from([0.0, 0.2, 1.0]))
def test_it_is_the_share_of_pairs_ranked_rightly(seed, top):
    maps = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    kind = Anomaly(top=top)
    count = max(1, round(16 * top))
    maps[4] = maps[1]  # a tie
    scores = [sum(sorted(image.flatten().tolist())[-count:]) / count for image in maps]
    pairs = [(good, bad) for good in scores[:3] for bad in scores[3:]]
    expected = sum(1.0 if good < bad - 1e-5 else 0.5 if good < bad + 1e-5 else 0.0 for good, bad in pairs) / len(pairs)
    assert kind.value(maps, LABELS) == pytest.approx(expected)
    assert float(kind.influence(kind.scores(maps, LABELS), LABELS).mean()) == pytest.approx(expected)


@given(seed=st.integers(0, 999))
def test_measures_are_scikit_learns(seed):
    maps = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    found, images, evidence = Anomaly().measures(maps, data()), data(), maps.amax((1, 2, 3))
    assert found.pop("auroc") == pytest.approx(roc_auc_score(LABELS > 0, evidence))
    assert found.pop("auroc_crack") == pytest.approx(roc_auc_score((LABELS > 0)[:5], evidence[:5]))
    assert found.pop("auroc_hole") == pytest.approx(roc_auc_score([0, 0, 0, 1], evidence[[0, 1, 2, 5]]))
    assert found.pop("pixel_auroc") == pytest.approx(roc_auc_score(images.regions.flatten(), maps.flatten()))
    assert found == {}
    assert "pixel_auroc" not in Anomaly().measures(maps, data(regions=False))


def test_an_image_of_infinite_evidence_is_the_strangest():
    evidence = torch.tensor([0.0, 1.0, torch.inf, 0.5])
    assert area(evidence, torch.tensor([False, False, True, False])) == 1.0
    maps = evidence.view(4, 1, 1, 1)
    assert Anomaly(top=1.0).value(maps, torch.tensor([0, 0, 1, 1])) == 0.75
    assert Anomaly().predictions(maps).flatten().tolist() == [0, 1, 1, 1]


def test_the_answer_is_a_mask_and_is_drawn_as_one():
    maps = torch.full((1, 1, 4, 4), -1.0)
    maps[0, 0, 1, 2] = 3.0
    (answer,) = Anomaly().predictions(maps)
    picture = Anomaly().drawn(torch.full((3, 4, 4), 100, dtype=torch.uint8), answer)
    assert (picture != 100).any(2).nonzero().tolist() == [[1, 2]]
    assert Anomaly().drawn(torch.zeros(3, 4, 4, dtype=torch.uint8), torch.tensor(1)) is None


def test_no_label_is_learned_from():
    assert [name for name, kind in KINDS.items() if not kind.labelled] == ["anomaly"]
    kind, x = kind_of("anomaly", {"top": 0.1}), Examples(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(TaskError, match="no label is learned from"):
        kind.loss(torch.zeros(1, 1, 2, 2), torch.zeros(1))
    with pytest.raises(TaskError, match="no label is learned from"):
        kind.fit_linear(x, x, LinearOptions(1, [1.0]))


@pytest.mark.parametrize("top", [-0.1, 1.5, True, "all"])
def test_a_share_out_of_range_is_refused(top):
    with pytest.raises(TaskError, match=f"task.options.top={top!r}: give a number in"):
        kind_of("anomaly", {"top": top})


def test_classes_without_good_ones_are_refused_and_one_side_alone_has_no_area():
    other = LabelledImages(data().images, LABELS, ("bad", "worse", "worst"))
    with pytest.raises(TaskError, match="task=anomaly: the first class is not 'good'"):
        Anomaly().check(other)
    Anomaly().check(data())
    with pytest.raises(ValueError, match="an AUROC needs positive and negative samples; of 2 none is positive"):
        Anomaly().value(torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64))
