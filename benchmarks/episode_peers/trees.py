"""Boosted trees on all that TaNP is told of items, made into features by hand."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from tanp import EpisodeBatch, EpisodeLoader, Episodes
from tanp.nn.rows import rows_of, sum_by
from tanp.statistics import InteractionStatistics

BATCH = 64  # tasks; a pair of items has several features
CONTEXT = (1, 20)


class BoostedTrees:
    """Gradient-boosted trees on TaNP's own counts, kernels and item vectors.

    They see the query item's counts and vector, the kernels between it and the
    support (sums and largest, over likes, over dislikes, and weighted by how far
    labels lie above what other users lead to expect), its vector's products with
    the support's, and the size of the support. They are trained on the warm users
    with contexts of one to twenty interactions, and nothing they are told of a
    task comes from its own user: see :mod:`tanp.statistics`.

    Args:
        leaves (int): Leaves of a tree.
        trees (int): Number of trees.
        draws (int): Contexts that are drawn for each warm user.
    """

    GRID: ClassVar[dict[str, tuple]] = {'leaves': (8, 16, 32)}
    likelihood: ClassVar[bool] = True
    kind: ClassVar[type] = HistGradientBoostingClassifier
    centred: ClassVar[bool] = False

    def __init__(self, leaves: int = 16, trees: int = 200, draws: int = 6) -> None:
        self.leaves, self.trees, self.draws = leaves, trees, draws

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> BoostedTrees:
        # One row more stands for all users that are not warm.
        self.stranger = int(warm.user.max()) + 1
        self.relevant = float(sum(warm.label.aminmax()) / 2)
        self.statistics = InteractionStatistics.fit(
            warm, num_items, self.stranger + 1, relevant=self.relevant, seed=seed
        )
        tasks = warm.at_least(5)
        loader = EpisodeLoader(tasks, BATCH, context_sizes=CONTEXT, seed=seed)
        features, target = [], []
        for draw in range(self.draws):
            loader.set_epoch(draw)
            for batch in loader:
                rows, expected = self._features(batch)
                features.append(rows)
                target.append(batch.query_label[batch.query_mask].numpy() - expected)
        self.model = self.kind(
            max_iter=self.trees,
            max_leaf_nodes=self.leaves,
            learning_rate=0.05,
            min_samples_leaf=50,
            l2_regularization=1,
            early_stopping=False,
            random_state=seed,
        ).fit(np.concatenate(features), np.concatenate(target))
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        parts = [self._features(batch) for batch in EpisodeLoader(episodes, BATCH)]
        return np.concatenate([base + self._decide(rows) for rows, base in parts])

    def _decide(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(features)[:, 1]

    @torch.no_grad()
    def _features(self, batch: EpisodeBatch) -> tuple[np.ndarray, Any]:
        """Features of all query interactions of a batch, :obj:`[rows, F]`.

        And what their labels are expected to be before any features are seen.
        """
        batch = batch._replace(user=batch.user.clamp(max=self.stranger))
        told = self.statistics(batch, self.centred)
        support, query = rows_of(batch.support_mask), rows_of(batch.query_mask)
        sizes = len(support.task), len(query.task)
        context, vector = told.vector.split(sizes)
        context_base, base = told.base.split(sizes)
        likes = batch.support_mask & (batch.support_label > self.relevant)
        surprise = batch.support_label * batch.support_mask - support.pad(context_base)
        weights = [likes.float(), (batch.support_mask & ~likes).float(), surprise]
        columns = [told.counts[sizes[0] :], vector]
        for weight in weights:
            # size = [B, Q, S, E], zero in the padding
            weighted = told.kernel * weight[:, None, :, None]
            pooled = sum_by(
                context * support.take(weight)[:, None],
                support.task,
                support.num_tasks,
            )
            columns += [query.take(weighted.sum(2)), query.take(weighted.amax(2))]
            columns += [(vector * pooled[query.task]).sum(-1, keepdim=True)]
            columns += [weight.sum(-1, keepdim=True)[query.task]]
        rows = torch.cat(columns, dim=-1).numpy()
        return rows, base.numpy() if self.centred else 0


class BoostedRatingTrees(BoostedTrees):
    """The same for ratings: on what item means and the user's level leave of them."""

    GRID: ClassVar[dict[str, tuple]] = {'leaves': (3, 6, 12)}
    kind: ClassVar[type] = HistGradientBoostingRegressor
    centred: ClassVar[bool] = True

    def __init__(self, leaves: int = 6, trees: int = 150, draws: int = 2) -> None:
        super().__init__(leaves, trees, draws)

    def _decide(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict(features)
