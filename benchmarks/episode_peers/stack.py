"""A logistic stack on the simplest signals: item-kNN and popularity."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.episode_peers.arrays import dealt, query
from benchmarks.episode_peers.knn import ItemKNN
from tanp import Episodes

# Items that nobody liked have a bin of their own: they are liked more often
# than those with one or two likes, where negatives were sampled by users.
EDGES = (1, 2, 3, 5, 9, 17, 33, 65)


class LogisticStack:
    r"""Logistic regression on the item-kNN score and bins of popularity.

    One model for each support size that is asked for, fitted on the warm users
    with contexts of that size drawn at random; a user's own likes are left out
    of what the scores are counted from.

    Args:
        shrink (float): Of :class:`~benchmarks.episode_peers.knn.ItemKNN`.
        penalty (float): Weight of the squared coefficients.
        draws (int): Contexts that are drawn for each warm user.
    """

    GRID: ClassVar[dict[str, tuple]] = {'shrink': (3, 10, 30), 'penalty': (0.1, 1, 10)}
    likelihood: ClassVar[bool] = True

    def __init__(self, shrink: float = 10, penalty: float = 1, draws: int = 4) -> None:
        self.knn = ItemKNN(shrink)
        self.penalty, self.draws = penalty, draws

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> LogisticStack:
        self.knn.fit(warm, num_items)
        self.warm, self.seed = warm, seed
        self.models: dict[int, LogisticRegression] = {}
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        size = int(episodes.num_support.max())
        if size not in self.models:
            self.models[size] = self._fit(size)
        return self.models[size].predict_proba(self._features(episodes))[:, 1]

    def _fit(self, size: int) -> LogisticRegression:
        tasks = self.warm.at_least(size + 1)
        drawn = [dealt(tasks, size, self.seed + draw) for draw in range(self.draws)]
        features = [self._features(episodes, own=True) for episodes in drawn]
        label = [query(episodes).label for episodes in drawn]
        model = LogisticRegression(C=1 / self.penalty, max_iter=1000)
        return model.fit(np.concatenate(features), np.concatenate(label))

    def _features(self, episodes: Episodes, own: bool = False) -> np.ndarray:
        score = self.knn.score(episodes, own)
        asked = query(episodes)
        count = self.knn.count[asked.item] - asked.label * own
        bins = np.digitize(count, EDGES)
        return np.column_stack(
            [np.sqrt(score), score > 0, np.eye(len(EDGES) + 1)[bins]]
        )
