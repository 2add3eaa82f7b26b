"""Few-shot baselines: means, co-occurrence, truncated SVD, a logistic stack, AGNN.

They are fitted on training users and score queries of new users with a support.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.baselines import Baseline
from benchmarks.baselines.rating import damped_mean, solve_rows

Frame = pd.DataFrame
SWEEPS = 5  # alternating fits of biases, which converge within three
UNSEEN = (0.0, 1.5, 3.5, 7.5, 15.5)


class Part(NamedTuple):
    """Interactions: row of the task (user), row of the item, and label of each."""

    task: np.ndarray
    item: np.ndarray
    label: np.ndarray
    shape: tuple[int, int]  # numbers of tasks and items

    def take(self, rows: np.ndarray) -> Part:
        """Some of the interactions, by a mask or by their positions."""
        return Part(*(values[rows] for values in self[:3]), self.shape)

    def matrix(self, value: np.ndarray) -> sp.csr_array:
        """Values of the interactions, :obj:`[tasks, items]`; zeros are not stored."""
        made = sp.csr_array((value, (self.task, self.item)), shape=self.shape)
        made.eliminate_zeros()
        return made


class FewShotBaseline(Baseline):
    """A few-shot baseline with the interface of the recommenders.

    Subclasses define ``_fit(known)`` and ``_score(given, asked)`` on parts.
    """

    predicts_labels: ClassVar[bool] = False  # whether scores estimate labels

    def fit(self, ratings: Frame, *nodes: Any, validation: Any = None) -> Any:
        self.index_ = pd.Index(nodes[1]['item'])
        self._fit(self.part(ratings, pd.Index(ratings['user'].unique())))
        return self

    def adapt(self, support: Frame, users: Any = None) -> Any:
        made = copy.copy(self)
        made.users_ = pd.Index(support['user'].unique())
        made.support_ = self.part(support, made.users_)
        return made

    def predict(self, pairs: Frame, clip: bool = False) -> pd.Series:
        # Hide the labels of queries.
        asked = self.part(pairs.assign(rating=np.nan), self.users_)
        scores = self._score(self.support_, asked)
        name = 'rating' if self.predicts_labels else 'score'
        return pd.Series(scores, pairs.index, name=name)

    def part(self, frame: Frame, users: pd.Index) -> Part:
        nodes = {'user': users, 'item': self.index_}
        rows = (ids.get_indexer(frame[side]) for side, ids in nodes.items())
        shape = len(users), len(self.index_)
        return Part(*rows, frame['rating'].to_numpy(float), shape)


class Random(FewShotBaseline):
    """Ranks items at random."""

    def _fit(self, known: Part) -> None:
        pass

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        return np.random.default_rng(0).random(len(asked.item))


class Popularity(FewShotBaseline, unseen=0.0):
    """Ranks items by their number of likes, :obj:`unseen` if there are none."""

    GRID: ClassVar[dict] = {'unseen': UNSEEN}

    def _fit(self, known: Part) -> None:
        count = np.bincount(known.item, known.label, known.shape[1])
        self.count_ = np.where(count == 0, self.config.unseen, count)

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        return self.count_[asked.item]


class ItemMean(FewShotBaseline, item_damping=5.0):
    """Predicts item means, shrunk towards the mean of all ratings."""

    GRID: ClassVar[dict] = {'item_damping': (1.0, 2.0, 5.0, 10.0, 20.0)}
    predicts_labels = True

    def _fit(self, known: Part) -> None:
        count, damping = known.shape[1], self.config.item_damping
        self.mean_, self.bias_ = known.label.mean(), np.zeros(count)
        for _ in range(SWEEPS):
            rest = known.label - self.mean_ - self.level(known)[known.task]
            self.bias_ = damped_mean(rest, known.item, count, damping)

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        return self.mean_ + self.bias_[asked.item] + self.level(given)[asked.task]

    def level(self, part: Part) -> np.ndarray:
        """Mean label of each task above the item means; 0 in this class."""
        return np.zeros(part.shape[0])


class SupportMean(ItemMean, user_damping=5.0):
    r"""Predicts item biases plus a user bias from the support.

    The latter is :math:`\sum_{i \in S_t} (r_{ti} - \mu - b_i) / (|S_t| + \lambda_u)`.
    On training users, item and user biases are fitted alternately.
    """

    DAMPINGS = (0.5, 1.0, 2.0, 5.0, 10.0)
    GRID: ClassVar[dict] = {**ItemMean.GRID, 'user_damping': DAMPINGS}

    def level(self, part: Part) -> np.ndarray:
        rest = part.label - self.mean_ - self.bias_[part.item]
        return damped_mean(rest, part.task, part.shape[0], self.config.user_damping)

    def rest(self, part: Part) -> sp.csr_array:
        """The residuals of labels, :obj:`[tasks, items]`."""
        return part.matrix(part.label - self._score(part, part))


class ItemKNN(Popularity, shrink=10.0):
    r"""Sums the similarities of an item to the liked items of the support.

    .. math::
        s_{tj} = \sum_{i \in S_t} y_{ti} \frac{c_{ij}}{\sqrt{n_i n_j} + \lambda},
        \quad c_{ij} = \sum_u y_{ui} y_{uj}, \quad n_i = \sum_u y_{ui}

    over training users :math:`u`. Popularity breaks ties.
    """

    GRID: ClassVar[dict] = {'shrink': (0.0, 3.0, 10.0, 30.0, 100.0), 'unseen': UNSEEN}

    def _fit(self, known: Part) -> None:
        super()._fit(known)
        liked = known.matrix(known.label)
        self.together_ = (liked.T @ liked).toarray()
        self.likes_ = self.together_.diagonal()

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        # Smaller than any relevant difference of the sums.
        tie = 1e-9 * super()._score(given, asked)
        return self.sums(given, asked) + tie

    def sums(self, given: Part, asked: Part, own: bool = False) -> np.ndarray:
        """The sums; for training users (`own`), without their own likes."""
        liked, found = given.matrix(given.label), np.empty(len(asked.item))
        label = asked.label if own else np.zeros(len(asked.item))
        for like in np.unique(label):
            others_i, others_j = (np.maximum(self.likes_ - x, 0) for x in (own, like))
            size = np.sqrt(np.outer(others_i, others_j)) + self.config.shrink
            similarity = (self.together_ - own * like) / np.maximum(size, 1e-9)
            rows = label == like
            found[rows] = (liked @ similarity)[asked.task[rows], asked.item[rows]]
        return found


class LogisticStack(FewShotBaseline, shrink=10.0, penalty=1.0, draws=4):
    """Logistic regression on the item-kNN score and bins of popularity.

    Each support size has its own model. It is fitted on training users with random
    supports of that size; all counts leave out the user's own likes.
    """

    GRID: ClassVar[dict] = {'shrink': (3.0, 10.0, 30.0), 'penalty': (0.1, 1.0, 10.0)}
    predicts_labels = True
    # Items without likes have their own bin: if dislikes are sampled, such items are
    # liked more often than items with one or two likes.
    EDGES = (1, 2, 3, 5, 9, 17, 33, 65)

    def _fit(self, known: Part) -> None:
        self.known_, self.models_ = known, {}
        self.knn_ = ItemKNN(shrink=self.config.shrink)
        self.knn_._fit(known)

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        size = int(np.bincount(given.task).max())
        if size not in self.models_:
            self.models_[size] = self._fit_size(size)
        return self.models_[size].predict_proba(self._features(given, asked))[:, 1]

    def _fit_size(self, size: int) -> object:
        from sklearn.linear_model import LogisticRegression

        is_enough = np.bincount(self.known_.task) > size
        kept, features, labels = self.known_.take(is_enough[self.known_.task]), [], []
        for draw in range(self.config.draws):
            given, asked = deal(kept, size, draw)
            features.append(self._features(given, asked, own=True))
            labels.append(asked.label)
        model = LogisticRegression(C=1 / self.config.penalty, max_iter=1000)
        return model.fit(np.concatenate(features), np.concatenate(labels))

    def _features(self, given: Part, asked: Part, own: bool = False) -> np.ndarray:
        score = self.knn_.sums(given, asked, own)
        count = self.knn_.likes_[asked.item] - (asked.label if own else 0)
        bins = np.eye(len(self.EDGES) + 1)[np.digitize(count, self.EDGES)]
        return np.column_stack([np.sqrt(score), score > 0, bins])


def deal(part: Part, size: int, seed: int) -> tuple[Part, Part]:
    """Shuffles each task's interactions and splits them into support and query."""
    keys = np.random.default_rng(seed).random(len(part.task))
    order = np.lexsort((keys, part.task))
    count = np.bincount(part.task)
    place = np.arange(len(order)) - (count.cumsum() - count)[part.task[order]]
    return part.take(order[place < size]), part.take(order[place >= size])


class SVDFoldIn(FewShotBaseline, rank=16, damping=10.0):
    r"""Projects the liked items of the support onto the leading item vectors.

    Scores are :math:`x_t D V_r V_r^\top` with :math:`X D \approx U_r \Sigma_r V_r^\top`
    of the likes of training users, and :math:`D = \mathrm{diag}(n_j + \lambda)^{-1/2}`.
    """

    GRID: ClassVar[dict] = {'rank': (4, 8, 16, 32, 64), 'damping': (1.0, 10.0, 100.0)}

    def _fit(self, known: Part) -> None:
        count = np.bincount(known.item, known.label, known.shape[1])
        self.scale_ = 1 / np.sqrt(count + self.config.damping)
        liked = known.matrix(known.label * self.scale_[known.item])
        self.items_ = item_vectors(liked, self.config.rank)

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        row = given.matrix(given.label * self.scale_[given.item]) @ self.items_
        return (row @ self.items_.T)[asked.task, asked.item]


def item_vectors(rows: sp.csr_array, rank: int) -> np.ndarray:
    """The leading right singular vectors, :obj:`[items, rank]`."""
    from sklearn.decomposition import TruncatedSVD

    rank = min(rank, min(rows.shape) - 1)
    svd = TruncatedSVD(rank, algorithm='randomized', n_iter=7, random_state=0)
    return svd.fit(sp.csr_matrix(rows)).components_.T


class ResidualKNN(FewShotBaseline, shrink=30.0, damping=0.3):
    r"""Adds the residuals of similar items to item bias and support mean.

    .. math::
        \hat{r}_{tj} = b_{tj} + \frac{\sum_{i \in S_t} w_{ij} e_{ti}}{\sum_{i \in
        S_t} |w_{ij}| + \delta}, \quad w_{ij} = \frac{n_{ij}}{n_{ij} + \lambda}
        \cos(e_i, e_j)

    with :math:`b` the :class:`SupportMean`, :math:`e` the residuals of the training
    users and :math:`n_{ij}` the number of training users who rated both items.
    """

    DAMPINGS = (0.1, 0.3, 1.0, 3.0)
    GRID: ClassVar[dict] = {'shrink': (10.0, 30.0, 100.0), 'damping': DAMPINGS}
    predicts_labels = True

    def _fit(self, known: Part) -> None:
        self.base_ = SupportMean()
        self.base_._fit(known)
        rest, rated = self.base_.rest(known), known.matrix(np.ones(len(known.item)))
        product, together = (rest.T @ rest).toarray(), (rated.T @ rated).toarray()
        norm = np.sqrt(product.diagonal())
        cosine = product / np.maximum(np.outer(norm, norm), 1e-9)
        self.weight_ = cosine * together / (together + self.config.shrink)

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        rest, rated = self.base_.rest(given), given.matrix(np.ones(len(given.item)))
        size = rated @ np.abs(self.weight_) + self.config.damping
        moved = rest @ self.weight_ / size
        return self.base_._score(given, asked) + moved[asked.task, asked.item]


class ResidualSVD(FewShotBaseline, rank=4, penalty=30.0):
    r"""Folds a new user into the leading subspace of item residuals.

    .. math::
        \hat{r}_{tj} = b_{tj} + p_t^\top v_j, \quad p_t = \Big( \sum_{i \in S_t}
        v_i v_i^\top + \lambda I \Big)^{-1} \sum_{i \in S_t} e_{ti} v_i

    with :math:`b` the :class:`SupportMean`, :math:`e` the residuals and :math:`v_i` the
    right singular vectors of training residuals, scaled to a mean square of 1.
    """

    PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
    GRID: ClassVar[dict] = {'rank': (1, 2, 4, 8, 16), 'penalty': PENALTIES}
    predicts_labels = True

    def _fit(self, known: Part) -> None:
        self.base_ = SupportMean()
        self.base_._fit(known)
        items = item_vectors(self.base_.rest(known), self.config.rank)
        self.items_ = items * np.sqrt(items.size / np.square(items).sum())

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        penalty = self.config.penalty * np.eye(self.items_.shape[1])
        rated, rest = given.matrix(np.ones(len(given.item))), self.base_.rest(given)
        taste = solve_rows(rated, self.items_, penalty, rest @ self.items_)
        liking = (taste @ self.items_.T)[asked.task, asked.item]
        return self.base_._score(given, asked) + liking


class FewShotAGNN(AGNNRecommender):
    """AGNN, which reads supports as ratings of new users, without training again."""

    def fit(self, ratings: Frame, users: Frame, items: Frame, validation: Any) -> Any:
        return super().fit(ratings, users[users['user'].isin(ratings['user'])], items)

    def adapt(self, support: Frame, users: Frame) -> Any:
        made = copy.copy(self)
        made.support_ = support[['user', 'item', 'rating']]
        made.users_ = users[users['user'].isin(support['user'])]
        return made

    def predict(self, pairs: Frame, clip: bool = False) -> pd.Series:
        return super().predict(pairs, self.users_, ratings=self.support_)
