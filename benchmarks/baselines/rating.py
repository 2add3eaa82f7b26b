"""Rating baselines: means, biases, ridge regression, boosted trees, factorization."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from agnn_pyg.base.encoder import AttributeEncoder
from benchmarks.baselines import Baseline

Frame = pd.DataFrame
SIDES = ('user', 'item')
# As those of AGNNRecommender: the same input for all.
MIN_COUNT, NUM_KNOTS = 5, 16
ALPHAS, BOTH = (1.0, 3.0, 10.0), (False, True)
MEAN_DAMPING = 5.0  # of the means that trees read, in ratings
TREE_OPTIONS = {'objective': 'l2', 'learning_rate': 0.05, 'min_data_in_leaf': 50}
TREE_OPTIONS |= {'feature_fraction': 0.5, 'bagging_fraction': 0.8, 'bagging_freq': 1}
TREE_OPTIONS |= {'num_threads': 1, 'seed': 0, 'verbosity': -1}


class RatingBaseline(Baseline, user_attributes=None, item_attributes=None):
    """A rating baseline with the interface of the recommenders.

    Subclasses write ``_fit(rating, user, item)`` and ``_predict(user, item)`` on row
    numbers. Without names of attribute columns, all columns are used.
    """

    def fit(self, ratings: Frame, *nodes: Frame, validation: Any = None) -> Any:
        self.frame_ = dict(zip(SIDES, nodes, strict=True))
        self.size_ = {side: len(frame) for side, frame in self.frame_.items()}
        rating = ratings['rating'].to_numpy(float)
        self.range_, self.mean_ = (rating.min(), rating.max()), rating.mean()
        rows = self.rows(ratings)
        self.trained_ = {
            side: np.bincount(index, minlength=self.size_[side]) > 0
            for side, index in zip(SIDES, rows, strict=True)
        }
        self._fit(rating, *rows)
        return self

    def predict(self, pairs: Frame) -> np.ndarray:
        return np.clip(self._predict(*self.rows(pairs)), *self.range_)

    def rows(self, pairs: Frame) -> list[np.ndarray]:
        """Row numbers of the users and of the items of pairs."""
        found = []
        for side, frame in self.frame_.items():
            found.append(pd.Index(frame[side]).get_indexer(pairs[side]))
            if (found[-1] < 0).any():
                lost = pairs[side].iloc[int(found[-1].argmin())]
                raise ValueError(f"'pairs' must be of known {side}s (got {lost!r})")
        return found

    def matrix(self, value: np.ndarray, *rows: np.ndarray) -> sp.csr_matrix:
        return sp.csr_matrix((value, rows), tuple(self.size_.values()))

    def attributes(
        self, side: str, columns: list[str] | None = None, trained_on: bool = True
    ) -> sp.csr_matrix:
        """Token weights of all nodes of a side, :obj:`[N, tokens]`.

        The vocabulary is that of nodes with ratings, or of all.
        """
        frame = self.frame_[side]
        columns = columns or getattr(self.config, f'{side}_attributes')
        columns = [c for c in frame if c != side] if columns is None else columns
        if not columns:
            return sp.csr_matrix((len(frame), 0))
        encoder = AttributeEncoder(columns, MIN_COUNT, NUM_KNOTS)
        encoder.fit(frame[self.trained_[side]] if trained_on else frame)
        bags = encoder.transform(frame)
        row, slot = (bags.weight != 0).nonzero(as_tuple=True)
        entries = bags.weight[row, slot].double().numpy(), (row, bags.index[row, slot])
        shape = (len(frame), encoder.num_tokens)
        return sp.csr_matrix(entries, shape=shape)[:, 1:]  # token 0 is padding


def one_hot(index: np.ndarray, size: int) -> sp.csr_matrix:
    """Rows with a single one each, :obj:`[len(index), size]`."""
    ones = np.ones(len(index))
    return sp.csr_matrix((ones, index, np.arange(len(index) + 1)), (len(index), size))


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
        config, size = self.config, self.size_
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

    GRID: ClassVar[dict] = {'alpha': ALPHAS, 'user_ids': BOTH, 'item_ids': BOTH}
    ATTRIBUTE_SCALE = 0.5

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        from sklearn.linear_model import Ridge as LinearModel

        self.attributes_ = {s: self.attributes(s) for s in ('user', 'item')}
        self.sloped_ = self._slope_features() if self.config.slopes else None
        self.model_ = LinearModel(self.config.alpha, solver='sparse_cg', tol=1e-4)
        self.model_.fit(self._features(user, item), rating)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.model_.predict(self._features(user, item))

    def _features(self, user: np.ndarray, item: np.ndarray) -> sp.csr_matrix:
        config, size = self.config, self.size_
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
        made = sp.hstack(blocks, format='csr')
        # With neither ids nor attributes a column of zeros leaves the mean alone.
        return made if made.shape[1] else sp.csr_matrix((len(user), 1))

    def _slope_features(self) -> sp.csr_matrix:
        """Genres, decades and the year in decades from its mean, for each item."""
        items, blocks = self.frame_['item'], [sp.csr_matrix((self.size_['item'], 0))]
        if 'genre' in items:
            blocks.append(self.attributes('item', ['genre'], trained_on=False))
        if 'year' in items:
            year = items['year'].astype(float)
            decade = np.floor(year / 10).rank(method='dense').fillna(0).to_numpy(int)
            # 0, where the year is missing, is a decade of its own.
            blocks.append(one_hot(decade, decade.max() + 1))
            year = ((year - year.mean()) / 10).fillna(0).to_numpy()
            blocks.append(sp.csr_matrix(year[:, None]))
        return sp.hstack(blocks, format='csr')


class SlopeRidge(Ridge):
    """The same with slopes for each user, the strongest baseline on cold items."""

    GRID: ClassVar[dict] = {'alpha': ALPHAS, 'item_ids': BOTH, 'slopes': (0.3,)}


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

        config, rng = self.config, np.random.default_rng(TREE_OPTIONS['seed'])
        self.attributes_ = [self.attributes(side).toarray() for side in SIDES]
        rest, self.known_, own = rating - self.mean_, [], []
        cold = config.cold_users, config.cold_items
        for size, index, rate in zip(
            self.size_.values(), (user, item), cold, strict=True
        ):
            total, count = (
                np.bincount(index, rest, size),
                np.bincount(index, None, size),
            )
            self.known_.append((total, count))
            kept = (rng.random(size) >= rate)[index]
            own.append((kept * (total[index] - rest), kept * (count[index] - 1)))
        data = lightgbm.Dataset(self._features((user, item), own), rest)
        options = {**TREE_OPTIONS, 'num_leaves': config.num_leaves}
        self.model_ = lightgbm.train(options, data, config.num_trees)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        pairs = zip(self.known_, (user, item), strict=True)
        known = [(total[index], count[index]) for (total, count), index in pairs]
        return self.mean_ + self.model_.predict(self._features((user, item), known))

    def _features(self, rows: tuple[np.ndarray, ...], known: list[Any]) -> np.ndarray:
        """Attributes, then the damped mean and the count of both ends."""
        blocks = []
        for x, index, (total, count) in zip(self.attributes_, rows, known, strict=True):
            mean = total / (count + MEAN_DAMPING)
            blocks += [x[index], mean[:, None], count[:, None]]
        return np.hstack(blocks)


class BayesianFM(RatingBaseline, rank=10, iterations=200):
    """A Bayesian factorisation machine (myfm): ids and attributes of both ends."""

    implicit: ClassVar[bool] = False

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import myfm

        rated = self.matrix(np.ones(len(user)), user, item)
        self.blocks_, groups = [], []
        for side, matrix in zip(SIDES, (rated, rated.T.tocsr()), strict=True):
            # A cold id was never trained: it must not be there at all.
            ids = sp.diags(self.trained_[side].astype(float))
            parts = [ids, self.attributes(side)]
            if self.implicit:
                scale = 1 / np.sqrt(np.maximum(np.diff(matrix.indptr), 1))
                parts.append(sp.diags(scale) @ matrix)
            self.blocks_.append(sp.hstack(parts, format='csr'))
            groups += [part.shape[1] for part in parts if part.shape[1]]
        self.model_ = myfm.MyFMRegressor(rank=self.config.rank, random_seed=0)
        # The library draws a progress bar whether or not there is a terminal.
        with redirect_stderr(io.StringIO()):
            options = {'n_iter': self.config.iterations, 'group_shapes': groups}
            options['callback'] = lambda *state: (False, None)
            options['X_rel'] = self._relations(user, item)
            self.model_.fit(sp.csr_matrix((len(user), 0)), rating, **options)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        empty = sp.csr_matrix((len(user), 0))
        return self.model_.predict(empty, X_rel=self._relations(user, item))

    def _relations(self, *rows: np.ndarray) -> list[Any]:
        from myfm import RelationBlock

        pairs = zip(rows, self.blocks_, strict=True)
        return [RelationBlock(index, block) for index, block in pairs]


class BayesianFMImplicit(BayesianFM):
    """The same with what each user rated, and who rated each item."""

    implicit = True


class CollectiveMF(RatingBaseline, rank=30, penalty=10.0, weight=1.0):
    """Collective matrix factorisation (cmfrec): ratings and attributes at once."""

    GRID: ClassVar[dict] = {'penalty': (10.0, 30.0, 100.0), 'weight': (0.5, 5.0)}

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import cmfrec

        config = self.config
        options = {'k': config.rank, 'lambda_': config.penalty}
        options |= {'w_user': config.weight, 'w_item': config.weight}
        options |= {'nthreads': 1, 'random_state': 0, 'verbose': False}
        self.model_ = cmfrec.CMF(**options)
        matrices = [self.attributes(side).tocoo() for side in SIDES]
        rated = self.matrix(rating, user, item).tocoo()
        self.model_.fit(rated, U=matrices[0], I=matrices[1])

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return self.model_.predict(user, item)


class SVDPlusPlus(RatingBaseline, rank=20, epochs=20):
    """SVD++ (scikit-surprise): no attributes, but what each user rated."""

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
