"""Peers without attributes: the global mean, and damped biases."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from data.tables import RatingTables


class GlobalMean:
    """Predicts the mean of the training ratings."""

    GRID: ClassVar[dict[str, tuple]] = {}

    def fit(self, train: pd.DataFrame, tables: RatingTables) -> GlobalMean:
        self.mean = train['rating'].mean()
        return self

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        return np.full(len(pairs), self.mean)


class DampedBiases:
    r"""Global mean plus item and user biases, shrunk towards 0.

    .. math::
        b_i = \frac{\sum_u (r_{ui} - \mu)}{n_i + \lambda_i}, \quad
        b_u = \frac{\sum_i (r_{ui} - \mu - b_i)}{n_u + \lambda_u}

    A user or item without training ratings has bias 0.

    Args:
        user_damping (float): :math:`\lambda_u`, in ratings.
        item_damping (float): :math:`\lambda_i`, in ratings.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'user_damping': (0.3, 1, 3, 10, 30, 100),
        'item_damping': (0.3, 1, 3, 10, 30, 100),
    }

    def __init__(self, user_damping: float = 5, item_damping: float = 5) -> None:
        self.user_damping = user_damping
        self.item_damping = item_damping

    def fit(self, train: pd.DataFrame, tables: RatingTables) -> DampedBiases:
        self.mean = train['rating'].mean()
        rest = train['rating'] - self.mean
        self.item_bias = _shrunk_mean(rest, train['item'], self.item_damping)
        rest = rest - train['item'].map(self.item_bias)
        self.user_bias = _shrunk_mean(rest, train['user'], self.user_damping)
        return self

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        user = pairs['user'].map(self.user_bias).fillna(0)
        item = pairs['item'].map(self.item_bias).fillna(0)
        return (self.mean + user + item).to_numpy()


def _shrunk_mean(rest: pd.Series, key: pd.Series, damping: float) -> pd.Series:
    groups = rest.groupby(key)
    return groups.sum() / (groups.count() + damping)
