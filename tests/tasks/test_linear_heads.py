"""Linear heads are converged, answer as scikit-learn does, and their penalty is chosen on validation."""

import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dynaxx.tasks import Examples, LinearFit, LinearOptions, Segmentation, fit_logistic, fit_ridge


@given(classes=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_it_answers_as_scikit_learn_does(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(60) % classes
    x = torch.randn(60, 5, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0]) + y[:, None]
    x[:, 4] = 7.0  # a channel that never varies
    probe = fit_logistic(Examples(x, y), Examples(x, y), classes=classes, penalties=[0.5])
    scaler = StandardScaler().fit(x.double().numpy())
    reference = LogisticRegression(C=0.5, max_iter=5000, tol=1e-8).fit(scaler.transform(x.double().numpy()), y.numpy())
    ours = ((x - probe.mean) / probe.std @ probe.weight.T + probe.bias).softmax(1).double()
    theirs = torch.from_numpy(reference.predict_proba(scaler.transform(x.double().numpy())))
    assert torch.allclose(ours, theirs, atol=5e-3)


def test_the_penalty_is_chosen_on_validation():
    torch.manual_seed(0)
    y = torch.arange(30) % 2
    x, held = torch.randn(30, 40), torch.randn(400, 40)
    x[:, 0] += 1.5 * y
    held_y = torch.arange(400) % 2
    held[:, 0] += 1.5 * held_y
    strong, weak = (
        fit_logistic(Examples(x, y), Examples(held, held_y), classes=2, penalties=[C]) for C in (0.003, 1000.0)
    )
    both = fit_logistic(Examples(x, y), Examples(held, held_y), classes=2, penalties=[0.003, 1000.0])
    assert strong.value > weak.value
    assert (both.C, both.value) == (0.003, strong.value)


def test_without_images_there_is_no_accuracy():
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    with pytest.raises(ValueError, match="without validation images has no accuracy"):
        fit_logistic(Examples(x, y), Examples(x[:0], y[:0]), classes=3, penalties=[1.0])
    with pytest.raises(ValueError, match="class 3 of 4 has no training image"):
        fit_logistic(Examples(x, y), Examples(x, y), classes=4, penalties=[1.0])


def answered(fit: LinearFit, x: torch.Tensor) -> torch.Tensor:
    return (x.double() - fit.mean) / fit.std @ fit.weight.double().T + fit.bias


@given(columns=st.integers(1, 3), scale=st.sampled_from([1e-3, 1.0, 1e4]), seed=st.integers(0, 10**6))
def test_ridge_solves_the_normal_equations_in_any_unit(columns, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(40, 6, generator=generator), torch.randn(40, columns, generator=generator)
    y = scale * (y + x[:, :columns] + 5)
    fit = fit_ridge(Examples(x, y), Examples(x, y), penalties=[0.5])
    z = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    mean = y.double().mean(0)
    weight = torch.linalg.solve(z.T @ z + 2.0 * torch.eye(6).double(), z.T @ (y.double() - mean))  # C = 1 / 2
    assert torch.allclose(answered(fit, x), z @ weight + mean, rtol=1e-4, atol=1e-4 * scale)
    assert fit.value == pytest.approx(float((answered(fit, x) - y).square().mean().sqrt()), rel=1e-3)


def test_the_penalty_of_a_regression_is_that_of_the_least_error():
    torch.manual_seed(0)
    x, held = torch.randn(20, 30), torch.randn(300, 30)
    y, held_y = x[:, :1] + torch.randn(20, 1), held[:, :1]
    fits = {C: fit_ridge(Examples(x, y), Examples(held, held_y), penalties=[C]) for C in (1e-3, 1e-1, 1e3)}
    chosen = fit_ridge(Examples(x, y), Examples(held, held_y), penalties=list(fits))
    assert chosen.C == min(fits, key=lambda C: fits[C].value) == 1e-1


@pytest.mark.parametrize("outputs", [1, 3])
def test_positions_are_fitted_as_scikit_learn_fits_their_pixels(outputs):
    generator = torch.Generator().manual_seed(outputs)
    x = torch.randn(6, 16, 4, generator=generator)
    noise = torch.randn(6, 16, generator=generator)
    labels = ((x[..., 0] + noise > 0).long() + (outputs > 1) * (x[..., 1] + noise > 0.5)).view(6, 4, 4).to(torch.uint8)
    fit = Segmentation().fit_linear(Examples(x, labels), Examples(x, labels), LinearOptions(outputs, [0.5], (4, 4)))
    flat = x.reshape(-1, 4).double()
    z = ((flat - flat.mean(0)) / flat.std(0, correction=0)).numpy()
    # the penalty weighs against the mean over positions of 6 images, scikit-learn's against the sum over positions
    theirs = LogisticRegression(C=0.5 * 6 / len(z), max_iter=5000, tol=1e-8).fit(z, labels.flatten().numpy())
    shares = torch.from_numpy(theirs.predict_proba(z))
    logits = answered(fit, x.reshape(-1, 4))
    ours = torch.cat([1 - logits.sigmoid(), logits.sigmoid()], 1) if outputs == 1 else logits.softmax(1)
    assert torch.allclose(ours, shares, atol=2e-2)


def gradient(fit: LinearFit, x: torch.Tensor, loss, penalty: float) -> float:
    """The largest entry of the gradient of mean loss + penalty · ‖W‖² by the fitted weight."""
    weight = fit.weight.double().requires_grad_()
    outputs = (x.double() - fit.mean.double()) / fit.std.double() @ weight.T + fit.bias.double()
    (loss(outputs) + penalty * weight.square().sum()).backward()
    return float(weight.grad.abs().max())


def test_a_fit_is_where_the_mean_loss_and_its_penalty_are_least():
    """What trains on with this penalty starts at rest."""
    torch.manual_seed(0)
    x, classes, numbers = torch.randn(60, 8), torch.arange(60) % 3, torch.randn(60, 2)
    found = fit_logistic(Examples(x, classes), Examples(x, classes), classes=3, penalties=[0.05])
    entropy = lambda logits: torch.nn.functional.cross_entropy(logits, classes)  # noqa: E731
    assert gradient(found, x, entropy, found.penalty) < 1e-3 < gradient(found, x, entropy, 0.0)

    labels = (numbers - numbers.mean(0)) / numbers.std(0, correction=0)  # in deviations, as a regression's loss is
    found = fit_ridge(Examples(x, labels), Examples(x, labels), penalties=[0.05])
    squares = lambda outputs: torch.nn.functional.mse_loss(outputs, labels.double())  # noqa: E731
    assert gradient(found, x, squares, found.penalty) < 1e-6 < gradient(found, x, squares, 0.0)

    maps, masks = torch.randn(10, 16, 5), torch.randint(2, (10, 4, 4))
    found = Segmentation().fit_linear(Examples(maps, masks), Examples(maps, masks), LinearOptions(1, [0.05], (4, 4)))
    shares = masks.flatten(1)[..., None].double()
    pixels = lambda logits: torch.nn.functional.binary_cross_entropy_with_logits(logits, shares)  # noqa: E731
    assert gradient(found, maps, pixels, found.penalty) < 1e-3 < gradient(found, maps, pixels, 0.0)
