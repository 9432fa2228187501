"""A cross-validated logistic probe, on whose numbers the advice was calibrated, and what it knows of the classes."""

import warnings

import numpy as np
from torch import Tensor


def mutual_information(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Lower bound on I(tap; Y) in bits: H(Y) - CE, with the cross-entropy of a probe on unseen samples.

    >>> mutual_information(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
    1.0

    Args:
        probabilities: out-of-fold predictions (N, classes).
        labels: class numbers (N,).
    """
    from scipy.stats import entropy

    prior = entropy(np.bincount(labels), base=2)
    picked = probabilities[np.arange(len(labels)), labels]
    return float(prior + np.log2(np.clip(picked, 1e-12, 1.0)).mean())


def cross_validated(features: Tensor, labels: Tensor, fold: Tensor) -> np.ndarray:
    """Out-of-fold class probabilities (N, classes) of a linear probe.

    >>> cross_validated(torch.randn(60, 8), torch.arange(60) % 3, torch.arange(60) % 5).shape
    (60, 3)

    Args:
        features: (N, F).
        labels: class numbers (N,), each of 0, 1, … present.
        fold: number of each sample's fold (N,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    with warnings.catch_warnings():  # of a class that one fold has alone
        warnings.filterwarnings("ignore", message="Number of classes in training fold")
        return cross_val_predict(
            probe, features.numpy(), labels.numpy(), cv=PredefinedSplit(fold.numpy()), method="predict_proba"
        )
