"""Tables: an MLP that saw half of the columns answers better when its first layers are read again."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from dynaxx import ResonantModel, wrap_with_resonance

TAPS = ["0", "2", "4"]
LAST = 6
"""Where the classifier stands."""

Loss = Callable[[Tensor, Tensor], Tensor]


def fit(model: nn.Module, x: Tensor, y: Tensor, loss: Loss, steps: int, decay: float) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 5e-3, weight_decay=decay)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()


def split(load: Callable, seed: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Rows for the backbone, for the readings and for the test; and the columns that the backbone saw."""
    table = load()
    labels = table.target if table.target.dtype.kind == "i" else StandardScaler().fit_transform(table.target[:, None])
    known = np.random.default_rng(seed).permutation(table.data.shape[1])[::2]
    rows, test = train_test_split(np.arange(len(labels)), test_size=0.4, random_state=seed)
    own, rest = train_test_split(rows, test_size=0.5, random_state=seed)
    scaler = StandardScaler().fit(table.data[own])
    x = torch.tensor(scaler.transform(table.data), dtype=torch.float32)
    y = torch.tensor(labels) if labels.dtype.kind == "i" else torch.tensor(labels, dtype=torch.float32)
    return [x[part] for part in (own, rest, test)], [y[part] for part in (own, rest, test)], torch.tensor(known)


def backbone_of(x: Tensor, y: Tensor, known: Tensor, outputs: int, loss: Loss) -> nn.Module:
    widths = [x.shape[1], 32, 16, 4]
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.GELU())]
    net = nn.Sequential(*layers, nn.Linear(4, outputs))
    half = torch.zeros_like(x)
    half[:, known] = x[:, known]
    fit(net, half, y, loss, 150, 1e-2)
    return net.eval()


def coupled(net: nn.Module, x: Tensor, y: Tensor, outputs: int, loss: Loss) -> ResonantModel:
    model = wrap_with_resonance(net, TAPS, T=3, rank=4, num_classes=outputs, example_input=x[:2])
    model.fit_statistics([x])
    fit(model.train(), x, y, loss, 60, 1.0)  # a hundred rows: few steps, much decay
    return model.eval()


def both(load: Callable, outputs: int, loss: Loss, seed: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Last layer and labels of the rows for the readings, of the test, and the coupled model's answer to the test."""
    torch.manual_seed(seed)
    (own, seen, test), (y_own, y_seen, y_test), known = split(load, seed)
    net = backbone_of(own, y_own, known, outputs, loss)
    with torch.no_grad():
        last, last_test = net[:LAST](seen), net[:LAST](test)
    model = coupled(net, seen, y_seen, outputs, loss)
    with torch.no_grad():
        assert model.read(test).grid == (1,)
        return (last, y_seen), (last_test, y_test), (model(test), y_test)


SEEDS = range(3)


def test_breast_cancer():
    scores = []
    for seed in SEEDS:
        seen, test, (answer, y) = both(load_breast_cancer, 2, cross_entropy, seed)
        probe = LogisticRegression(max_iter=2000).fit(*(part.numpy() for part in seen))
        scores.append((probe.score(*(part.numpy() for part in test)), (answer.argmax(1) == y).float().mean().item()))
    own, found = np.mean(scores, axis=0)
    assert found > own
    assert found > 0.95


def test_diabetes():
    errors = []
    for seed in SEEDS:
        (last, y_seen), (last_test, y_test), (answer, _) = both(load_diabetes, 1, mse_loss, seed)
        probe = RidgeCV(np.logspace(-3, 4, 15)).fit(last.numpy(), y_seen.numpy())
        own = torch.from_numpy(probe.predict(last_test.numpy())).view_as(y_test)
        errors.append((mse_loss(own, y_test).sqrt().item(), mse_loss(answer, y_test).sqrt().item()))
    own, found = np.mean(errors, axis=0)
    assert found < 0.97 * own
