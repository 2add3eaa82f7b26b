"""Truncated SVD of what biases leave of ratings, with folding-in."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.episode_peers.arrays import matrix, query, support
from benchmarks.episode_peers.ratings import SupportMean
from benchmarks.episode_peers.svd import item_vectors
from tanp import Episodes


class ResidualSVD:
    r"""Folds a new user into the leading subspace of the items' residuals.

    .. math::
        \hat{r}_{tj} = b_{tj} + p_t^\top v_j, \quad p_t = \Big( \sum_{i \in S_t}
        v_i v_i^\top + \lambda I \Big)^{-1} \sum_{i \in S_t} e_{ti} v_i

    with :math:`b` the :class:`~benchmarks.episode_peers.ratings.SupportMean`,
    :math:`e` the residuals and :math:`v_i` the leading right singular vectors of
    those of warm users, scaled to a mean square of 1.

    Args:
        rank (int): Length of :math:`v_i`.
        penalty (float): :math:`\lambda`.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'rank': (1, 2, 4, 8, 16),
        'penalty': (10, 30, 100, 300, 1000),
    }
    likelihood: ClassVar[bool] = True

    def __init__(self, rank: int = 4, penalty: float = 30) -> None:
        self.rank, self.penalty = rank, penalty

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> ResidualSVD:
        self.base = SupportMean().fit(warm, num_items)
        known = query(warm)
        rest = self.base.residual(known, len(warm))
        rows = matrix(known, rest, (len(warm), num_items))
        items = item_vectors(rows, self.rank, seed)
        self.items = items * np.sqrt(items.size / np.square(items).sum())
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        given, asked = support(episodes), query(episodes)
        tasks, (num_items, rank) = len(episodes), self.items.shape
        shape = (tasks, num_items)
        products = (self.items[:, :, None] * self.items[:, None, :]).reshape(
            num_items, -1
        )
        gram = matrix(given, np.ones(len(given.item)), shape) @ products
        gram = gram.reshape(tasks, rank, rank) + self.penalty * np.eye(rank)
        rest = matrix(given, self.base.residual(given, tasks), shape)
        taste = np.linalg.solve(gram, (rest @ self.items)[:, :, None])[:, :, 0]
        liking = np.einsum('nr,nr->n', taste[asked.task], self.items[asked.item])
        return self.base.predict(episodes) + liking
