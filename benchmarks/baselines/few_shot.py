"""Few-shot baselines without a notion of taste, and what all few-shot ones share.

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
from benchmarks.baselines.rating import damped_mean

Frame = pd.DataFrame
SWEEPS = 5  # of each side in turn; the biases settle within three
UNSEEN = (0.0, 1.5, 3.5, 7.5, 15.5)


class Part(NamedTuple):
    """Interactions: the number of each one's task (user), its item's row, its label."""

    task: np.ndarray
    item: np.ndarray
    label: np.ndarray
    shape: tuple[int, int]  # numbers of tasks and items

    def take(self, rows: np.ndarray) -> Part:
        """Some of the interactions, by a mask or by their positions."""
        return Part(*(values[rows] for values in self[:3]), self.shape)

    def matrix(self, value: np.ndarray) -> sp.csr_array:
        """A value for each interaction, :obj:`[tasks, items]`; no zeros are stored."""
        made = sp.csr_array((value, (self.task, self.item)), shape=self.shape)
        made.eliminate_zeros()
        return made


class FewShotBaseline(Baseline):
    """A few-shot baseline with the interface of the recommenders.

    Subclasses write ``_fit(known)`` and ``_score(given, asked)`` on parts.
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

    def predict(self, pairs: Frame) -> Frame:
        # No score reads the labels of what is asked for.
        asked = self.part(pairs.assign(rating=np.nan), self.users_)
        scores = self._score(self.support_, asked)
        columns = ['score', 'rating'][: 1 + self.predicts_labels]
        return pd.DataFrame(dict.fromkeys(columns, scores), pairs.index)

    def part(self, frame: Frame, users: pd.Index) -> Part:
        task, item = (
            users.get_indexer(frame['user']),
            self.index_.get_indexer(frame['item']),
        )
        shape = len(users), len(self.index_)
        return Part(task, item, frame['rating'].to_numpy(float), shape)


class Random(FewShotBaseline):
    """Ranks at random."""

    def _fit(self, known: Part) -> None:
        pass

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        return np.random.default_rng(0).random(len(asked.item))


class Popularity(FewShotBaseline, unseen=0.0):
    """Ranks items by their likes; :obj:`unseen` where there are none."""

    GRID: ClassVar[dict] = {'unseen': UNSEEN}

    def _fit(self, known: Part) -> None:
        count = np.bincount(known.item, known.label, known.shape[1])
        self.count_ = np.where(count == 0, self.config.unseen, count)

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        return self.count_[asked.item]


class ItemMean(FewShotBaseline, item_damping=5.0):
    """The items' means, shrunk towards the mean of all ratings."""

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
        """How far each task's labels lie above the items' means: not looked at here."""
        return np.zeros(part.shape[0])


class SupportMean(ItemMean, user_damping=5.0):
    r"""Item biases plus how far the support lies above them.

    The latter is :math:`\sum_{i \in S_t} (r_{ti} - \mu - b_i) / (|S_t| + \lambda_u)`.
    Item and user biases of training users are fitted in turn, each given the other.
    """

    DAMPINGS = (0.5, 1.0, 2.0, 5.0, 10.0)
    GRID: ClassVar[dict] = {**ItemMean.GRID, 'user_damping': DAMPINGS}

    def level(self, part: Part) -> np.ndarray:
        rest = part.label - self.mean_ - self.bias_[part.item]
        return damped_mean(rest, part.task, part.shape[0], self.config.user_damping)

    def rest(self, part: Part) -> sp.csr_array:
        """The residuals of labels, :obj:`[tasks, items]`."""
        return part.matrix(part.label - self._score(part, part))


class FewShotAGNN(AGNNRecommender):
    """The network of AGNN, to which supports of new users are edges of the graph."""

    def fit(self, ratings: Frame, *nodes: Frame, validation: Any = None) -> Any:
        users, items = nodes
        return super().fit(ratings, users[users['user'].isin(ratings['user'])], items)

    def adapt(self, support: Frame, users: Frame) -> Any:
        made = copy.copy(self)
        made.support_ = support[['user', 'item', 'rating']]
        made.users_ = users[users['user'].isin(support['user'])]
        return made

    def predict(self, pairs: Frame) -> Frame:
        score = super().predict(pairs, self.users_, ratings=self.support_)
        return pd.DataFrame({'score': score, 'rating': score})
