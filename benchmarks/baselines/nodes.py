"""What rating baselines read: row numbers of both sides, and attributes as columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from agnn_pyg.base.encoder import AttributeEncoder
from benchmarks.baselines.settings import Baseline

SIDES = ('user', 'item')
# As those of AGNNRecommender: the same input for all.
MIN_COUNT = 5
NUM_KNOTS = 16


class RatingBaseline(Baseline, user_attributes=None, item_attributes=None):
    """A rating baseline with the interface of the recommenders.

    Subclasses write ``_fit(rating, user, item)`` and ``_predict(user, item)`` on row
    numbers of the tables, and may read ``nodes_`` there. Without names of attribute
    columns, all columns are used.
    """

    def fit(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame,
        items: pd.DataFrame,
        validation: pd.DataFrame | None = None,
    ) -> Any:
        """Fits the baseline; :obj:`validation` is not used."""
        config = self.config
        columns = config.user_attributes, config.item_attributes
        self.nodes_ = Nodes(ratings, users, items, *columns)
        rating = ratings['rating'].to_numpy(float)
        self.range_ = rating.min(), rating.max()
        self.mean_ = rating.mean()
        self._fit(rating, *self.nodes_.rows(ratings))
        return self

    def predict(
        self,
        pairs: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
    ) -> np.ndarray:
        """Rates pairs of the tables of the fit, within the range of its ratings."""
        return np.clip(self._predict(*self.nodes_.rows(pairs)), *self.range_)


class Nodes:
    """Users and items of a fit by row number.

    Attributes:
        size: Number of rows by side.
        trained: Masks of the rows with ratings, by side.
        frame: The tables, by side.
    """

    def __init__(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame,
        items: pd.DataFrame,
        user_attributes: list[str] | None = None,
        item_attributes: list[str] | None = None,
    ) -> None:
        self.frame = dict(zip(SIDES, (users, items), strict=True))
        self.size = {side: len(frame) for side, frame in self.frame.items()}
        self.trained = {
            side: frame[side].isin(ratings[side]).to_numpy()
            for side, frame in self.frame.items()
        }
        self._columns = {'user': user_attributes, 'item': item_attributes}
        self._index = {
            side: pd.Index(frame[side]) for side, frame in self.frame.items()
        }

    def rows(self, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the users and of the items of pairs."""
        found = [self._index[side].get_indexer(pairs[side]) for side in SIDES]
        for side, rows in zip(SIDES, found, strict=True):
            if (rows < 0).any():
                lost = pairs[side].iloc[int((rows < 0).argmax())]
                raise ValueError(f"'pairs' must be of known {side}s (got {lost!r})")
        return found[0], found[1]

    def attributes(
        self, side: str, columns: list[str] | None = None, trained_on: bool = True
    ) -> sp.csr_matrix:
        """Token weights of all nodes of a side, :obj:`[N, tokens]`.

        Args:
            side: :obj:`'user'` or :obj:`'item'`.
            columns: Columns to encode. (default: the side's attributes)
            trained_on: Whether the vocabulary is that of nodes with ratings only.
        """
        frame = self.frame[side]
        columns = columns if columns is not None else self._columns[side]
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


def row_products(left: sp.csr_matrix, right: sp.csr_matrix) -> sp.csr_matrix:
    """All products of two rows' entries: the Kronecker product row by row."""
    count = np.diff(left.indptr) * np.diff(right.indptr)
    row = np.repeat(np.arange(left.shape[0]), np.diff(left.indptr))
    width = np.diff(right.indptr)[row]
    # Each entry on the left meets the whole row on the right.
    start = np.repeat(right.indptr[row] - (np.cumsum(width) - width), width)
    other = start + np.arange(width.sum())
    each = np.repeat(np.arange(left.nnz), width)
    column = left.indices[each].astype(np.int64) * right.shape[1] + right.indices[other]
    value = left.data[each] * right.data[other]
    pointer = np.concatenate([[0], np.cumsum(count)])
    shape = (left.shape[0], left.shape[1] * right.shape[1])
    return sp.csr_matrix((value, column, pointer), shape)
