"""What is no list and no arm is one line, before anything is trained."""

import pytest
from omegaconf import OmegaConf

from pipelines.options import listed, rivals


def test_what_is_listed():
    params = OmegaConf.create({"tune": {"lr": [0.1, 0.2], "epochs": None}, "train_arms": {"arms": ["direct"]}})
    assert listed(params, "tune.lr") == [0.1, 0.2]
    assert listed(params, "tune.epochs") == []
    assert rivals(params) == ["direct"]


@pytest.mark.parametrize("value", [0.005, "fast", {"a": 1}])
def test_what_is_no_list_is_named(value):
    with pytest.raises(ValueError, match="tune.lr=.*: give a list, as .*, or null"):
        listed(OmegaConf.create({"tune": {"lr": value}}), "tune.lr")


@pytest.mark.parametrize("arms", [["direct", "concat_prob"], ["implicit"], [3]])
def test_an_unknown_arm_is_named_beside_those_that_are(arms):
    with pytest.raises(ValueError, match="train_arms.arms: no arm .*; known are concat_probe"):
        rivals(OmegaConf.create({"train_arms": {"arms": arms}}))
