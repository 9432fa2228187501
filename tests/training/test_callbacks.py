"""What watches over a fit: numbers that are not finite, residuals that grow, the best epoch, the warmup."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from support.small_fits import TRAINER, data, model, module, run

from dynaxx import wrap_with_resonance
from dynaxx.tasks import Classification
from dynaxx.training.callbacks import BestWeights, DrawnIterations, ResidualGuard
from dynaxx.training.fit import fit
from dynaxx.training.resonance_module import ResonanceModule
from dynaxx.training.small_resnet import SmallResNet


def test_a_loss_that_is_not_finite_stops_with_one_line(tmp_path):
    made = module()
    made.model.head.weight.data[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="train/loss is nan in step .*lower the learning rate"):
        fit(made, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=2, patience=2, seed=0)


def test_a_gradient_that_is_not_finite_stops_though_the_loss_is(tmp_path):
    made = model()
    made.head.weight.register_hook(lambda grad: grad * float("nan"))
    module = ResonanceModule(made, Classification(), lr=0.02)
    with pytest.raises(
        FloatingPointError, match=r"the gradient of .* is not finite in step 0: lower the learning rate"
    ):
        fit(module, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=2, patience=2, seed=0)


@pytest.mark.filterwarnings("ignore:the loop ran away")
def test_a_loop_that_runs_away_leaves_the_weights_finite(tmp_path):
    """Samples whose loop overflows fall back to the backbone, and have no part in the gradient."""
    torch.manual_seed(7)
    options = {"stability": "monitored", "activation": "relu", "rank": 3, "T": 60, "num_classes": 3}
    net, x = SmallResNet(3, 1, (4, 6, 8), 1), torch.zeros(1, 1, 8, 8)
    made = wrap_with_resonance(net, [1, 2, 3], example_input=x, **options)
    made.fit_statistics(data().train_dataloader())
    for parameter in made.resonator.exchange.couplings.parameters():
        torch.nn.init.normal_(parameter, std=30.0)
    module = ResonanceModule(made, Classification(), lr=0.02)
    fit(module, data(), trainer=TRAINER, checkpoints=tmp_path, epochs=2, patience=2, seed=0)
    assert made.fallback.any()
    assert all(torch.isfinite(parameter).all() for parameter in made.parameters())


class _Fixed:
    """A trainer as far as the callbacks read one."""

    def __init__(self, **metrics: float) -> None:
        self.sanity_checking = False
        self.callback_metrics = {name.replace("_", "/"): torch.tensor(v) for name, v in metrics.items()}


def test_the_guard_cuts_only_residuals_that_grow_and_are_large():
    guard = ResidualGuard(cut=0.5, above=0.5)
    factors = []
    for residual in (0.9, 0.8, 0.95, 0.4, 0.45, 0.7):
        guard.on_validation_epoch_end(_Fixed(val_residual=residual), None)
        factors.append(guard.factor)
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
    twin = ResidualGuard()
    twin.load_state_dict(guard.state_dict())
    assert twin.factor == 0.25


def test_the_best_epoch_is_the_latest_of_equals():
    made, keeper = module(), BestWeights()
    for score, value in ((0.5, 1.0), (0.7, 2.0), (0.7, 3.0), (0.6, 4.0)):
        made.model.head.bias.data.fill_(value)
        keeper.on_validation_epoch_end(_Fixed(val_score=score), made)
    keeper.restore(made)
    assert made.model.head.bias.tolist() == [3.0] * 3


def test_the_strength_rises_in_a_straight_line_to_the_configured_one(tmp_path):
    seen = []

    class Note(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(float(pl_module.model.resonator.exchange.strength))

    run(tmp_path, Note())
    assert len(seen) == 18
    assert seen[0] == pytest.approx(0.01)
    assert seen[3] == pytest.approx(0.01 + 0.99 * 3 / 9)
    assert seen[9:] == pytest.approx([1.0] * 9)


@pytest.mark.filterwarnings("ignore:the loop ran away")
def test_a_fit_in_which_every_loop_runs_away_says_so_and_stops(tmp_path):
    made, epochs = model(), []
    for parameter in made.resonator.exchange.couplings.parameters():
        torch.nn.init.constant_(parameter, 1e15)

    class Count(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            epochs.append(float(trainer.callback_metrics["train/fallback"]))

    with pytest.warns(UserWarning, match="all samples fell back.*lower train.lr or resonance.strength"):
        fit(
            ResonanceModule(made, Classification(), lr=0.02),
            data(),
            trainer=TRAINER,
            checkpoints=tmp_path,
            epochs=4,
            patience=4,
            seed=0,
            callbacks=[Count()],
        )
    assert epochs == [1.0]


def test_a_fit_that_learns_is_not_stopped(tmp_path):
    seen = []

    class Note(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(float(trainer.callback_metrics["train/fallback"]))

    run(tmp_path, Note())
    assert seen == [0.0] * 6


class _Iterations(Callback):
    """Notes the model's T at each training step and at each validation."""

    def __init__(self) -> None:
        self.steps, self.validations = [], []

    def on_train_batch_end(self, trainer, pl_module, *rest):
        self.steps.append(pl_module.model.T)

    def on_validation_end(self, trainer, pl_module):
        self.validations.append(pl_module.model.T)


def test_each_step_draws_its_iterations_and_goes_on_with_the_same_draws(tmp_path):
    whole, first, rest = _Iterations(), _Iterations(), _Iterations()
    made = run(tmp_path / "whole", DrawnIterations(2, 9, seed=1), whole)
    assert made.model.T == 3
    assert set(whole.validations) == {3}
    assert set(whole.steps) <= set(range(2, 10))
    assert len(set(whole.steps)) > 3

    class Stop(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "parts", DrawnIterations(2, 9, seed=1), first, Stop())
    again = run(tmp_path / "parts", DrawnIterations(2, 9, seed=1), rest)
    assert whole.steps == first.steps[: len(whole.steps) - len(rest.steps)] + rest.steps
    for one, other in zip(made.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
