"""Gradient-boosted trees on attributes and leave-one-out means (LightGBM)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from benchmarks.peers.design import ITEM_ATTRIBUTES, USER_ATTRIBUTES, attribute_matrix
from data.tables import RatingTables


class BoostedTrees:
    """LightGBM on the attributes of both ends and on shrunk means of ratings.

    The mean and the count of a training pair leave its own rating out, so that
    training reads what serving will. Some users and items are treated as cold in
    training, all their rows at once: their mean is 0 and their count is 0, as for
    truly cold ones.

    Args:
        num_leaves (int): Leaves of a tree.
        rounds (int): Number of trees.
        cold_users (float): Share of the users treated as cold.
        cold_items (float): Share of the items treated as cold.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'cold_users': (0.0, 0.5),
        'cold_items': (0.0, 0.5),
    }

    DAMPING = 5.0
    SEED = 0

    def __init__(
        self,
        num_leaves: int = 15,
        rounds: int = 300,
        cold_users: float = 0.0,
        cold_items: float = 0.0,
    ) -> None:
        self.num_leaves, self.rounds = num_leaves, rounds
        self.cold_rate = {'user': cold_users, 'item': cold_items}

    def fit(self, train: pd.DataFrame, tables: RatingTables) -> BoostedTrees:
        import lightgbm

        self.tables, self.mean = tables, train['rating'].mean()
        columns = {'user': USER_ATTRIBUTES, 'item': ITEM_ATTRIBUTES}
        self.attributes = {
            side: attribute_matrix(tables, side, train, columns[side]).toarray()
            for side in ('user', 'item')
        }
        rng = np.random.default_rng(self.SEED)
        rest = train['rating'].to_numpy(float) - self.mean
        self.total, self.count, own = {}, {}, {}
        for side, index in zip(('user', 'item'), tables.positions(train), strict=True):
            size = len(tables.users if side == 'user' else tables.items)
            self.total[side] = np.bincount(index, rest, size)
            self.count[side] = np.bincount(index, minlength=size)
            treated = rng.random(size) < self.cold_rate[side]
            total = np.where(treated[index], 0, self.total[side][index] - rest)
            count = np.where(treated[index], 0, self.count[side][index] - 1)
            own[side] = total, count
        data = lightgbm.Dataset(self._features(train, own), rest)
        options = {
            'objective': 'l2',
            'num_leaves': self.num_leaves,
            'learning_rate': 0.05,
            'min_data_in_leaf': 50,
            'feature_fraction': 0.5,
            'bagging_fraction': 0.8,
            'bagging_freq': 1,
            'num_threads': 1,
            'seed': self.SEED,
            'verbosity': -1,
        }
        self.model = lightgbm.train(options, data, self.rounds)
        return self

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        known = {
            side: (self.total[side][index], self.count[side][index])
            for side, index in zip(
                ('user', 'item'), self.tables.positions(pairs), strict=True
            )
        }
        return self.mean + self.model.predict(self._features(pairs, known))

    def _features(
        self, pairs: pd.DataFrame, known: dict[str, tuple[np.ndarray, np.ndarray]]
    ) -> np.ndarray:
        """Attributes, then the shrunk mean and the count of both ends."""
        blocks = []
        for side, index in zip(
            ('user', 'item'), self.tables.positions(pairs), strict=True
        ):
            total, count = known[side]
            blocks += [
                self.attributes[side][index],
                (total / (count + self.DAMPING))[:, None],
                count[:, None],
            ]
        return np.hstack(blocks)
