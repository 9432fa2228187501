"""Scores of a candidate layer (tap): its information about the label, alone and together with the last layer."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynaxx.selection.cka import debiased_cka

CKA_SAMPLES = 1000
"""Largest number of samples in a CKA, whose Gram matrices grow quadratically with this number."""


@dataclass(frozen=True)
class Score:
    """The scores of one candidate tap, a row of the selection table.

    >>> score("layer3", features, last, labels, folds=5, seed=0, overhead=0.02).redundancy
    0.41

    Attributes:
        tap: module path of the tap.
        channels: number of channels of the tap.
        probe_gain: cross-validated accuracy of a linear probe on tap and last layer, minus that on the last layer only.
        standard_error: standard error of `probe_gain` over the samples (paired).
        redundancy: debiased linear CKA between tap and last layer.
        mutual_information: bits about the label, H(Y) minus the cross-validated cross-entropy of a probe on the tap.
        overhead: additional FLOPs of coupling this tap to the last one, as a share of the backbone's.
    """

    tap: str
    channels: int
    probe_gain: float
    standard_error: float
    redundancy: float
    mutual_information: float
    overhead: float


def score(tap: str, features: Tensor, last: Tensor, labels: Tensor, *, folds: int, seed: int, overhead: float) -> Score:
    """Score one candidate from pooled features (N, C), those of the last layer (N, F) and labels (N,)."""
    both = cross_validated(torch.cat([features, last], dim=1), labels, folds, seed)
    base = cross_validated(last, labels, folds, seed)
    alone = cross_validated(features, labels, folds, seed)
    y = labels.numpy()
    difference = (both.argmax(1) == y).astype(float) - (base.argmax(1) == y).astype(float)
    subset = slice(0, CKA_SAMPLES)
    return Score(
        tap=tap,
        channels=features.shape[1],
        probe_gain=float(difference.mean()),
        standard_error=float(difference.std(ddof=1) / np.sqrt(len(difference))),
        redundancy=debiased_cka(features[subset], last[subset]),
        mutual_information=mutual_information(alone, y),
        overhead=overhead,
    )


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


def cross_validated(features: Tensor, labels: Tensor, folds: int, seed: int) -> np.ndarray:
    """Out-of-fold class probabilities (N, classes) of a linear probe, by stratified cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of a class with one image, which a fold lacks
        warnings.filterwarnings("ignore", message="The least populated class|Number of classes in training fold")
        return cross_val_predict(probe, features.numpy(), labels.numpy(), cv=split, method="predict_proba")
