"""The probe is converged, its weights say what scikit-learn says, and C is chosen on validation."""

import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dynaxx.training.probe import fit_probe


@given(classes=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_it_answers_as_scikit_learn_does(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(60) % classes
    x = torch.randn(60, 5, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0]) + y[:, None]
    x[:, 4] = 7.0  # a channel that never varies
    probe = fit_probe(x, y, x, y, classes, [0.5])
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
    strong, weak = (fit_probe(x, y, held, held_y, 2, [C]) for C in (0.003, 1000.0))
    both = fit_probe(x, y, held, held_y, 2, [0.003, 1000.0])
    assert strong.accuracy > weak.accuracy
    assert (both.C, both.accuracy) == (0.003, strong.accuracy)


def test_without_images_there_is_no_accuracy():
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    with pytest.raises(ValueError, match="without validation images has no accuracy"):
        fit_probe(x, y, x[:0], y[:0], 3, [1.0])
    with pytest.raises(ValueError, match="class 3 of 4 has no training image"):
        fit_probe(x, y, x, y, 4, [1.0])
