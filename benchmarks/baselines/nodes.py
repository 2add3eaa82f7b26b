"""What rating baselines read: row numbers of both sides, and attributes as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from agnn_pyg.base.encoder import AttributeEncoder
from benchmarks.baselines.settings import Baseline

Frame = pd.DataFrame
SIDES = ('user', 'item')
# As those of AGNNRecommender: the same input for all.
MIN_COUNT, NUM_KNOTS = 5, 16


class RatingBaseline(Baseline, user_attributes=None, item_attributes=None):
    """A rating baseline with the interface of the recommenders.

    Subclasses write ``_fit(rating, user, item)`` and ``_predict(user, item)`` on row
    numbers. Without names of attribute columns, all columns are used.
    """

    def fit(self, ratings: Frame, *nodes: Frame, validation: Any = None) -> Any:
        columns = self.config.user_attributes, self.config.item_attributes
        self.nodes_ = Nodes(ratings, nodes, columns)
        rating = ratings['rating'].to_numpy(float)
        self.range_, self.mean_ = (rating.min(), rating.max()), rating.mean()
        self._fit(rating, *self.nodes_.rows(ratings))
        return self

    def predict(self, pairs: Frame) -> np.ndarray:
        return np.clip(self._predict(*self.nodes_.rows(pairs)), *self.range_)


class Nodes:
    """Users and items of a fit by row number, and which of them have ratings."""

    def __init__(
        self, ratings: Frame, frames: Sequence[Frame], columns: Sequence = (None, None)
    ) -> None:
        self.frame = dict(zip(SIDES, frames, strict=True))
        self.columns = dict(zip(SIDES, columns, strict=True))
        self.size = {side: len(frame) for side, frame in self.frame.items()}
        self.trained = {
            side: frame[side].isin(ratings[side]).to_numpy()
            for side, frame in self.frame.items()
        }

    def rows(self, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the users and of the items of pairs."""
        found = []
        for side, frame in self.frame.items():
            found.append(pd.Index(frame[side]).get_indexer(pairs[side]))
            if (found[-1] < 0).any():
                lost = pairs[side].iloc[int(found[-1].argmin())]
                raise ValueError(f"'pairs' must be of known {side}s (got {lost!r})")
        return tuple(found)

    def attributes(
        self, side: str, columns: list[str] | None = None, trained_on: bool = True
    ) -> sp.csr_matrix:
        """Token weights of all nodes of a side, :obj:`[N, tokens]`.

        The vocabulary is that of nodes with ratings, or of all.
        """
        frame = self.frame[side]
        columns = columns if columns is not None else self.columns[side]
        if columns is None:
            columns = [column for column in frame if column != side]
        if not columns:
            return sp.csr_matrix((len(frame), 0))
        encoder = AttributeEncoder(columns, MIN_COUNT, NUM_KNOTS)
        encoder.fit(frame[self.trained[side]] if trained_on else frame)
        bags = encoder.transform(frame)
        row, slot = (bags.weight != 0).nonzero(as_tuple=True)
        entries = bags.weight[row, slot].double().numpy(), (row, bags.index[row, slot])
        shape = (len(frame), encoder.num_tokens)
        return sp.csr_matrix(entries, shape=shape)[:, 1:]  # token 0 is padding


def one_hot(index: np.ndarray, size: int) -> sp.csr_matrix:
    """Rows with a single one each, :obj:`[len(index), size]`."""
    ones = np.ones(len(index))
    return sp.csr_matrix((ones, index, np.arange(len(index) + 1)), (len(index), size))
