"""Baselines for positives without ratings: they rank all items for each user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from agnn_pyg.base.frames import RatedPairs
from agnn_pyg.evaluation import evaluate_ranking
from agnn_pyg.kernel.features import unit_rows
from benchmarks.baselines.rating import SIDES, RatingBaseline

Frame = pd.DataFrame
BLOCK_USERS = 64


class ImplicitBaseline(RatingBaseline):
    """Ranks by scores of all pairs, and is evaluated as the recommender is.

    Subclasses write ``_fit(x)`` on the matrix of positives, :obj:`[users, items]`, and
    ``_score(users)`` on row numbers, which returns scores of all items.
    """

    def fit(self, ratings: Frame, *nodes: Frame, validation: Any = None) -> Any:
        self.frame_ = dict(zip(SIDES, nodes, strict=True))
        self.size_ = {side: len(frame) for side, frame in self.frame_.items()}
        self.rated_ = np.stack(self.rows(ratings))
        self.trained_ = {
            side: np.bincount(index, minlength=self.size_[side]) > 0
            for side, index in zip(SIDES, self.rated_, strict=True)
        }
        self._fit(self.matrix(np.ones(len(ratings)), *self.rated_))
        return self

    def score_all(self, users: torch.Tensor, items: torch.Tensor) -> Iterator:
        for block in users.split(BLOCK_USERS):
            yield torch.from_numpy(self._score(block.numpy())[:, items.numpy()])

    def evaluate(
        self, ratings: Frame, k: int = 20, among: Sequence | None = None
    ) -> dict[str, float]:
        """The metrics of :meth:`AGNNRecommender.evaluate`, by the same code."""
        ids = {side: frame[side] for side, frame in self.frame_.items()}
        node = {side: np.arange(size) for side, size in self.size_.items()}
        rated = torch.from_numpy(self.rated_)
        serving = SimpleNamespace(ids=ids, node=node, rated=rated, scorer=self)
        held = RatedPairs(np.stack(self.rows(ratings)), np.ones(len(ratings)))
        if among is not None:
            among = pd.Index(ids['item']).get_indexer(among)
        return evaluate_ranking(serving, held, k, among)


class PopularItems(ImplicitBaseline):
    """Ranks items by their positives."""

    def _fit(self, x: sp.csr_matrix) -> None:
        self.count_ = np.asarray(x.sum(axis=0)).ravel()

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.count_, (len(users), 1))


class AttributeKNN(ImplicitBaseline, num_neighbors=50):
    """Means over the nodes with positives that are closest by attributes.

    Those of a cold user are the means of similar users', and those of a cold item of
    similar items', weighted by the cosine of their attributes.
    """

    GRID: ClassVar[dict] = {'num_neighbors': (5, 20, 50, 100, 200, 500)}

    def _fit(self, x: sp.csr_matrix) -> None:
        weight = {side: self._weights(side) for side in SIDES}
        self.scores_ = (weight['user'] @ x @ weight['item'].T).toarray()

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.scores_[users]

    def _weights(self, side: str) -> sp.csr_matrix:
        """Of all nodes for trained ones: 1 for themselves, or those of neighbors."""
        trained = self.trained_[side]
        x = unit_rows(self.attributes(side).tocsr())
        close = (x[~trained] @ x[trained].T).toarray()
        count = min(self.config.num_neighbors, close.shape[1])
        order = np.argpartition(-close, count - 1, axis=1)[:, :count]
        value = np.take_along_axis(close, order, axis=1)
        value = value / np.maximum(value.sum(axis=1, keepdims=True), 1e-9)
        cold, warm = np.flatnonzero(~trained), np.flatnonzero(trained)
        row = np.concatenate([warm, np.repeat(cold, count)])
        column = np.concatenate([warm, warm[order].ravel()])
        value = np.concatenate([np.ones(len(warm)), value.ravel()])
        return sp.csr_matrix((value, (row, column)), (len(trained), len(trained)))


class EASE(ImplicitBaseline, ridge=200.0):
    """Weights of items by items (Steck, 2019); items without positives get 0."""

    GRID: ClassVar[dict] = {'ridge': (50.0, 100.0, 200.0, 400.0, 800.0)}

    def _fit(self, x: sp.csr_matrix) -> None:
        gram = (x.T @ x).toarray()
        gram[np.diag_indices_from(gram)] += self.config.ridge
        inverse = np.linalg.inv(gram)
        self.weight_ = -inverse / np.diag(inverse)
        np.fill_diagonal(self.weight_, 0)
        self.x_ = x

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.x_[users] @ self.weight_


class ALSRidge(ImplicitBaseline, num_factors=32, ridge=10.0, weight=10.0):
    """Implicit ALS (Hu et al., 2008), and a ridge map from attributes to its factors.

    The factors of a cold node are those that its attributes are mapped to. Unobserved
    pairs have weight 1, and positives :obj:`1 + weight`.
    """

    GRID: ClassVar[dict] = {'ridge': (3.0, 10.0, 30.0, 100.0), 'weight': (3.0, 10.0)}
    SWEEPS = 10

    def _fit(self, x: sp.csr_matrix) -> None:
        rng, count = np.random.default_rng(0), self.config.num_factors
        sides, matrices = dict(zip(SIDES, (x, x.T.tocsr()), strict=True)), {}
        for side, size in self.size_.items():
            matrices[side] = 0.1 * rng.standard_normal((size, count))
        for _ in range(self.SWEEPS):
            for side, other in (SIDES, SIDES[::-1]):
                matrices[side] = self._solve(sides[side], matrices[other])
        for side in SIDES:
            trained, known = self.trained_[side], self.attributes(side)
            known = sp.hstack([known, np.ones((len(trained), 1))]).tocsr()
            fit = known[trained]
            gram = (fit.T @ fit).toarray() + self.config.ridge * np.eye(fit.shape[1])
            mapped = np.linalg.solve(gram, fit.T @ matrices[side][trained])
            matrices[side][~trained] = known[~trained] @ mapped
        self.user_, self.item_ = matrices.values()

    def _solve(self, x: sp.csr_matrix, other: np.ndarray) -> np.ndarray:
        weight, size = self.config.weight, other.shape[1]
        # The Gram matrices of all rows at once: products of factors, summed over them.
        products = (other[:, :, None] * other[:, None]).reshape(len(other), -1)
        gram = (weight * (x @ products)).reshape(-1, size, size)
        gram = gram + other.T @ other + self.config.ridge * np.eye(size)
        return np.linalg.solve(gram, ((1 + weight) * (x @ other))[:, :, None])[:, :, 0]

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.user_[users] @ self.item_.T


class DropoutNet(ALSRidge, num_factors=32, ridge=10.0, weight=10.0, dropout=0.5):
    """DropoutNet (Volkovs et al., 2017) over the factors of implicit ALS.

    Two networks of one hidden layer read the factors of a node and its attributes, and
    reproduce the scores of ALS; factors are dropped at random, as cold nodes have none.
    Budget: ALS at its defaults, three rates of dropout, and 400 steps of 4,096 pairs,
    half of them positives.
    """

    GRID: ClassVar[dict] = {'dropout': (0.3, 0.5, 0.8)}
    STEPS, BATCH, HIDDEN, LR = 400, 4096, 128, 3e-3

    def _fit(self, x: sp.csr_matrix) -> None:
        super()._fit(x)
        rng, row = np.random.default_rng(0), x.nonzero()
        warm = [np.flatnonzero(self.trained_[side]) for side in SIDES]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            inputs, nets = [], []
            for side, factors in zip(SIDES, (self.user_, self.item_), strict=True):
                factors = factors * self.trained_[side][:, None]
                both = np.hstack([factors, self.attributes(side).toarray()])
                inputs.append(torch.from_numpy(both).float())
                sizes = both.shape[1], self.HIDDEN, self.config.num_factors
                first, last = map(torch.nn.Linear, sizes[:-1], sizes[1:])
                nets.append(torch.nn.Sequential(first, torch.nn.Tanh(), last))
            parameters = [p for net in nets for p in net.parameters()]
            optimizer = torch.optim.Adam(parameters, self.LR)
            for _ in range(self.STEPS):
                chosen = rng.integers(len(row[0]), size=self.BATCH // 2)
                others = (rng.choice(nodes, self.BATCH // 2) for nodes in warm)
                parts = zip(row, others, strict=True)
                pair = [np.concatenate([a[chosen], b]) for a, b in parts]
                target = (self.user_[pair[0]] * self.item_[pair[1]]).sum(axis=1)
                made = [
                    net(self._drop(part[node], rng))
                    for net, part, node in zip(nets, inputs, pair, strict=True)
                ]
                loss = (made[0] * made[1]).sum(dim=1) - torch.from_numpy(target)
                optimizer.zero_grad()
                loss.square().mean().backward()
                optimizer.step()
        with torch.no_grad():
            pairs = zip(nets, inputs, strict=True)
            self.user_, self.item_ = (net(x).double().numpy() for net, x in pairs)

    def _drop(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Rows of which some have no factors."""
        kept = torch.ones_like(x)
        is_cold = torch.from_numpy(rng.random(len(x)) < self.config.dropout)
        kept[is_cold, : self.config.num_factors] = 0
        return x * kept


class CollectiveMF(ImplicitBaseline, num_factors=32, penalty=50.0, weight=3.0):
    """Collective implicit matrix factorisation (cmfrec): positives and attributes.

    Fitted on nodes with positives; factors of cold nodes are those of their attributes.
    Budget: nine pairs of the penalty and the weight of attributes, ten sweeps.
    """

    GRID: ClassVar[dict] = {'penalty': (10.0, 50.0, 200.0), 'weight': (1.0, 3.0, 10.0)}

    def _fit(self, x: sp.csr_matrix) -> None:
        import cmfrec

        config = self.config
        model = cmfrec.CMF_implicit(
            k=config.num_factors,
            lambda_=config.penalty,
            w_user=config.weight,
            w_item=config.weight,
            center_U=False,  # or else the average cold node has factors of 0
            center_I=False,
            nthreads=1,
            random_state=0,
            verbose=False,
        )
        known = [self.attributes(side).toarray() for side in SIDES]
        warm = [self.trained_[side] for side in SIDES]
        attributes = (part[mine] for part, mine in zip(known, warm, strict=True))
        model.fit(x[warm[0]][:, warm[1]].tocoo(), *attributes)
        self.factors_ = []
        for warm_factors, of_cold, part, mine in zip(
            (model.A_, model.B_),
            (model.factors_cold, model.item_factors_cold),
            known,
            warm,
            strict=True,
        ):
            made = np.empty((len(mine), config.num_factors))
            made[mine] = warm_factors
            for row in np.flatnonzero(~mine):
                made[row] = of_cold(part[row])
            self.factors_.append(made)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.factors_[0][users] @ self.factors_[1].T


class LightFM(ImplicitBaseline, num_factors=32, epochs=30, lr=0.05):
    """LightFM with attributes and ids of both sides, and the WARP loss."""

    GRID: ClassVar[dict] = {'num_factors': (16, 64), 'epochs': (15, 50)}

    def _fit(self, x: sp.csr_matrix) -> None:
        import lightfm

        self.known_ = {}
        for side in SIDES:
            trained = sp.diags(self.trained_[side].astype(float))
            parts = [trained, self.attributes(side), np.ones((trained.shape[0], 1))]
            self.known_[side] = sp.hstack(parts).tocsr().astype(np.float32)
        config = self.config
        model = lightfm.LightFM(
            config.num_factors, learning_rate=config.lr, loss='warp', random_state=0
        )
        features = {f'{side}_features': known for side, known in self.known_.items()}
        model.fit(x.tocoo().astype(np.float32), epochs=config.epochs, **features)
        self.bias_, self.item_ = model.get_item_representations(self.known_['item'])
        _, self.user_ = model.get_user_representations(self.known_['user'])

    def _score(self, users: np.ndarray) -> np.ndarray:
        return (self.user_[users] @ self.item_.T + self.bias_).astype(float)
