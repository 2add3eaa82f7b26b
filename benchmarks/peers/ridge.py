"""Ridge regression on ids and attributes, plain and with slopes for each user."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.peers.design import (
    ITEM_ATTRIBUTES,
    USER_ATTRIBUTES,
    attribute_matrix,
    one_hot,
    row_products,
)
from data.tables import RatingTables


class Ridge:
    r"""A linear model of what is known of a pair, shrunk towards the mean.

    Features are the one-hot ids of those users and items that were trained on
    and the attributes of both. Ids are optional: where all tested items are
    cold, an item's own effect takes from attributes what they should explain.
    A column scaled by :math:`s` is shrunk by :math:`\alpha / s^2`.

    Args:
        alpha (float): Strength of shrinkage, :math:`\alpha`.
        user_ids (bool): Have an effect for each user.
        item_ids (bool): Have an effect for each item.
        slopes (float): Scale of each user's own slopes on genre, decade and year;
            0 goes without.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'alpha': (1, 3, 10),
        'user_ids': (False, True),
        'item_ids': (False, True),
    }

    ATTRIBUTE_SCALE = 0.5

    def __init__(
        self,
        alpha: float = 3,
        user_ids: bool = True,
        item_ids: bool = True,
        slopes: float = 0,
    ) -> None:
        self.alpha = alpha
        self.user_ids, self.item_ids = user_ids, item_ids
        self.slopes = slopes

    def fit(self, train: pd.DataFrame, tables: RatingTables) -> Ridge:
        from sklearn.linear_model import Ridge as LinearModel

        self.tables = tables
        self.attributes = {
            'user': attribute_matrix(tables, 'user', train, USER_ATTRIBUTES),
            'item': attribute_matrix(tables, 'item', train, ITEM_ATTRIBUTES),
        }
        self.sloped = _slope_features(tables) if self.slopes else None
        self.model = LinearModel(self.alpha, solver='sparse_cg', tol=1e-4)
        self.model.fit(self._features(train), train['rating'].to_numpy(float))
        return self

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        return self.model.predict(self._features(pairs))

    def _features(self, pairs: pd.DataFrame) -> sp.csr_matrix:
        user, item = self.tables.positions(pairs)
        # An id that was not trained on has a weight of exactly 0.
        ids_user = one_hot(user, len(self.tables.users))
        ids_item = one_hot(item, len(self.tables.items))
        blocks = [self.attributes['user'][user], self.attributes['item'][item]]
        blocks = [self.ATTRIBUTE_SCALE * block for block in blocks]
        if self.user_ids:
            blocks.append(ids_user)
        if self.item_ids:
            blocks.append(ids_item)
        if self.slopes:
            blocks.append(self.slopes * row_products(ids_user, self.sloped[item]))
        return sp.hstack(blocks, format='csr')


class SlopeRidge(Ridge):
    """The same with slopes for each user: the strongest on cold items."""

    GRID: ClassVar[dict[str, tuple]] = {
        'alpha': (1, 3, 10),
        'item_ids': (False, True),
        'slopes': (0.3,),
    }


def _slope_features(tables: RatingTables) -> sp.csr_matrix:
    """Genres, decades and the year in decades from its mean, for each item."""
    items = tables.items
    blocks = []
    if 'genre' in items:
        blocks.append(attribute_matrix(tables, 'item', items, ('genre',)))
    if 'year' in items:
        year = items['year'].astype(float)
        year = ((year - year.mean()) / 10).fillna(0).to_numpy()
        decade, _ = pd.factorize(np.floor(items['year'] / 10))
        # -1, where the year is missing, is a decade of its own.
        blocks += [one_hot(decade + 1, decade.max() + 2), sp.csr_matrix(year[:, None])]
    return sp.hstack(blocks, format='csr') if blocks else sp.csr_matrix((len(items), 0))
