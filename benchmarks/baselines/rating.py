"""Rating baselines: means, biases, ridge regression, boosted trees, factorization."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.base.linalg import unit_rows
from agnn_pyg.kernel.features import row_products
from benchmarks.baselines import Baseline
from data.tables import RatingTables

Frame = pd.DataFrame
# The same values as in AGNNRecommender, so that all models read the same input.
MIN_COUNT, NUM_KNOTS = 5, 16
ALPHAS, BOTH = (1.0, 3.0, 10.0), (False, True)
MEAN_DAMPING = 5.0  # of the means in the features of trees, in ratings
TREE_OPTIONS = {'objective': 'l2', 'learning_rate': 0.05, 'min_data_in_leaf': 50}
TREE_OPTIONS |= {'feature_fraction': 0.5, 'bagging_fraction': 0.8, 'bagging_freq': 1}
TREE_OPTIONS |= {'num_threads': 1, 'seed': 0, 'verbosity': -1}


class RatingBaseline(Baseline, user_attributes=None, item_attributes=None):
    """A rating baseline with the interface of the recommenders.

    Subclasses define ``_fit(rating, user, item)`` and ``_predict(user, item)`` on row
    numbers. If no attribute columns are named, all columns are used. Fitted attributes
    with a value for each side have the value for users first.
    """

    def fit(self, ratings: Frame, *nodes: Frame, validation: Any = None) -> Any:
        self.tables_, self.size_ = RatingTables(*nodes, ratings), tuple(map(len, nodes))
        rating, rows = ratings['rating'].to_numpy(float), self.tables_.positions()
        self.range_, self.mean_ = (rating.min(), rating.max()), rating.mean()
        sides = zip(rows, self.size_, strict=True)
        self.trained_ = [np.bincount(row, minlength=n) > 0 for row, n in sides]
        self._fit(rating, *rows)
        return self

    def predict(self, pairs: Frame) -> np.ndarray:
        rows = self.tables_.positions(pairs)
        return np.clip(self._predict(*rows), *self.range_)

    def ids(self) -> list[sp.dia_matrix]:
        """One column per id of a side; columns of ids without ratings are empty."""
        return [sp.diags(trained.astype(float)) for trained in self.trained_]

    def attributes(self) -> list[sp.csr_matrix]:
        """Token weights of all users and items; vocabularies are of trained nodes."""
        config, found = self.config, []
        for side, trained in zip(('user', 'item'), self.trained_, strict=True):
            frame = getattr(self.tables_, f'{side}s')
            columns = getattr(config, f'{side}_attributes')
            columns = frame.columns.drop(side) if columns is None else columns
            found.append(token_weights(frame, columns, trained))
        return found


def token_weights(
    frame: Frame, columns: Sequence[str], is_known: np.ndarray
) -> sp.csr_matrix:
    """Token weights of all nodes of a table, :obj:`[N, tokens]`."""
    if not len(columns):
        return sp.csr_matrix((len(frame), 0))
    encoder = AttributeEncoder(columns, MIN_COUNT, NUM_KNOTS).fit(frame[is_known])
    bags = encoder.transform(frame)
    # Treat "rare" and "missing" like other tokens; token 0 is padding.
    bags = dataclasses.replace(bags, is_value=torch.ones_like(bags.is_value))
    return bags.multi_hot()[:, 1:]


class GlobalMean(RatingBaseline):
    """Predicts the mean of the training ratings."""

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        pass

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.full(len(user), self.mean_)


class DampedBiases(RatingBaseline, user_damping=5.0, item_damping=5.0):
    r"""Global mean plus item and user biases, shrunk towards 0.

    :math:`b_i = \sum_u (r_{ui} - \mu) / (n_i + \lambda_i)`, then
    :math:`b_u = \sum_i (r_{ui} - \mu - b_i) / (n_u + \lambda_u)`.
    """

    DAMPINGS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    GRID: ClassVar[dict] = dict.fromkeys(('user_damping', 'item_damping'), DAMPINGS)

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        (users, items), rest = self.size_, rating - self.mean_
        self.item_ = damped_mean(rest, item, items, self.config.item_damping)
        rest = rest - self.item_[item]
        self.user_ = damped_mean(rest, user, users, self.config.user_damping)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.mean_ + self.user_[user] + self.item_[item]


def damped_mean(
    value: np.ndarray, group: np.ndarray, count: int, damping: float
) -> np.ndarray:
    """Sums over groups divided by group size plus damping, :obj:`[count]`."""
    total, size = np.bincount(group, value, count), np.bincount(group, None, count)
    return np.divide(total, size + damping, where=size > 0, out=np.zeros(count))


def solve_rows(
    x: sp.csr_matrix, other: np.ndarray, penalty: np.ndarray, target: np.ndarray
) -> np.ndarray:
    r"""Solves :math:`(\sum_j x_{ij} v_j v_j^\top + \Lambda) u_i = t_i` for each row."""
    products = (other[:, :, None] * other[:, None]).reshape(len(other), -1)
    gram = (x @ products).reshape(-1, *penalty.shape) + penalty
    return np.linalg.solve(gram, target[:, :, None])[:, :, 0]


class Ridge(RatingBaseline, alpha=3.0, user_ids=True, item_ids=True, slopes=0.0):
    r"""Ridge regression on ids and attributes of pairs, shrunk towards the mean.

    Ids are optional: if all test items are cold, item ids would absorb effects that
    attributes should explain. A column scaled by :math:`s` has the penalty
    :math:`\alpha / s^2`. :obj:`slopes` is the scale of each user's slopes on genre,
    decade and year; 0 disables slopes.
    """

    GRID: ClassVar[dict] = {'alpha': ALPHAS, 'user_ids': BOTH, 'item_ids': BOTH}
    ATTRIBUTE_SCALE = 0.5

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        from sklearn.linear_model import Ridge as LinearModel

        self.attributes_ = [self.ATTRIBUTE_SCALE * x for x in self.attributes()]
        if self.config.slopes:
            self.slopes_ = self.config.slopes * slope_features(self.tables_.items)
        self.model_ = LinearModel(self.config.alpha, solver='sparse_cg', tol=1e-4)
        self.model_.fit(self._features(user, item), rating)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.model_.predict(self._features(user, item))

    def _features(self, *rows: np.ndarray) -> sp.csr_matrix:
        config, pairs = self.config, zip(self.ids(), rows, strict=True)
        users, items = (ids.tocsr()[row] for ids, row in pairs)
        blocks = [x[row] for x, row in zip(self.attributes_, rows, strict=True)]
        blocks += [users] * config.user_ids + [items] * config.item_ids
        if config.slopes:
            blocks.append(row_products(users, self.slopes_[rows[1]]))
        made = sp.hstack(blocks, format='csr')
        # Without ids and attributes, a column of zeros yields the mean.
        return made if made.shape[1] else sp.csr_matrix((len(rows[0]), 1))


def slope_features(items: Frame) -> sp.csr_matrix:
    """Genres, decade, and year as decades from the mean, for each item."""
    genres = items.columns.intersection(['genre'])
    blocks = [token_weights(items, genres, slice(None))]
    if 'year' in items:
        year = items['year'].astype(float)
        decade = np.floor(year / 10).rank(method='dense').fillna(0).to_numpy(int)
        # Items without a year have decade 0.
        blocks.append(sp.eye(decade.max() + 1, format='csr')[decade])
        year = ((year - year.mean()) / 10).fillna(0).to_numpy()
        blocks.append(sp.csr_matrix(year[:, None]))
    return sp.hstack(blocks, format='csr')


class SlopeRidge(Ridge):
    """Ridge regression with slopes per user, the best baseline on cold items."""

    GRID: ClassVar[dict] = {'alpha': ALPHAS, 'item_ids': BOTH, 'slopes': (0.3,)}


class BoostedTrees(
    RatingBaseline, num_leaves=15, num_trees=300, cold_users=0.0, cold_items=0.0
):
    """LightGBM on attributes and damped mean ratings of users and items.

    The mean and the count of a training pair leave out its own rating, so that training
    and test features match. Training treats a fraction of users and items as cold:
    mean and count are 0 in all their rows, as for cold test nodes.
    """

    GRID: ClassVar[dict] = {'cold_users': (0.0, 0.5), 'cold_items': (0.0, 0.5)}

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import lightgbm

        config, rng = self.config, np.random.default_rng(TREE_OPTIONS['seed'])
        self.attributes_ = [x.toarray() for x in self.attributes()]
        rest, self.known_, own = rating - self.mean_, [], []
        rates = config.cold_users, config.cold_items
        for row, size, rate in zip((user, item), self.size_, rates, strict=True):
            sums = np.bincount(row, rest, size), np.bincount(row, None, size)
            self.known_.append(np.stack(sums, axis=1))
            others = self.known_[-1][row] - np.stack([rest, np.ones(len(row))], axis=1)
            own.append((rng.random(size) >= rate)[row, None] * others)
        data = lightgbm.Dataset(self._features((user, item), own), rest)
        options = {**TREE_OPTIONS, 'num_leaves': config.num_leaves}
        self.model_ = lightgbm.train(options, data, config.num_trees)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        known = [sums[row] for sums, row in zip(self.known_, (user, item), strict=True)]
        return self.mean_ + self.model_.predict(self._features((user, item), known))

    def _features(self, rows: Sequence, known: Sequence) -> np.ndarray:
        """Attributes, damped mean and count of users, then of items."""
        blocks = []
        for x, row, sums in zip(self.attributes_, rows, known, strict=True):
            total, count = sums[:, :1], sums[:, 1:]
            blocks += [x[row], total / (count + MEAN_DAMPING), count]
        return np.hstack(blocks)


class BayesianFM(RatingBaseline, rank=10, iterations=200):
    """A Bayesian factorization machine (myfm) on ids and attributes."""

    implicit: ClassVar[bool] = False

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import myfm

        rated = sp.csr_matrix((np.ones(len(user)), (user, item)), self.size_)
        self.blocks_, groups = [], []
        sides = zip(self.ids(), self.attributes(), (rated, rated.T), strict=True)
        for *parts, others in sides:
            if self.implicit:
                parts.append(unit_rows(others))
            self.blocks_.append(sp.hstack(parts, format='csr'))
            groups += [part.shape[1] for part in parts if part.shape[1]]
        self.model_ = myfm.MyFMRegressor(rank=self.config.rank, random_seed=0)
        # The library prints a progress bar even without a terminal.
        with redirect_stderr(io.StringIO()):
            options = {'n_iter': self.config.iterations, 'group_shapes': groups}
            options['callback'] = lambda *state: (False, None)
            self.model_.fit(**self._input(user, item), y=rating, **options)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.model_.predict(**self._input(user, item))

    def _input(self, *rows: np.ndarray) -> dict[str, Any]:
        from myfm import RelationBlock

        pairs = zip(rows, self.blocks_, strict=True)
        blocks = [RelationBlock(row, block) for row, block in pairs]
        return {'X': sp.csr_matrix((len(rows[0]), 0)), 'X_rel': blocks}


class BayesianFMImplicit(BayesianFM):
    """A Bayesian FM that also reads each user's rated items and each item's users."""

    implicit = True


class CollectiveMF(RatingBaseline, rank=30, penalty=10.0, weight=1.0):
    """Collective matrix factorization (cmfrec) of ratings and attributes."""

    GRID: ClassVar[dict] = {'penalty': (10.0, 30.0, 100.0), 'weight': (0.5, 5.0)}

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import cmfrec

        config = self.config
        weights = {'w_user': config.weight, 'w_item': config.weight}
        options = {'nthreads': 1, 'random_state': 0, 'verbose': False}
        self.model_ = cmfrec.CMF(config.rank, config.penalty, **weights, **options)
        users, items = (x.tocoo() for x in self.attributes())
        rated = sp.coo_matrix((rating, (user, item)), self.size_)
        self.model_.fit(rated, U=users, I=items)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.model_.predict(user, item)


class SVDPlusPlus(RatingBaseline, rank=20, epochs=20):
    """SVD++ (scikit-surprise) on ids and rated items, without attributes."""

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import surprise

        frame = pd.DataFrame({'user': user, 'item': item, 'rating': rating})
        reader = surprise.Reader(rating_scale=self.range_)
        data = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
        options = {'n_factors': self.config.rank, 'n_epochs': self.config.epochs}
        options |= {'random_state': 0, 'cache_ratings': True}
        self.model_ = surprise.SVDpp(**options).fit(data)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        pairs = zip(user.tolist(), item.tolist(), strict=True)
        return np.array([self.model_.predict(*pair).est for pair in pairs])
