"""Boosted trees on hand-made features from the item statistics of AttentiveTaNP."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.baselines.few_shot import FewShotBaseline, Part
from tanp import EpisodeBatch, EpisodeLoader, Episodes, ItemStatistics
from tanp.item_statistics import MEAN_DAMPING

BATCH, SUPPORT_SIZES, MIN_SIZE = 64, (1, 20), 5
OPTIONS = {'learning_rate': 0.05, 'min_samples_leaf': 50, 'l2_regularization': 1}
OPTIONS |= {'early_stopping': False, 'random_state': 0}


class BoostedTrees(FewShotBaseline, num_leaves=16, num_trees=200, draws=6):
    """Gradient-boosted trees on popularity, kernels and item vectors.

    Features of a query item are its popularity and vector, its kernels with the support
    (sums and maxima, over likes, over dislikes, and weighted by residuals), products of
    its vector with support vectors, and sizes. Training draws supports of one to twenty
    interactions several times; :mod:`tanp.item_statistics` excludes each user's own
    interactions.
    """

    GRID: ClassVar[dict] = {'num_leaves': (8, 16, 32)}
    predicts_labels = True
    model, centered = 'HistGradientBoostingClassifier', False

    def _fit(self, known: Part) -> None:
        import sklearn.ensemble

        config, (num_tasks, num_items) = self.config, known.shape
        self.threshold_ = (known.label.min() + known.label.max()) / 2
        self.first_new_ = num_tasks  # rows of users without interactions in the fit
        nobody = known.take(slice(0))
        episodes = Episodes.from_parts(np.arange(num_tasks), nobody[:3], known[:3])
        fit, threshold = ItemStatistics.fit, self.threshold_
        self.statistics_ = fit(episodes, num_items, num_tasks, threshold=threshold)
        tasks, features, target = episodes.at_least(MIN_SIZE), [], []
        loader = EpisodeLoader(tasks, BATCH, support_sizes=SUPPORT_SIZES)
        for draw in range(config.draws):
            loader.set_epoch(draw)
            for batch in loader:
                rows, expected = self._features(batch)
                features.append(rows)
                target.append(batch.query_label[batch.query_mask].numpy() - expected)
        sizes = {'max_iter': config.num_trees, 'max_leaf_nodes': config.num_leaves}
        self.model_ = getattr(sklearn.ensemble, self.model)(**sizes, **OPTIONS)
        self.model_.fit(np.concatenate(features), np.concatenate(target))

    def _score(self, given: Part, asked: Part) -> np.ndarray:
        users = self.first_new_ + np.arange(given.shape[0])
        unknown = asked._replace(label=np.zeros(len(asked.item)))
        parts = [(users[part.task], *part[1:3]) for part in (given, unknown)]
        batches = EpisodeLoader(Episodes.from_parts(users, *parts), BATCH)
        found = [e + self._decide(rows) for rows, e in map(self._features, batches)]
        scores = np.empty(len(asked.item))
        scores[np.argsort(asked.task, kind='stable')] = np.concatenate(found)
        return scores

    def _decide(self, features: np.ndarray) -> np.ndarray:
        return self.model_.predict_proba(features)[:, 1]

    @torch.no_grad()
    def _features(self, batch: EpisodeBatch) -> tuple[np.ndarray, Any]:
        """Features of all query interactions, and their expected labels."""
        table, mask, label = self.statistics_, batch.support_mask, batch.support_label
        support = table.features(batch.user, batch.support_item)
        query = table.features(batch.user, batch.query_item)
        level = ((label - support.mean) * mask).sum(1) / (mask.sum(1) + MEAN_DAMPING)
        expected = support.mean + level[:, None] if self.centered else 0.5
        likes = mask & (label > self.threshold_)
        weights = [likes.float(), (mask & ~likes).float(), (label - expected) * mask]
        kernel = table.kernels(query, support)
        columns = [query.popularity, query.vector]
        for weight in weights:
            # size = [B, S, E, Q]
            weighted = kernel * weight[:, :, None, None]
            pooled = (support.vector * weight[..., None]).sum(1)
            columns += [weighted.sum(1).mT, weighted.amax(1).mT]
            columns.append(query.vector @ pooled[..., None])
            columns.append(weight.sum(1)[:, None, None].expand_as(columns[-1]))
        rows = torch.cat(columns, dim=-1)[batch.query_mask].numpy()
        expected = (query.mean + level[:, None])[batch.query_mask].numpy()
        return rows, expected if self.centered else 0


class BoostedRatingTrees(BoostedTrees, num_leaves=6, num_trees=150, draws=2):
    """Boosted trees on residuals of ratings from item means and the user's level."""

    GRID: ClassVar[dict] = {'num_leaves': (3, 6, 12)}
    model, centered = 'HistGradientBoostingRegressor', True

    def _decide(self, features: np.ndarray) -> np.ndarray:
        return self.model_.predict(features)
