"""Peers that do not look at the support: chance, and popularity."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.episode_peers.arrays import query
from tanp import Episodes

UNSEEN = (0, 1.5, 3.5, 7.5, 15.5)


class Random:
    """Ranks at random."""

    GRID: ClassVar[dict[str, tuple]] = {}
    likelihood: ClassVar[bool] = False

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> Random:
        self.seed = seed
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        count = int(episodes.num_query.sum())
        return np.random.default_rng(self.seed).random(count)


class Popularity:
    """Ranks items by how many warm users liked them (label 1).

    Args:
        unseen (float): Likes that an item without any is taken to have. Where
            users' dislikes were sampled, nobody's favourite is no bad guess.
    """

    GRID: ClassVar[dict[str, tuple]] = {'unseen': UNSEEN}
    likelihood: ClassVar[bool] = False

    def __init__(self, unseen: float = 0) -> None:
        self.unseen = unseen

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> Popularity:
        known = query(warm)
        count = np.bincount(known.item, known.label, num_items)
        self.count = np.where(count == 0, self.unseen, count)
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        return self.count[query(episodes).item]
