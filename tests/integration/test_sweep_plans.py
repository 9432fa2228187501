"""A plan is judged before a trial is run: each option of conf/sweep, and each value that may be drawn."""

import pytest

from pipelines.common.help import CONF, SWEEP
from pipelines.sweep.plan import read_plan


@pytest.mark.parametrize("option", sorted(file.stem for file in (CONF / "sweep").glob("*.yaml")))
def test_every_option_is_a_plan(option):
    plan = read_plan([f"sweep={option}"])
    assert plan.one_objective == (plan.options.pruner is not None)


@pytest.mark.parametrize(
    "written",
    ["int(interval(2, 5))", "'int(interval(2, 5))'", "choice(2, 3)", "range(2, 6)", "tag(log, int(interval(2, 5)))"],
)
def test_what_is_tuned_is_written_as_help_says(written):
    assert "sweep.space.resonance.T='int(interval(1, 10))'" in SWEEP  # of which the shell leaves no quotes
    plan = read_plan([f"sweep.space.resonance.T={written}"])
    again = read_plan(plan.overrides)  # as workers read it
    assert plan.space == again.space
    assert plan.space["resonance.T"] != read_plan([]).space["resonance.T"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["sweep.space.resonance.T=int(interval(0, 4))"], "sweep.space draws what cannot be: resonance.T=0: give"),
        (["sweep.space.resonance.T=interval(2, 4)"], "cannot be: resonance.T=2.0: give a whole number"),
        (["sweep.space.resonance.damping=interval(0.5, 2)"], "cannot be: resonance.damping=2.0: give"),
        (["sweep.space.resonance.gate=choice(none, some)"], "cannot be: resonance.gate='some'"),
        (["+sweep.space.train.batch_size=choice(0, 8)"], "cannot be: train.batch_size=0"),
        (["sweep.space=7"], "sweep.space=7: give keys, as"),
        (["+sweep.trials=3"], "sweep.trials: no such option; known are n_trials"),
        (["sweep=constrained", "sweep.pruner=median"], "sweep.pruner: "),
        (["sweep=constrained", "+sweep.pruner.patience=3"], "sweep.pruner: .*patience"),
        (["sweep=constrained", "sweep.pruner={_target_: pathlib.Path}", "~sweep.pruner.n_startup_trials",
          "~sweep.pruner.n_warmup_steps"], "give a pruner of Optuna"),
    ],
)  # fmt: skip
def test_a_bad_plan_is_one_line_that_names_the_key(overrides, says):
    with pytest.raises(ValueError, match=says) as raised:
        read_plan(overrides)
    assert "\n" not in str(raised.value)


def test_values_that_need_each_other_may_be_drawn_together():
    space = ["+sweep.space.resonance.gradient=choice(implicit)", "+sweep.space.resonance.stability=choice(certified)"]
    assert "resonance.gradient" in read_plan(space).space
    with pytest.raises(ValueError, match="cannot be: resonance.gradient='implicit'"):
        read_plan(space[:1])
