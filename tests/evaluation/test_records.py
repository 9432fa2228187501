"""JSON of dataclasses: the bytes of before, whole numbers that stay whole, and one clear line for damage."""

import json
from dataclasses import asdict

import pytest

from dynaxx.evaluation import EvaluationError
from dynaxx.evaluation.records import read_records, write_records
from dynaxx.evaluation.validation import LabelPoint, Tuned, read_tuned, write_tuned


def test_the_file_has_the_bytes_of_plain_json(tmp_path):
    points = [LabelPoint("direct", 50, 0.5), LabelPoint("explicit", 600, 1e-05)]
    write_records(tmp_path / "labels.json", points)
    assert (tmp_path / "labels.json").read_text() == json.dumps([asdict(p) for p in points], indent=2) + "\n"
    assert read_records(tmp_path / "labels.json", list[LabelPoint], "vary") == points


def test_epochs_stay_whole_and_rates_stay_fractions(tmp_path):
    results = [Tuned("a", "epochs", [5, 10], [0.5, 0.6], 10), Tuned("a", "lr", [0.1, 1.0], [0.5, 0.6], 1.0)]
    write_tuned(tmp_path / "tuned.json", results, 100)
    epochs, lr = read_tuned(tmp_path / "tuned.json")
    assert (type(epochs.chosen), type(lr.chosen)) == (int, float)
    assert [type(value) for value in (*epochs.values, *lr.values)] == [int, int, float, float]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[{"arm": "x"}]', "0.labels: field required"),
        ('[{"arm": "x", "labels": 5, "score": 0.5, "surprise": 1}]', "0.surprise: unexpected"),
        ("{", "the file: invalid JSON"),
    ],
)
def test_damage_is_named_with_the_stage_that_mends_it(tmp_path, text, word):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(EvaluationError, match=rf"labels.json: cannot be read \({word}.*run `dvc repro -f vary`"):
        read_records(tmp_path / "labels.json", list[LabelPoint], "vary")
    with pytest.raises(EvaluationError, match="none.json: cannot be read"):
        read_records(tmp_path / "none.json", list[LabelPoint], "vary")
