"""Ranking metrics of a fitted recommender."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.frames import Ratings
from agnn_pyg.base.metrics import evaluate_rankings
from agnn_pyg.base.ranking import excluded, positions

if TYPE_CHECKING:
    from agnn_pyg.fitted import Fitted


def evaluate_ranking(
    serving: Fitted, pairs: Ratings, k: int, items: np.ndarray | None = None
) -> dict[str, float]:
    r"""Metrics of each user's ranking of all items except those of training pairs.

    :func:`~agnn_pyg.base.metrics.ranking_metrics` are averaged over users with relevant
    items. :obj:`coverage` is the fraction of items in the top k of any user.
    :obj:`novelty` is the mean of :math:`-\log_2 (n_i + 1) / (n + 1)` over top-k items,
    where :math:`n_i` of the n users in training and support ratings have item i (Vargas
    and Castells, "Rank and relevance in novelty and diversity metrics for recommender
    systems", 2011).

    Args:
        serving (Fitted): Ids and scorers.
        pairs (Ratings): Held-out pairs as rows; values above 0 are relevant.
        k (int): Length of the lists.
        items (numpy.ndarray, optional): Distinct rows of the items to rank.
            (default: all)
    """
    index = torch.from_numpy(pairs.index[:, pairs.rating > 0])
    items = np.arange(len(serving.ids['item'])) if items is None else items
    items = torch.from_numpy(items)

    def score_all(users: Tensor) -> Iterable[Tensor]:
        scores = serving.scorer.score_all(users, items)
        return excluded(scores, serving.rated, users, items)

    place = positions(items, len(serving.ids['item']))
    relevant = torch.stack([index[0], place[index[1]]])
    made, found = evaluate_rankings(score_all, relevant, len(items), k)
    count = torch.bincount(serving.rated[1], minlength=len(serving.ids['item']))[items]
    information = -((count + 1) / (len(serving.rated[0].unique()) + 1)).log2()
    return made | {f'novelty@{k}': float(information[found].mean())}
