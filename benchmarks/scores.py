"""Scores of predictions as they stand in rows of results."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from agnn_pyg.base.metrics import pad_lists, ranking_metrics, rating_metrics
from tanp import Episodes, evaluate

# Metrics of few-shot tasks that rows have.
FEW_SHOT = (
    *('auc', 'published_precision@5', 'published_ap@5', 'ndcg@5', 'precision@5'),
    *('ndcg@10', 'ap@10', 'recall@10', 'rr@10'),
)
ERRORS = ('mse', 'mae')


def rating_scores(predicted: np.ndarray, part: pd.DataFrame) -> dict[str, float]:
    """RMSE and MAE of R predictions, and nDCG@10 of the items that each user rated.

    The last is the mean over users with two ratings or more, one of them at least in
    the upper quarter of the range: a 4 or a 5 of 1 to 5.
    """
    rating = part['rating'].to_numpy(float)
    scores = rating_metrics(predicted, rating)
    user = torch.from_numpy(pd.factorize(part['user'])[0])
    values = (torch.tensor(np.asarray(x, float)) for x in (predicted, rating))
    mask, score, label = pad_lists(user, *values)
    high = rating.min() + 0.75 * (rating.max() - rating.min())
    kept = ((label >= high) & mask).any(-1) & (mask.sum(-1) > 1)
    ndcg = ranking_metrics(score, label, mask, 10)['ndcg'][kept]
    return scores | ({'ndcg@10': float(ndcg.mean())} if kept.any() else {})


def few_shot_scores(
    episodes: Episodes, predicted: pd.DataFrame, relevant: float, is_implicit: bool
) -> dict[str, float]:
    """Means over tasks of the metrics of :func:`tanp.evaluate`.

    Args:
        episodes: The tasks.
        predicted: A row a query interaction: ``score``, and ``rating`` if scores
            estimate labels, so that errors of them mean something.
        relevant: Labels above it count as relevant.
        is_implicit: Whether labels are 0 and 1, so that there is a log-loss.
    """
    score = torch.tensor(predicted['score'].to_numpy(float))
    metrics = evaluate(episodes, score, (5, 10), relevant)
    names = FEW_SHOT + ERRORS * ('rating' in predicted)
    values = {name: metrics[name] for name in names}
    if is_implicit and 'rating' in predicted:
        values['log_loss'] = _log_loss(episodes, score)
    means = {name: float(value.nanmean()) for name, value in values.items()}
    # A metric that no task defines has no column.
    return {name: mean for name, mean in means.items() if not math.isnan(mean)}


def _log_loss(episodes: Episodes, predicted: torch.Tensor) -> torch.Tensor:
    label = episodes.label[episodes.query_index()].double()
    # A probability of exactly 0 or 1 is a rounding, not a certainty.
    predicted = predicted.clamp(1e-7, 1 - 1e-7)
    loss = F.binary_cross_entropy(predicted, label, reduction='none')
    task = torch.repeat_interleave(episodes.num_query)
    return torch.bincount(task, loss, minlength=len(episodes)) / episodes.num_query
