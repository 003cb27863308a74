"""This file knows the trained classifiers that the product's diagnosis, which is not trained, is compared with."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.verdicts.features import BANDS, ENVELOPE, Rows

SEED = 0

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "nearest centroid": NearestCentroid,
    "random forest": lambda: RandomForestClassifier(300, class_weight="balanced", random_state=SEED),
    "logistic regression": lambda: LogisticRegression(class_weight="balanced", max_iter=300),
}
"""Makers of untrained classifiers of scikit-learn."""


def trained_labels(name: str, rows: Rows, labels: list[str], unseen: Rows) -> list[str]:
    """Train on labelled windows and name unseen ones, by log bands and envelope of all channels side by side.

    Args:
        name: Of CLASSIFIERS.
        rows: Features of the training windows, shape (windows, channels, features).
        labels: Theirs.
        unseen: Features of the windows to name.
    """
    model = make_pipeline(StandardScaler(), CLASSIFIERS[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 steps are what it gets
        model.fit(_side_by_side(rows), labels)
    return [str(label) for label in model.predict(_side_by_side(unseen))]


def _side_by_side(rows: Rows) -> NDArray[np.float64]:
    return np.nan_to_num(rows[:, :, list(BANDS + ENVELOPE)].reshape(len(rows), -1))
