"""The choice of a learning rate, and how it is kept."""

import pytest

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.tuning import Tuned, read_tuned, write_tuned


def test_the_best_on_validation_is_chosen_and_the_smallest_of_equals():
    assert Tuned.of("lora", [1, 2, 3], [0.5, 0.7, 0.6]).lr == 2
    assert Tuned.of("lora", [1, 2, 3], [0.5, 0.7, 0.7]).lr == 2


def test_an_edge_and_a_peak_are_told_from_what_is_flat():
    assert Tuned.of("a", [1, 2, 3], [0.7, 0.6, 0.5]).at_the_edge
    assert not Tuned.of("a", [1, 2, 3], [0.7, 0.6, 0.5]).flat
    peak = Tuned.of("a", [1, 2, 3], [0.6, 0.7, 0.695])
    assert not peak.at_the_edge
    assert not peak.flat
    assert Tuned.of("a", [1, 2, 3], [0.695, 0.7, 0.695]).flat


def test_what_is_written_is_read_again_and_damage_is_named(tmp_path):
    found = [Tuned.of("a", [0.1, 0.2], [0.5, 0.6])]
    write_tuned(tmp_path / "tuned.json", found, 100)
    assert read_tuned(tmp_path / "tuned.json") == found
    (tmp_path / "tuned.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"tuned.json: cannot be read .* `dvc repro -f tune`"):
        read_tuned(tmp_path / "tuned.json")
