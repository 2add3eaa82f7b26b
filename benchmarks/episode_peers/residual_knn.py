"""Item-kNN on what biases leave of ratings."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.episode_peers.arrays import matrix, pairs, query, support
from benchmarks.episode_peers.ratings import SupportMean
from tanp import Episodes


class ResidualKNN:
    r"""Adds similar items' residuals to item bias and support mean.

    .. math::
        \hat{r}_{tj} = b_{tj} + \frac{\sum_{i \in S_t} w_{ij} e_{ti}}{\sum_{i \in
        S_t} |w_{ij}| + \delta}, \quad w_{ij} = \frac{n_{ij}}{n_{ij} + \lambda}
        \cos(e_i, e_j)

    with :math:`b` the :class:`~benchmarks.episode_peers.ratings.SupportMean`,
    :math:`e` the residuals of the warm users and :math:`n_{ij}` those who rated
    both items.

    Args:
        shrink (float): :math:`\lambda`, in users.
        damping (float): :math:`\delta`.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'shrink': (10, 30, 100),
        'damping': (0.1, 0.3, 1, 3),
    }
    likelihood: ClassVar[bool] = True

    def __init__(self, shrink: float = 30, damping: float = 0.3) -> None:
        self.shrink, self.damping = shrink, damping

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> ResidualKNN:
        self.base = SupportMean().fit(warm, num_items)
        known, shape = query(warm), (len(warm), num_items)
        rest = matrix(known, self.base.residual(known, len(warm)), shape)
        rated = matrix(known, np.ones(len(known.item)), shape)
        product, together = (rest.T @ rest).toarray(), (rated.T @ rated).toarray()
        norm = np.sqrt(product.diagonal())
        cosine = product / np.maximum(np.outer(norm, norm), 1e-9)
        self.weight = cosine * together / (together + self.shrink)
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        given, asked = support(episodes), query(episodes)
        row, column = pairs(episodes)
        weight = self.weight[given.item[column], asked.item[row]]
        rest = self.base.residual(given, len(episodes))[column]
        total = np.bincount(row, weight * rest, len(asked.item))
        size = np.bincount(row, np.abs(weight), len(asked.item))
        return self.base.predict(episodes) + total / (size + self.damping)
