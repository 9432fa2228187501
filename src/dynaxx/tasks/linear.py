"""Linear heads, fitted to convergence and regularised on validation: what resonance has to beat.

    outputs = (f - μ) / σ · Wᵀ + b

Shape legend: N samples, F features, K outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dynaxx.backbone import moments
from dynaxx.data import track

ITERATIONS = 2000


class Examples(NamedTuple):
    """Features (N, F), or (N, P, F) of the P positions of a grid, and the samples' labels."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class LinearOptions:
    """What a linear head is, and how it is regularised.

    Attributes:
        outputs: K.
        penalties: inverse strengths C of the L2 penalty to choose from.
        grid: (h, w) of the positions of features that have some.
    """

    outputs: int
    penalties: Sequence[float]
    grid: tuple[int, ...] = ()


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear head.

    >>> fit = fit_logistic(Examples(train_x, train_y), Examples(val_x, val_y), classes=10, penalties=[0.1, 1.0])
    >>> logits = (val_x - fit.mean) / fit.std @ fit.weight.T + fit.bias

    Attributes:
        weight: (K, F).
        bias: (K,).
        mean, std: mean and deviation of the training features, (F,).
        C: inverse strength of the L2 penalty that was best on validation.
        value: the metric on validation.
        penalty: factor of ‖W‖² beside the mean loss of a sample, which the fit has minimised together.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor
    C: float
    value: float
    penalty: float


def fit_linear(
    train_x: Tensor,
    val_x: Tensor,
    penalties: Sequence[float],
    fit: Callable[[Tensor, float], tuple[Tensor, Tensor]],
    value: Callable[[Tensor], float],
    penalty: Callable[[float], float],
    higher_is_better: bool = True,
) -> LinearFit:
    """Fit with each penalty on standardised features; returns the best one on validation, the first of equal ones.

    >>> fit = lambda x, C: (C * torch.ones(1, 3).double(), torch.zeros(1).double())
    >>> fit_linear(torch.randn(8, 3), torch.zeros(2, 3), [1.0, 2.0], fit, lambda outputs: 0.0, lambda C: 1 / C).C
    1.0

    Args:
        train_x, val_x: features (N, F), or (N, P, F) of P positions.
        penalties: inverse strengths C.
        fit: function from standardised training features, float64, and C to weight (K, F) and bias (K,).
        value: function from validation outputs (…, K) to the metric.
        penalty: function from C to the factor of ‖W‖² beside the mean loss of a sample.
        higher_is_better: whether a larger metric is better.
    """
    ((mean, std),) = moments([[train_x if train_x.ndim == 3 else train_x[:, None]]])
    inputs, val_inputs = ((x.double() - mean) / std for x in (train_x, val_x))
    found: list[LinearFit] = []
    for C in track(penalties, "fitting probes"):
        weight, bias = fit(inputs, C)
        outputs = val_inputs @ weight.T + bias
        found.append(
            LinearFit(
                weight.float(), bias.float(), mean.float(), std.float(), float(C), value(outputs), penalty(float(C))
            )
        )
    return max(found, key=lambda one: one.value if higher_is_better else -one.value)


def fit_logistic(train: Examples, val: Examples, *, classes: int, penalties: Sequence[float]) -> LinearFit:
    """Multinomial logistic regression by L-BFGS for each C; returns the most accurate one on validation.

    >>> fit_logistic(Examples(train_x, train_y), Examples(val_x, val_y), classes=10, penalties=[0.1, 1.0]).value
    0.92

    Args:
        train: raw features (N, F), each augmented view of an image one row, and labels below `classes`, all of which
            must occur.
        val: raw validation features (M, F) and labels.
        classes: number of classes.
        penalties: values of C.

    Raises:
        ValueError: there are no validation images, or a class without a training image.
    """
    (train_x, train_y), (val_x, val_y) = train, val
    _check_validation(val_y)
    if missing := sorted(set(range(classes)) - set(train_y.tolist())):
        raise ValueError(f"class {missing[0]} of {classes} has no training image for a probe; give some")
    from sklearn.linear_model import LogisticRegression

    def fit(inputs: Tensor, C: float) -> tuple[Tensor, Tensor]:
        model = LogisticRegression(C=C, max_iter=ITERATIONS, tol=1e-4).fit(inputs.numpy(), train_y.numpy())
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(weight) == 1 and classes == 2:  # scikit-learn returns one row of log-odds for two classes
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        return weight, bias

    def accuracy(logits: Tensor) -> float:
        return float((logits.argmax(1) == val_y).double().mean())

    # scikit-learn minimises C Σ losses + ‖W‖² / 2
    return fit_linear(train_x, val_x, penalties, fit, accuracy, lambda C: 0.5 / (C * len(train_x)))


def fit_ridge(train: Examples, val: Examples, *, penalties: Sequence[float]) -> LinearFit:
    """Ridge regression for each C, the inverse of its strength; returns the one of least squared error on validation.

    >>> fit_ridge(Examples(train_x, train_y), Examples(val_x, val_y), penalties=[0.01, 0.1]).weight.shape
    torch.Size([1, 784])

    Args:
        train: features (N, F) and numbers (N, K).
        val: the same of the validation samples.
        penalties: values of C.

    Raises:
        ValueError: there are no validation samples.
    """
    (train_x, train_y), (val_x, val_y) = train, val
    _check_validation(val_y)
    from sklearn.linear_model import Ridge

    def fit(inputs: Tensor, C: float) -> tuple[Tensor, Tensor]:
        # the labels' scale must not matter: in deviations of each column
        ((mean, std),) = moments([[train_y[:, None]]])
        model = Ridge(alpha=1.0 / C).fit(inputs.numpy(), ((train_y.double() - mean) / std).numpy())
        weight = torch.from_numpy(model.coef_).reshape(train_y.shape[1], -1)
        bias = torch.as_tensor(model.intercept_, dtype=torch.float64).reshape(-1)
        return weight * std[:, None], bias * std + mean

    return fit_linear(
        train_x,
        val_x,
        penalties,
        fit,
        lambda outputs: float((outputs - val_y.double()).square().mean().sqrt()),
        lambda C: 1.0 / (C * train_y.numel()),  # scikit-learn minimises Σ squared errors + ‖W‖² / C
        higher_is_better=False,
    )


def fit_positions(
    train_x: Tensor,
    target: Tensor,
    val_x: Tensor,
    *,
    penalties: Sequence[float],
    value: Callable[[Tensor], float],
    most: int = 60_000,
) -> LinearFit:
    """Logistic regression of every position of a grid, with shares of classes as targets, by L-BFGS.

    >>> fit_positions(x, shares, val_x, penalties=[1.0], value=lambda logits: 0.0).weight.shape
    torch.Size([1, 472])

    Args:
        train_x: features (N, P, F).
        target: share of each class in the cell of each position, (N, P, K); K = 1 is the share of the foreground.
        val_x: features of the validation samples, (M, P, F).
        penalties: values of C, the inverse strength of the L2 penalty for each of the images.
        value: function from validation logits (M, P, K) to the metric.
        most: number of positions that are fitted; of more, every n-th is taken.
    """
    F_, K, images = train_x.shape[-1], target.shape[-1], len(train_x)
    step = max(1, -(-train_x.shape[0] * train_x.shape[1] // most))
    train_x, target = train_x.reshape(-1, F_)[::step], target.reshape(-1, K)[::step].float()

    def penalty(C: float) -> float:
        return 0.5 / (C * images)

    def fit(inputs: Tensor, C: float) -> tuple[Tensor, Tensor]:
        x = inputs.float()
        weight = torch.zeros(K, F_, requires_grad=True)
        prior = target.mean(0).clamp(1e-4, 1 - 1e-4)
        bias = (torch.logit(prior) if K == 1 else prior.log()).clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, history_size=20, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = x @ weight.T + bias
            loss = position_loss(logits, target) + penalty(C) * weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return weight.detach().double(), bias.detach().double()

    return fit_linear(train_x, val_x, penalties, fit, value, penalty)


def position_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy of logits (…, K) with shares of classes; for K = 1, of the foreground against the rest."""
    if logits.shape[-1] == 1:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, shares)
    return -(shares * logits.log_softmax(-1)).sum(-1).mean()


def _check_validation(labels: Tensor) -> None:
    if len(labels) == 0:
        raise ValueError("a probe without validation images has no accuracy; give more, as task.n_val")
