"""Boosted trees on all that TaNP is told of items, made into features by hand."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from tanp import EpisodeBatch, EpisodeLoader, Episodes
from tanp.statistics import InteractionStatistics

BATCH = 64  # tasks; a pair of items has several features


class BoostedTrees:
    """Gradient-boosted trees on TaNP's own counts, kernels and item vectors.

    They see the query item's counts and vector, the kernels between it and the
    support (sums and largest, over likes and over dislikes), its vector's
    products with the support's mean vectors, and the size of the support. They
    are trained on the warm users with contexts of one to twenty interactions,
    and nothing they are told of a task comes from its own user: see
    :mod:`tanp.statistics`.

    Args:
        leaves (int): Leaves of a tree.
        trees (int): Number of trees.
        draws (int): Contexts that are drawn for each warm user.
    """

    GRID: ClassVar[dict[str, tuple]] = {'leaves': (8, 16, 32)}
    likelihood: ClassVar[bool] = True

    def __init__(self, leaves: int = 16, trees: int = 200, draws: int = 6) -> None:
        self.leaves, self.trees, self.draws = leaves, trees, draws

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> BoostedTrees:
        # One row more stands for all users that are not warm.
        self.stranger = int(warm.user.max()) + 1
        self.statistics = InteractionStatistics.fit(
            warm, num_items, self.stranger + 1, seed=seed
        )
        loader = EpisodeLoader(
            warm.at_least(5), BATCH, context_sizes=(1, 20), seed=seed
        )
        features, label = [], []
        for draw in range(self.draws):
            loader.set_epoch(draw)
            for batch in loader:
                features.append(self._features(batch))
                label.append(batch.query_label[batch.query_mask].numpy())
        self.model = HistGradientBoostingClassifier(
            max_iter=self.trees,
            max_leaf_nodes=self.leaves,
            learning_rate=0.05,
            min_samples_leaf=50,
            l2_regularization=1,
            early_stopping=False,
            random_state=seed,
        ).fit(np.concatenate(features), np.concatenate(label))
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        features = [self._features(batch) for batch in EpisodeLoader(episodes, BATCH)]
        return self.model.predict_proba(np.concatenate(features))[:, 1]

    @torch.no_grad()
    def _features(self, batch: EpisodeBatch) -> np.ndarray:
        """Features of all query interactions of a batch, :obj:`[rows, F]`."""
        known = self.statistics
        user = batch.user.clamp(max=self.stranger)
        likes = batch.support_mask & (batch.support_label > 0.5)
        signs = torch.stack([likes, batch.support_mask & ~likes]).float()
        kernel = known.kernels(user, batch.query_item, batch.support_item)
        vector, counts = known.describe(user, batch.query_item)
        given, _ = known.describe(user, batch.support_item)
        columns = [*counts.unbind(-1), *vector.unbind(-1)]
        for sign in signs:  # likes, then dislikes
            size = sign.sum(-1, keepdim=True)
            # size = [B, Q, S, E], zero where the sign is the other
            signed = kernel * sign[:, None, :, None]
            mean = (given * sign[..., None]).sum(1) / size.clamp(min=1)
            columns += [*signed.sum(2).unbind(-1), *signed.amax(2).unbind(-1)]
            columns += [torch.einsum('bqr,br->bq', vector, mean), _spread(size, vector)]
        return torch.stack(columns, dim=-1)[batch.query_mask].numpy()


def _spread(value: Tensor, query: Tensor) -> Tensor:
    """One value a task to all its query interactions, :obj:`[B, Q]`."""
    return value.expand(query.size()[:2])
