"""Factorisation with attributes or implicit feedback: myfm, cmfrec, SVD++."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.baselines.nodes import SIDES, RatingBaseline


class BayesianFM(RatingBaseline, rank=10, iterations=200):
    """A Bayesian factorisation machine (myfm): ids and attributes of both ends."""

    implicit: ClassVar[bool] = False

    def _fit(self, rating: np.ndarray, user: np.ndarray, item: np.ndarray) -> None:
        import myfm

        rated = _matrix(np.ones(len(user)), user, item, self.nodes_.size)
        self.blocks_, groups = [], []
        for side, matrix in zip(SIDES, (rated, rated.T.tocsr()), strict=True):
            # A cold id was never trained: it must not be there at all.
            ids = sp.diags(self.nodes_.trained[side].astype(float))
            parts = [ids, self.nodes_.attributes(side)]
            if self.implicit:
                scale = 1 / np.sqrt(np.maximum(np.diff(matrix.indptr), 1))
                parts.append(sp.diags(scale) @ matrix)
            self.blocks_.append(sp.hstack(parts, format='csr'))
            groups += [part.shape[1] for part in parts if part.shape[1]]
        self.model_ = myfm.MyFMRegressor(rank=self.config.rank, random_seed=0)
        # The library draws a progress bar whether or not there is a terminal.
        with redirect_stderr(io.StringIO()):
            self.model_.fit(
                sp.csr_matrix((len(user), 0)),
                rating,
                X_rel=self._relations(user, item),
                n_iter=self.config.iterations,
                group_shapes=groups,
                callback=lambda *state: (False, None),
            )

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
        self.model_ = cmfrec.CMF(
            k=config.rank,
            lambda_=config.penalty,
            w_user=config.weight,
            w_item=config.weight,
            nthreads=1,
            random_state=0,
            verbose=False,
        )
        matrices = [self.nodes_.attributes(side).tocoo() for side in SIDES]
        rated = _matrix(rating, user, item, self.nodes_.size).tocoo()
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
        self.model_ = surprise.SVDpp(
            n_factors=self.config.rank,
            n_epochs=self.config.epochs,
            random_state=0,
            cache_ratings=True,
        ).fit(data)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        pairs = zip(user.tolist(), item.tolist(), strict=True)
        return np.array([self.model_.predict(*pair).est for pair in pairs])


def _matrix(
    value: np.ndarray, user: np.ndarray, item: np.ndarray, size: dict[str, int]
) -> sp.csr_matrix:
    return sp.csr_matrix((value, (user, item)), (size['user'], size['item']))
