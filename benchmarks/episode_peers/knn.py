"""Item-kNN: items that the same warm users liked are near one another."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.episode_peers.arrays import matrix, pairs, query, support
from benchmarks.episode_peers.popularity import UNSEEN, Popularity
from tanp import Episodes


class ItemKNN:
    r"""Sums an item's similarities to the liked part of the support.

    .. math::
        s_{tj} = \sum_{i \in S_t} y_{ti} \frac{c_{ij}}{\sqrt{n_i n_j} + \lambda},
        \quad c_{ij} = \sum_u y_{ui} y_{uj}, \quad n_i = \sum_u y_{ui}

    over warm users :math:`u`. Popularity decides between equal scores, of which
    there are many where the support is small.

    Args:
        shrink (float): :math:`\lambda`, in users.
        unseen (float): See
            :class:`~benchmarks.episode_peers.popularity.Popularity`.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'shrink': (0, 3, 10, 30, 100),
        'unseen': UNSEEN,
    }
    likelihood: ClassVar[bool] = False

    def __init__(self, shrink: float = 10, unseen: float = 0) -> None:
        self.shrink = shrink
        self.popularity = Popularity(unseen)

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> ItemKNN:
        self.popularity.fit(warm, num_items)
        known = query(warm)
        liked = matrix(known, known.label, (len(warm), num_items))
        self.together = (liked.T @ liked).toarray()
        self.count = self.together.diagonal()
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        # Less than any difference between scores that matters.
        return self.score(episodes) + 1e-9 * self.popularity.predict(episodes)

    def score(self, episodes: Episodes, own: bool = False) -> np.ndarray:
        """The sum above for each query interaction.

        Args:
            episodes: The tasks.
            own: The tasks' users are warm ones: leave each user's own likes out
                of all counts, or the score of an item would tell its label.
        """
        given, asked = support(episodes), query(episodes)
        row, column = pairs(episodes)
        i, j = given.item[column], asked.item[row]
        like_i, like_j = given.label[column], asked.label[row] * own
        together = self.together[i, j] - like_i * like_j
        count_i, count_j = self.count[i] - like_i * own, self.count[j] - like_j
        similarity = together / np.maximum(
            np.sqrt(count_i * count_j) + self.shrink, 1e-9
        )
        return np.bincount(row, like_i * similarity, len(asked.item))
