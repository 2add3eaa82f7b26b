"""Gradient-boosted trees on attributes and leave-one-out means (LightGBM)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.baselines.nodes import SIDES, RatingBaseline

DAMPING = 5.0  # ratings of the mean
OPTIONS = {
    'objective': 'l2',
    'learning_rate': 0.05,
    'min_data_in_leaf': 50,
    'feature_fraction': 0.5,
    'bagging_fraction': 0.8,
    'bagging_freq': 1,
    'num_threads': 1,
    'seed': 0,
    'verbosity': -1,
}


class BoostedTrees(
    RatingBaseline, num_leaves=15, num_trees=300, cold_users=0.0, cold_items=0.0
):
    """LightGBM on the attributes of both ends and on damped means of ratings.

    The mean and the count of a training pair leave its own rating out, so training
    reads what predictions do. A fraction of users and of items is treated as cold in
    training, all their rows at once: mean and count are 0, as for truly cold ones.
    """

    GRID: ClassVar[dict] = {'cold_users': (0.0, 0.5), 'cold_items': (0.0, 0.5)}

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import lightgbm

        config, rng = self.config, np.random.default_rng(OPTIONS['seed'])
        self.attributes_ = {s: self.nodes_.attributes(s).toarray() for s in SIDES}
        cold = dict(zip(SIDES, (config.cold_users, config.cold_items), strict=True))
        rest = rating - self.mean_
        self.total_, self.count_, own = {}, {}, {}
        for side, index in zip(SIDES, (user, item), strict=True):
            size = self.nodes_.size[side]
            self.total_[side] = np.bincount(index, rest, size)
            self.count_[side] = np.bincount(index, minlength=size)
            treated = (rng.random(size) < cold[side])[index]
            total = np.where(treated, 0, self.total_[side][index] - rest)
            own[side] = total, np.where(treated, 0, self.count_[side][index] - 1)
        data = lightgbm.Dataset(self._features((user, item), own), rest)
        options = {**OPTIONS, 'num_leaves': config.num_leaves}
        self.model_ = lightgbm.train(options, data, config.num_trees)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        known = {
            side: (self.total_[side][index], self.count_[side][index])
            for side, index in zip(SIDES, (user, item), strict=True)
        }
        return self.mean_ + self.model_.predict(self._features((user, item), known))

    def _features(
        self,
        rows: tuple[np.ndarray, np.ndarray],
        known: dict[str, tuple[np.ndarray, np.ndarray]],
    ) -> np.ndarray:
        """Attributes, then the damped mean and the count of both ends."""
        blocks = []
        for side, index in zip(SIDES, rows, strict=True):
            total, count = known[side]
            mean = total / (count + DAMPING)
            blocks += [self.attributes_[side][index], mean[:, None], count[:, None]]
        return np.hstack(blocks)
