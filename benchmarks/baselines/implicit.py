"""Baselines for positives without ratings, which rank all items for each user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from agnn_pyg.base.frames import SIDES
from agnn_pyg.base.linalg import unit_rows
from agnn_pyg.evaluation import evaluate_ranking
from benchmarks.baselines.rating import RatingBaseline, solve_rows

Frame = pd.DataFrame
BLOCK_USERS = 64


class ImplicitBaseline(RatingBaseline):
    """A baseline that ranks all pairs and is evaluated like the recommender.

    Subclasses define ``_fit_positives(x)`` on the matrix of positives, :obj:`[users,
    items]`. It sets the factors ``user_`` and ``item_``, whose products are the scores.
    """

    def fit(self, ratings: Frame, *nodes: Frame, validation: Any = None) -> Any:
        return super().fit(ratings.assign(rating=1.0), *nodes)

    def _fit(self, rating: np.ndarray, *rows: np.ndarray) -> None:
        self.rated_ = torch.from_numpy(np.stack(rows))
        self._fit_positives(sp.csr_matrix((rating, rows), self.size_))

    def _score(self, users: np.ndarray) -> np.ndarray:
        """Scores of all items for the given rows of users."""
        return self.user_[users] @ self.item_.T

    def score_all(self, users: torch.Tensor, items: torch.Tensor) -> Iterator:
        for block in users.split(BLOCK_USERS):
            yield torch.from_numpy(self._score(block.numpy())[:, items.numpy()])

    def evaluate(
        self, ratings: Frame, k: int = 20, among: Sequence | None = None
    ) -> dict[str, float]:
        """The metrics of :meth:`AGNNRecommender.evaluate`, from the same code."""
        ids = {'user': self.tables_.users['user'], 'item': self.tables_.items['item']}
        node = {side: np.arange(len(ids[side])) for side in SIDES}
        serving = SimpleNamespace(ids=ids, node=node, rated=self.rated_, scorer=self)
        rows = np.stack(self.tables_.positions(ratings))
        if among is not None:
            among = pd.Index(ids['item']).get_indexer(among)
        held_out = SimpleNamespace(index=rows, rating=np.ones(len(ratings)))
        return evaluate_ranking(serving, held_out, k, among)


class PopularItems(ImplicitBaseline):
    """Ranks items by their number of positives."""

    def _fit_positives(self, x: sp.csr_matrix) -> None:
        self.user_, self.item_ = np.ones((x.shape[0], 1)), np.asarray(x.sum(axis=0)).T


class AttributeKNN(ImplicitBaseline, num_neighbors=50):
    """Averages the positives of the nodes with the most similar attributes.

    The scores of a cold user are means over similar users, and those of a cold item are
    means over similar items, weighted by the cosine of their attributes.
    """

    GRID: ClassVar[dict] = {'num_neighbors': (5, 20, 50, 100, 200, 500)}

    def _fit_positives(self, x: sp.csr_matrix) -> None:
        sides = zip(self.attributes(), self.trained_, strict=True)
        users, items = (self._weights(*side) for side in sides)
        self.scores_ = (users @ x @ items.T).toarray()

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.scores_[users]

    def _weights(self, known: sp.csr_matrix, trained: np.ndarray) -> sp.csr_matrix:
        """Weights of trained nodes for each node: itself, or neighbors if cold."""
        x = unit_rows(known)
        cold, warm = np.flatnonzero(~trained), np.flatnonzero(trained)
        close = (x[cold] @ x[warm].T).toarray()
        count = min(self.config.num_neighbors, close.shape[1])
        order = np.argpartition(-close, count - 1, axis=1)[:, :count]
        value = np.take_along_axis(close, order, axis=1)
        value = value / np.maximum(value.sum(axis=1, keepdims=True), 1e-9)
        weight = np.diag(trained.astype(float))
        weight[cold[:, None], warm[order]] = value
        return sp.csr_matrix(weight)


class EASE(ImplicitBaseline, ridge=200.0):
    """EASE: linear item-item weights (Steck, 2019), 0 for items without positives."""

    GRID: ClassVar[dict] = {'ridge': (50.0, 100.0, 200.0, 400.0, 800.0)}

    def _fit_positives(self, x: sp.csr_matrix) -> None:
        gram = (x.T @ x).toarray()
        gram[np.diag_indices_from(gram)] += self.config.ridge
        inverse = np.linalg.inv(gram)
        weight = -inverse / np.diag(inverse)
        np.fill_diagonal(weight, 0)
        self.user_, self.item_ = x, weight.T


class ALSRidge(ImplicitBaseline, num_factors=32, ridge=10.0, weight=10.0):
    """Implicit ALS (Hu et al., 2008) with ridge regression of factors on attributes.

    The regression predicts the factors of cold nodes. Unobserved pairs have weight 1,
    and positives have weight :obj:`1 + weight`.
    """

    GRID: ClassVar[dict] = {'ridge': (3.0, 10.0, 30.0, 100.0), 'weight': (3.0, 10.0)}
    SWEEPS = 10

    def _fit_positives(self, x: sp.csr_matrix) -> None:
        rng, of_items = np.random.default_rng(0), x.T.tocsr()
        size = self.config.num_factors
        users, items = (0.1 * rng.standard_normal((n, size)) for n in x.shape)
        for _ in range(self.SWEEPS):
            users = self._solve(x, items)
            items = self._solve(of_items, users)
        sides = zip((users, items), self.attributes(), self.trained_, strict=True)
        self.user_, self.item_ = (self._map(*side) for side in sides)

    def _solve(self, x: sp.csr_matrix, other: np.ndarray) -> np.ndarray:
        weight, penalty = self.config.weight, self.config.ridge * np.eye(other.shape[1])
        penalty += other.T @ other
        return solve_rows(weight * x, other, penalty, (1 + weight) * (x @ other))

    def _map(
        self, factors: np.ndarray, known: sp.csr_matrix, trained: np.ndarray
    ) -> np.ndarray:
        """Replaces the factors of cold nodes by predictions from attributes."""
        known = sp.hstack([known, np.ones((len(trained), 1))]).tocsr()
        fit = known[trained]
        gram = (fit.T @ fit).toarray() + self.config.ridge * np.eye(fit.shape[1])
        mapped = np.linalg.solve(gram, fit.T @ factors[trained])
        factors[~trained] = known[~trained] @ mapped
        return factors


class DropoutNet(ALSRidge, num_factors=32, ridge=10.0, weight=10.0, dropout=0.5):
    """DropoutNet (Volkovs et al., 2017) on the factors of implicit ALS.

    Two networks with one hidden layer read the factors and attributes of nodes and
    reproduce the scores of ALS. Factors are dropped at random, because cold nodes have
    none. Budget: ALS with default settings, three dropout rates, and 400 steps of 4,096
    pairs, half of them positives.
    """

    GRID: ClassVar[dict] = {'dropout': (0.3, 0.5, 0.8)}
    STEPS, BATCH, HIDDEN, LR = 400, 4096, 128, 3e-3

    def _fit_positives(self, x: sp.csr_matrix) -> None:
        super()._fit_positives(x)
        rng, positives, size = np.random.default_rng(0), x.nonzero(), self.BATCH // 2
        warm = [np.flatnonzero(trained) for trained in self.trained_]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            inputs, nets = [], []
            sides = (self.user_, self.item_), self.attributes(), self.trained_
            for factors, known, trained in zip(*sides, strict=True):
                both = np.hstack([factors * trained[:, None], known.toarray()])
                inputs.append(torch.from_numpy(both).float())
                first = torch.nn.Linear(both.shape[1], self.HIDDEN)
                last = torch.nn.Linear(self.HIDDEN, self.config.num_factors)
                nets.append(torch.nn.Sequential(first, torch.nn.Tanh(), last))
            parameters = [p for net in nets for p in net.parameters()]
            optimizer = torch.optim.Adam(parameters, self.LR)
            for _ in range(self.STEPS):
                chosen = rng.integers(x.nnz, size=size)
                others = (rng.choice(nodes, size) for nodes in warm)
                parts = zip(positives, others, strict=True)
                pair = [np.concatenate([row[chosen], more]) for row, more in parts]
                target = (self.user_[pair[0]] * self.item_[pair[1]]).sum(axis=1)
                sides = zip(nets, inputs, pair, strict=True)
                users, items = (net(self._drop(x[row], rng)) for net, x, row in sides)
                loss = (users * items).sum(dim=1) - torch.from_numpy(target)
                optimizer.zero_grad()
                loss.square().mean().backward()
                optimizer.step()
        with torch.no_grad():
            pairs = zip(nets, inputs, strict=True)
            self.user_, self.item_ = (net(x).double().numpy() for net, x in pairs)

    def _drop(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Sets all factors of random rows to 0, in place."""
        is_cold = torch.from_numpy(rng.random(len(x)) < self.config.dropout)
        x[is_cold, : self.config.num_factors] = 0
        return x


class CollectiveMF(ImplicitBaseline, num_factors=32, penalty=50.0, weight=3.0):
    """Collective implicit matrix factorisation (cmfrec): positives and attributes.

    It is fitted on nodes with positives and predicts factors of cold nodes from
    attributes. Budget: nine pairs of penalty and attribute weight, ten sweeps.
    """

    GRID: ClassVar[dict] = {'penalty': (10.0, 50.0, 200.0), 'weight': (1.0, 3.0, 10.0)}

    def _fit_positives(self, x: sp.csr_matrix) -> None:
        import cmfrec

        config, (warm_users, warm_items) = self.config, self.trained_
        options = {'w_user': config.weight, 'w_item': config.weight}
        # With centering, the average cold node would have factors of 0.
        options |= {'center_U': False, 'center_I': False}
        options |= {'nthreads': 1, 'random_state': 0, 'verbose': False}
        model = cmfrec.CMF_implicit(config.num_factors, config.penalty, **options)
        users, items = (known.toarray() for known in self.attributes())
        positives = x[warm_users][:, warm_items].tocoo()
        model.fit(positives, users[warm_users], items[warm_items])
        cold_user, cold_item = model.factors_cold, model.item_factors_cold
        self.user_ = with_cold(model.A_, cold_user, users, warm_users)
        self.item_ = with_cold(model.B_, cold_item, items, warm_items)


def with_cold(
    factors: np.ndarray, of_cold: Any, known: np.ndarray, trained: np.ndarray
) -> np.ndarray:
    """Factors of all nodes; the factors of cold nodes come from their attributes."""
    made = np.empty((len(known), factors.shape[1]))
    made[trained] = factors
    made[~trained] = [of_cold(row) for row in known[~trained]] or 0
    return made


class LightFM(ImplicitBaseline, num_factors=32, epochs=30, lr=0.05):
    """LightFM with ids and attributes of users and items, and the WARP loss."""

    GRID: ClassVar[dict] = {'num_factors': (16, 64), 'epochs': (15, 50)}

    def _fit_positives(self, x: sp.csr_matrix) -> None:
        import lightfm

        users, items = (
            sp.hstack([ids, known, np.ones((known.shape[0], 1))], 'csr', np.float32)
            for ids, known in zip(self.ids(), self.attributes(), strict=True)
        )
        config, options = self.config, {'loss': 'warp', 'random_state': 0}
        model = lightfm.LightFM(config.num_factors, learning_rate=config.lr, **options)
        features = {'user_features': users, 'item_features': items}
        model.fit(x.tocoo().astype(np.float32), epochs=config.epochs, **features)
        self.bias_, self.item_ = model.get_item_representations(items)
        _, self.user_ = model.get_user_representations(users)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return (super()._score(users) + self.bias_).astype(float)
