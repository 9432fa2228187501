"""A linear probe trained to convergence, which measures how much class information a frozen layer holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx.backbone import moments
from dynaxx.data import track

ITERATIONS = 2000


@dataclass(frozen=True)
class Probe:
    """A linear classifier on standardised features: logits = (features - mean) / std @ weight.T + bias.

    >>> probe = fit_probe(train_x, train_y, val_x, val_y, classes=10, penalties=[0.1, 1.0])
    >>> logits = (val_x - probe.mean) / probe.std @ probe.weight.T + probe.bias

    Attributes:
        weight: weights (classes, F).
        bias: biases (classes,).
        mean: mean of the training features, (F,).
        std: standard deviation of the training features, (F,).
        C: inverse strength of the L2 penalty, chosen on validation.
        accuracy: validation accuracy.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor
    C: float
    accuracy: float


def fit_probe(
    train_x: Tensor, train_y: Tensor, val_x: Tensor, val_y: Tensor, classes: int, penalties: Sequence[float]
) -> Probe:
    """Multinomial logistic regression by L-BFGS for each C of `penalties`; returns the best one on validation.

    >>> fit_probe(train_x, train_y, val_x, val_y, classes=10, penalties=[0.1, 1.0]).accuracy
    0.92

    Args:
        train_x: raw training features (N, F); each augmented view of an image is one row.
        train_y: training labels (N,) below `classes`; every class must occur.
        val_x: raw validation features (M, F).
        val_y: validation labels (M,).
        classes: number of classes.
        penalties: values of C, the inverse strength of the L2 penalty.

    Raises:
        ValueError: there are no validation images, or a class without a training image.
    """
    if len(val_y) == 0:
        raise ValueError("a probe without validation images has no accuracy; give more, as task.n_val")
    if missing := sorted(set(range(classes)) - set(train_y.tolist())):
        raise ValueError(f"class {missing[0]} of {classes} has no training image for a probe; give some")
    from sklearn.linear_model import LogisticRegression

    ((mean, std),) = moments([[train_x[:, None]]])
    inputs, val_inputs = ((x.double() - mean) / std for x in (train_x, val_x))
    found: list[Probe] = []
    for C in track(penalties, "fitting probes"):
        model = LogisticRegression(C=C, max_iter=ITERATIONS, tol=1e-4).fit(inputs.numpy(), train_y.numpy())
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(weight) == 1 and classes == 2:  # scikit-learn returns one row of log-odds for two classes
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        accuracy = float(((val_inputs @ weight.T + bias).argmax(1) == val_y).double().mean())
        found.append(Probe(weight.float(), bias.float(), mean.float(), std.float(), float(C), accuracy))
    return max(found, key=lambda probe: probe.accuracy)
