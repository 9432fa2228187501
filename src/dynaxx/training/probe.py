"""A linear probe trained to convergence: what reading a frozen layer is worth without anything new."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx.data.progress import track
from dynaxx.resonance.standardise import moments

ITERATIONS = 2000


@dataclass(frozen=True)
class Probe:
    """logits = (features - mean) / std @ weight.T + bias, as a `Head` computes them.

    Attributes:
        weight: (classes, F).
        bias: (classes,).
        mean: (F,), of the training features.
        std: (F,).
        C: inverse strength of the L2 penalty, chosen on validation.
        accuracy: on validation.
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
    """Multinomial logistic regression by L-BFGS, for each C of `penalties`; the best on validation is returned.

    Args:
        train_x: (N, F) raw features; several views of an image are several rows.
        train_y: (N,) labels below `classes`; every class must occur.
        val_x: (M, F).
        val_y: (M,).
    """
    from sklearn.linear_model import LogisticRegression

    ((mean, std),) = moments([[train_x[:, None]]])
    inputs, val_inputs = ((x.double() - mean) / std for x in (train_x, val_x))
    found: list[Probe] = []
    for C in track(penalties, "fitting probes"):
        model = LogisticRegression(C=C, max_iter=ITERATIONS, tol=1e-4).fit(inputs.numpy(), train_y.numpy())
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(weight) == 1 and classes == 2:  # two classes come as one row of log-odds
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        accuracy = float(((val_inputs @ weight.T + bias).argmax(1) == val_y).double().mean())
        found.append(Probe(weight.float(), bias.float(), mean.float(), std.float(), float(C), accuracy))
    return max(found, key=lambda probe: probe.accuracy)
