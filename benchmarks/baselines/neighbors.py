"""Few-shot baselines on co-occurrence: item-kNN, truncated SVD, a logistic stack."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.baselines.few_shot import (
    UNSEEN,
    FewShotBaseline,
    Part,
    Popularity,
    SupportMean,
)
from benchmarks.baselines.rating import solve_rows


class ItemKNN(Popularity, shrink=10.0):
    r"""Sums an item's similarities to the liked part of the support.

    .. math::
        s_{tj} = \sum_{i \in S_t} y_{ti} \frac{c_{ij}}{\sqrt{n_i n_j} + \lambda},
        \quad c_{ij} = \sum_u y_{ui} y_{uj}, \quad n_i = \sum_u y_{ui}

    over training users :math:`u`. Popularity decides between equal scores.
    """

    GRID: ClassVar[dict] = {'shrink': (0.0, 3.0, 10.0, 30.0, 100.0), 'unseen': UNSEEN}

    def _fit(self, known: Part) -> None:
        super()._fit(known)
        liked = known.matrix(known.label)
        self.together_ = (liked.T @ liked).toarray()
        self.likes_ = self.together_.diagonal()

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        # Less than any difference between sums that matters.
        tie = 1e-9 * super()._score(given, asked)
        return self.sums(given, asked) + tie

    def sums(self, given: Part, asked: Part, own: bool = False) -> np.ndarray:
        """The sums, without the users' own likes if these are training users."""
        # Every pair of a query and a support interaction of one task, by positions.
        queries, supports = (
            pd.DataFrame({'task': part.task}).reset_index() for part in (asked, given)
        )
        pairs = queries.merge(supports, on='task')
        row, column = pairs['index_x'].to_numpy(), pairs['index_y'].to_numpy()
        i, j, like_i = given.item[column], asked.item[row], given.label[column]
        like_j = asked.label[row] if own else np.zeros(len(row))
        together = self.together_[i, j] - like_i * like_j
        count_i, count_j = self.likes_[i] - like_i * own, self.likes_[j] - like_j
        size = np.sqrt(count_i * count_j) + self.config.shrink
        similarity = together / np.maximum(size, 1e-9)
        return np.bincount(row, like_i * similarity, len(asked.item))


class LogisticStack(FewShotBaseline, shrink=10.0, penalty=1.0, draws=4):
    """Logistic regression on the item-kNN score and bins of popularity.

    There is one model for each support size, fitted on training users with random
    supports of that size, without a user's own likes in any count.
    """

    GRID: ClassVar[dict] = {'shrink': (3.0, 10.0, 30.0), 'penalty': (0.1, 1.0, 10.0)}
    predicts_labels = True
    # Items without likes have a bin of their own: where dislikes were sampled, they are
    # liked more often than those with one or two.
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
    """Each task's interactions in random order, as a support of a size and a query."""
    keys = np.random.default_rng(seed).random(len(part.task))
    order = np.lexsort((keys, part.task))
    count = np.bincount(part.task)
    place = np.arange(len(order)) - (count.cumsum() - count)[part.task[order]]
    return part.take(order[place < size]), part.take(order[place >= size])


class SVDFoldIn(FewShotBaseline, rank=16, damping=10.0):
    r"""Projects the liked part of the support onto the leading item vectors.

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
    users and :math:`n_{ij}` the number of those who rated both items.
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
    r"""Folds a new user into the leading subspace of the items' residuals.

    .. math::
        \hat{r}_{tj} = b_{tj} + p_t^\top v_j, \quad p_t = \Big( \sum_{i \in S_t}
        v_i v_i^\top + \lambda I \Big)^{-1} \sum_{i \in S_t} e_{ti} v_i

    with :math:`b` the :class:`SupportMean`, :math:`e` the residuals and :math:`v_i`
    right singular vectors of those of training users, scaled to a mean square of 1.
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
