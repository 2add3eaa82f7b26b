"""The global mean, damped biases, and ridge regression on ids and attributes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from benchmarks.baselines.nodes import Nodes, RatingBaseline, one_hot


class GlobalMean(RatingBaseline):
    """Predicts the mean of the training ratings."""

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        pass

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.full(len(user), self.mean_)


class DampedBiases(RatingBaseline, user_damping=5.0, item_damping=5.0):
    r"""Global mean plus item and user biases, shrunk towards 0.

    .. math::
        b_i = \frac{\sum_u (r_{ui} - \mu)}{n_i + \lambda_i}, \quad
        b_u = \frac{\sum_i (r_{ui} - \mu - b_i)}{n_u + \lambda_u}
    """

    DAMPINGS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    GRID: ClassVar[dict] = dict.fromkeys(('user_damping', 'item_damping'), DAMPINGS)

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        config, size = self.config, self.nodes_.size
        rest = rating - self.mean_
        self.item_ = damped_mean(rest, item, size['item'], config.item_damping)
        rest = rest - self.item_[item]
        self.user_ = damped_mean(rest, user, size['user'], config.user_damping)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.mean_ + self.user_[user] + self.item_[item]


def damped_mean(
    value: np.ndarray, group: np.ndarray, count: int, damping: float
) -> np.ndarray:
    """Sums over groups, divided by their sizes plus a damping, :obj:`[count]`."""
    total, size = np.bincount(group, value, count), np.bincount(group, None, count)
    return np.divide(total, size + damping, where=size > 0, out=np.zeros(count))


class Ridge(RatingBaseline, alpha=3.0, user_ids=True, item_ids=True, slopes=0.0):
    r"""A linear model of a pair's ids and attributes, shrunk towards the mean.

    Ids are optional: where all tested items are cold, an item's own effect takes from
    attributes what they should explain. A column scaled by :math:`s` is shrunk by
    :math:`\alpha / s^2`. With :obj:`slopes` as their scale, each user has slopes on
    genre, decade and year.
    """

    GRID: ClassVar[dict] = {
        'alpha': (1.0, 3.0, 10.0),
        'user_ids': (False, True),
        'item_ids': (False, True),
    }
    ATTRIBUTE_SCALE = 0.5

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        from sklearn.linear_model import Ridge as LinearModel

        self.attributes_ = {s: self.nodes_.attributes(s) for s in ('user', 'item')}
        self.sloped_ = _slope_features(self.nodes_) if self.config.slopes else None
        self.model_ = LinearModel(self.config.alpha, solver='sparse_cg', tol=1e-4)
        self.model_.fit(self._features(user, item), rating)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.model_.predict(self._features(user, item))

    def _features(self, user: np.ndarray, item: np.ndarray) -> sp.csr_matrix:
        config, size = self.config, self.nodes_.size
        # An id that was not trained on has a weight of exactly 0.
        user_ids, item_ids = one_hot(user, size['user']), one_hot(item, size['item'])
        blocks = [self.attributes_['user'][user], self.attributes_['item'][item]]
        blocks = [self.ATTRIBUTE_SCALE * block for block in blocks]
        blocks += [user_ids] * config.user_ids + [item_ids] * config.item_ids
        if config.slopes:
            rows, width = self.sloped_[item], self.sloped_.shape[1]
            own = np.repeat(user * width, np.diff(rows.indptr)) + rows.indices
            parts = config.slopes * rows.data, own, rows.indptr
            blocks.append(sp.csr_matrix(parts, (len(user), width * size['user'])))
        return sp.hstack(blocks, format='csr')


class SlopeRidge(Ridge):
    """The same with slopes for each user, the strongest baseline on cold items."""

    GRID: ClassVar[dict] = {
        'alpha': (1.0, 3.0, 10.0),
        'item_ids': (False, True),
        'slopes': (0.3,),
    }


def _slope_features(nodes: Nodes) -> sp.csr_matrix:
    """Genres, decades and the year in decades from its mean, for each item."""
    items, blocks = nodes.frame['item'], []
    if 'genre' in items:
        blocks.append(nodes.attributes('item', ['genre'], trained_on=False))
    if 'year' in items:
        year = items['year'].astype(float)
        year = ((year - year.mean()) / 10).fillna(0).to_numpy()
        decade = np.floor(items['year'] / 10).rank(method='dense').fillna(0)
        # 0, where the year is missing, is a decade of its own.
        blocks.append(one_hot(decade.to_numpy(int), int(decade.max()) + 1))
        blocks.append(sp.csr_matrix(year[:, None]))
    return sp.hstack(blocks, format='csr') if blocks else sp.csr_matrix((len(items), 0))
