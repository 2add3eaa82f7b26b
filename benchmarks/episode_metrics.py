"""Scores of predictions for the queries of episodes: means over tasks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tanp import Episodes, evaluate

CUTOFFS = (5, 10)


def score_episodes(
    episodes: Episodes, predicted: Any, relevant: float, likelihood: str | None
) -> dict[str, float | None]:
    """The metrics of :func:`tanp.evaluate`, each a mean over tasks.

    Args:
        episodes: The tasks.
        predicted: One value a query interaction.
        relevant: Labels above it count as relevant.
        likelihood: What predictions estimate: probabilities (``'bernoulli'``,
            which adds the log-loss), ratings (``'gaussian'``), or nothing that
            errors could be taken of (``None``).

    Returns:
        ``None`` for a metric that no task defines.
    """
    predicted = torch.as_tensor(np.asarray(predicted), dtype=torch.double)
    metrics = evaluate(episodes, predicted, CUTOFFS, relevant)
    if likelihood is None:
        del metrics['mse'], metrics['mae']
    if likelihood == 'bernoulli':
        metrics['log_loss'] = _log_loss(episodes, predicted)
    means = {name: float(value.nanmean()) for name, value in metrics.items()}
    return {name: None if math.isnan(m) else m for name, m in means.items()}


def _log_loss(episodes: Episodes, predicted: torch.Tensor) -> torch.Tensor:
    label = episodes.label[episodes.query_index()].double()
    # A probability of exactly 0 or 1 is a rounding, not a certainty.
    predicted = predicted.clamp(1e-7, 1 - 1e-7)
    loss = F.binary_cross_entropy(predicted, label, reduction='none')
    task = torch.repeat_interleave(episodes.num_query)
    return torch.bincount(task, loss, minlength=len(episodes)) / episodes.num_query


def calibration(episodes: Episodes, predicted: Any, bins: int = 10) -> dict[str, list]:
    """Predicted probabilities beside the shares that came true, in equal bins."""
    predicted = np.asarray(predicted, dtype=float)
    label = episodes.label[episodes.query_index()].double().numpy()
    row = np.minimum((predicted * bins).astype(int), bins - 1)
    count = np.bincount(row, minlength=bins)
    with np.errstate(invalid='ignore'):
        mean, share = (
            np.bincount(row, value, bins) / count for value in (predicted, label)
        )
    filled = count > 0
    return {
        'count': count[filled].tolist(),
        'predicted': mean[filled].tolist(),
        'observed': share[filled].tolist(),
    }
