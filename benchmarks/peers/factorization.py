"""Factorisation with attributes or implicit feedback: myfm, cmfrec, SVD++."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from typing import ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.peers.design import (
    ITEM_ATTRIBUTES,
    USER_ATTRIBUTES,
    attribute_matrix,
)
from data.tables import RatingTables


class BayesianFM:
    """A Bayesian factorisation machine (myfm): ids and attributes of both ends.

    Args:
        rank (int): Size of the factors.
        iterations (int): Samples drawn, burn-in included.
    """

    GRID: ClassVar[dict[str, tuple]] = {'rank': (10,)}

    implicit: ClassVar[bool] = False

    def __init__(self, rank: int = 10, iterations: int = 200) -> None:
        self.rank, self.iterations = rank, iterations

    def fit(self, train: pd.DataFrame, tables: RatingTables) -> BayesianFM:
        import myfm

        self.tables = tables
        users, items = tables.positions(train)
        sizes = len(tables.users), len(tables.items)
        rated = sp.csr_matrix((np.ones(len(train)), (users, items)), sizes)
        self.blocks, groups = [], []
        for side, columns, matrix in (
            ('user', USER_ATTRIBUTES, rated),
            ('item', ITEM_ATTRIBUTES, rated.T.tocsr()),
        ):
            known = np.diff(matrix.indptr) > 0
            # A cold id was never trained: it must not be there at all.
            ids = sp.diags(known.astype(float))
            parts = [ids, attribute_matrix(tables, side, train, columns)]
            if self.implicit:
                scale = 1 / np.sqrt(np.maximum(np.diff(matrix.indptr), 1))
                parts.append(sp.diags(scale) @ matrix)
            self.blocks.append(sp.hstack(parts, format='csr'))
            groups += [part.shape[1] for part in parts if part.shape[1]]
        self.model = myfm.MyFMRegressor(rank=self.rank, random_seed=0)
        # The library draws a progress bar whether or not there is a terminal.
        with redirect_stderr(io.StringIO()):
            self.model.fit(
                sp.csr_matrix((len(train), 0)),
                train['rating'].to_numpy(float),
                X_rel=self._relations(train),
                n_iter=self.iterations,
                group_shapes=groups,
                callback=lambda *state: (False, None),
            )
        return self

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        empty = sp.csr_matrix((len(pairs), 0))
        return self.model.predict(empty, X_rel=self._relations(pairs))

    def _relations(self, pairs: pd.DataFrame) -> list:
        from myfm import RelationBlock

        return [
            RelationBlock(index, block)
            for index, block in zip(
                self.tables.positions(pairs), self.blocks, strict=True
            )
        ]


class BayesianFMImplicit(BayesianFM):
    """The same with what each user rated, and who rated each item."""

    implicit = True


class CollectiveMF:
    """Collective matrix factorisation (cmfrec): ratings and attributes at once.

    Args:
        rank (int): Size of the factors.
        penalty (float): Their shrinkage.
        weight (float): Weight of the attributes' matrices.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'penalty': (10.0, 30.0, 100.0),
        'weight': (0.5, 5.0),
    }

    def __init__(self, rank: int = 30, penalty: float = 10, weight: float = 1) -> None:
        self.rank, self.penalty, self.weight = rank, penalty, weight

    def fit(self, train: pd.DataFrame, tables: RatingTables) -> CollectiveMF:
        import cmfrec

        self.tables = tables
        users, items = tables.positions(train)
        sizes = len(tables.users), len(tables.items)
        ratings = sp.coo_matrix(
            (train['rating'].to_numpy(float), (users, items)), sizes
        )
        self.model = cmfrec.CMF(
            k=self.rank,
            lambda_=self.penalty,
            w_user=self.weight,
            w_item=self.weight,
            nthreads=1,
            random_state=0,
            verbose=False,
        )
        self.model.fit(
            ratings,
            U=attribute_matrix(tables, 'user', train, USER_ATTRIBUTES).tocoo(),
            I=attribute_matrix(tables, 'item', train, ITEM_ATTRIBUTES).tocoo(),
        )
        return self

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        return self.model.predict(*self.tables.positions(pairs))


class SVDPlusPlus:
    """SVD++ (scikit-surprise): no attributes, but what each user rated.

    Args:
        rank (int): Size of the factors.
        epochs (int): Passes over the ratings.
    """

    GRID: ClassVar[dict[str, tuple]] = {'rank': (20,)}

    def __init__(self, rank: int = 20, epochs: int = 20) -> None:
        self.rank, self.epochs = rank, epochs

    def fit(self, train: pd.DataFrame, tables: RatingTables) -> SVDPlusPlus:
        import surprise

        frame = train[['user', 'item', 'rating']]
        reader = surprise.Reader(
            rating_scale=(frame['rating'].min(), frame['rating'].max())
        )
        data = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
        self.model = surprise.SVDpp(
            n_factors=self.rank,
            n_epochs=self.epochs,
            random_state=0,
            cache_ratings=True,
        ).fit(data)
        return self

    def predict(self, pairs: pd.DataFrame) -> np.ndarray:
        rows = zip(pairs['user'], pairs['item'], strict=True)
        return np.array([self.model.predict(user, item).est for user, item in rows])
