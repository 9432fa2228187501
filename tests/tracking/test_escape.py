"""Names of users in MLflow: escaped once, readable, and never two as one."""

import random
import re

import pytest

pytest.importorskip("mlflow")
from mlflow.utils.validation import _validate_model_name, _validate_param_name

from dynaxx.tracking.escape import NAME_BYTES, VALUE_CHARACTERS, dotted, escaped, flatten, shortened

ODD = [
    *("", " ", ".", "..", "...", ".git", "a/b", "a//b", "/a", "a/", "a/../b", "a\\b", "it's", 'say "no"', "`tick`"),
    *(
        "birds (blue)",
        "x=1",
        "a:b",
        "@home",
        "🎉",
        "日本",
        "naïve",
        "nai\u0308ve",
        "two\nlines",
        "tab\t",
        "line\n",
        "\r",
    ),
    *("_0x26_", "&", "__0x26_", "_0x5f_0x26_", "&0x26_", "_0x", "0x26_", "_", "A", "a", "chest_xray", "a.b", "a..b"),
    *("100%", "a%26b", "-- drop", "' or 1=1", "a,b", "#", "?", "*", "{}", "null", "1"),
    *("x" * 300, "x" * 299 + "y", "X" * 300, "&" * 300, "&" * 299, "日" * 90, "日" * 91),
]


def unescaped(name: str) -> str:
    return re.sub("_0x([0-9a-f]+)_", lambda found: chr(int(found[1], 16)), name)


def test_no_two_names_become_one_and_mlflow_takes_them_all():
    written = [escaped(name) for name in ODD]
    assert len(set(written)) == len(set(ODD))
    for name, result in zip(ODD, written, strict=True):
        assert len(result.encode()) <= NAME_BYTES
        assert not re.search(r"[^\w. -]", result)
        assert not result.startswith(".")
        if name:
            _validate_model_name(escaped(f"dynaxx-{name}"))
        _validate_param_name(escaped(name))


def test_an_escaped_name_can_be_read_back():
    drawn = random.Random(7)
    for _ in range(3000):
        name = "".join(drawn.choices("_0x26f&.aé/'", k=drawn.randint(1, 12)))
        assert unescaped(escaped(name)) == name
        assert unescaped(escaped(name, also=".")) == name


@pytest.mark.parametrize("name", ["digits", "chest_xray", "my data-set v1.5", "Bäume_2", "max_x0"])
def test_plain_names_stay(name):
    assert escaped(name) == name


def test_a_long_name_begins_readably_and_is_no_short_one():
    long = "&" * 200
    assert escaped(long).startswith("_0x26__0x26_")
    assert escaped(unescaped(escaped(long))) != escaped(long)
    assert escaped("wolves " * 50).startswith("wolves wolves wolves ")


def test_settings_with_dots_and_slashes_stay_apart():
    settings = {"data": {"a.b": {"c": 1}, "a": {"b.c": 2, "b": {"c": 3}}, "a/b": 4, "": 5, "empty": {}}, "n": [1]}
    flat = flatten(settings)
    assert sorted(flat.values()) == ["1", "2", "3", "4", "5", "[1]", "{}"]
    assert flat["data.a.b.c"] == "3"
    for key in flat:
        _validate_param_name(key)
    assert dotted({"resonance.T": 3}) == {"resonance.T": "3"}
    (key,) = flatten({"a" * 200: {"b" * 200: 1}})
    assert len(key) <= NAME_BYTES


def test_long_values_are_cut_with_a_mark_that_tells_them_apart():
    one, other = "a" * VALUE_CHARACTERS, "a" * VALUE_CHARACTERS + "b"
    assert shortened(one) == one
    cut = shortened(other)
    assert len(cut) == VALUE_CHARACTERS
    assert "(6,001 characters, sha256 " in cut
    assert shortened(other) != shortened(other + "c")
