"""Scores of predicted ratings: error, ranking, and where either comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torchmetrics.functional import mean_absolute_error, mean_squared_error

# Bounds of buckets: how often a node was trained on, how many values describe it.
POPULARITY = (0, 1, 10, 50, 200)
NUM_ATTRIBUTES = (0, 3, 4, 5, 6, 8)


def evaluate(predicted: Any, part: pd.DataFrame, top: int = 10) -> dict[str, float]:
    """Error and ranking of one part of a split: RMSE, MAE, nDCG and recall."""
    return {
        **score(predicted, part['rating']),
        **ranking(predicted, part, top),
    }


def score(predicted: Any, rating: Any) -> dict[str, float]:
    """RMSE and MAE, in double precision.

    Raises:
        ValueError: If a prediction is not finite, or counts differ.
    """
    predicted, rating = (
        torch.tensor(np.asarray(x), dtype=torch.double) for x in (predicted, rating)
    )
    if predicted.shape != rating.shape:
        raise ValueError(
            f'Expected a prediction for each of {len(rating)} ratings (got '
            f'{len(predicted)})'
        )
    if not torch.isfinite(predicted).all():
        count = int((~torch.isfinite(predicted)).sum())
        raise ValueError(f'{count} of {len(rating)} predictions are not finite')
    return {
        'rmse': float(mean_squared_error(predicted, rating, squared=False)),
        'mae': float(mean_absolute_error(predicted, rating)),
    }


def ranking(predicted: Any, part: pd.DataFrame, top: int = 10) -> dict[str, float]:
    r"""How well the items that each user rated are put in order.

    nDCG has gains :math:`2^r - 1` and discounts :math:`\log_2(\text{place} + 1)`.
    Recall is the share of a user's relevant items among the first :obj:`top`
    (or among as many as there are, if fewer); relevant are ratings in the upper
    quarter of the range: 4 and 5 of 1 to 5. Equal predictions are put in a
    random but fixed order, so that the order of the rows is worth nothing.

    Args:
        predicted: Predictions, :obj:`[R]`.
        part (pandas.DataFrame): Columns ``user`` and ``rating``, R rows.
        top (int, optional): Places that count. (default: :obj:`10`)

    Returns:
        :obj:`ndcg` and :obj:`recall`: means over the users with a relevant item
        and at least two items.
    """
    rating = part['rating'].to_numpy(float)
    user, _ = pd.factorize(part['user'])
    low, high = rating.min(), rating.max()
    relevant = rating >= low + 0.75 * (high - low)
    gain = 2.0**rating - 1
    tie = np.random.default_rng(0).permutation(len(rating))
    by_prediction = np.lexsort((tie, -np.asarray(predicted, float), user))
    place = _place(user[by_prediction])
    ideal = np.lexsort((-gain, user))

    def over_top(order: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.bincount(user[order], np.where(place < top, value, 0))

    discount = 1 / np.log2(place + 2)
    dcg, best = (over_top(o, gain[o] * discount) for o in (by_prediction, ideal))
    found = over_top(by_prediction, relevant[by_prediction])
    possible = np.minimum(np.bincount(user, relevant), top)
    asked = (possible > 0) & (np.bincount(user) > 1)
    if not asked.any():
        return {'ndcg': 0.0, 'recall': 0.0}
    return {
        'ndcg': float((dcg[asked] / best[asked]).mean()),
        'recall': float((found[asked] / possible[asked]).mean()),
    }


def error_by(
    predicted: Any, rating: Any, value: Any, bounds: Sequence[float]
) -> list[dict[str, float]]:
    """RMSE and MAE in buckets of some value of each pair.

    Args:
        predicted: Predictions, :obj:`[R]`.
        rating: Ratings, :obj:`[R]`.
        value: What to part by, such as how often the item was rated, :obj:`[R]`.
        bounds: Lower bounds of the buckets, ascending.

    Returns:
        A row a bucket that is not empty: :obj:`from`, :obj:`ratings`,
        :obj:`rmse`, :obj:`mae`.
    """
    predicted, rating = np.asarray(predicted), np.asarray(rating)
    bucket = np.searchsorted(bounds, np.asarray(value), side='right') - 1
    return [
        {
            'from': bounds[b],
            'ratings': int((bucket == b).sum()),
            **score(predicted[bucket == b], rating[bucket == b]),
        }
        for b in np.unique(bucket)
    ]


def calibration(predicted: Any, rating: Any, bins: int = 10) -> list[dict[str, float]]:
    """Mean prediction and mean rating in equal shares of the pairs, by prediction."""
    predicted, rating = np.asarray(predicted, float), np.asarray(rating, float)
    order = np.argsort(predicted, kind='stable')
    return [
        {
            'predicted': float(predicted[share].mean()),
            'observed': float(rating[share].mean()),
            'ratings': len(share),
        }
        for share in np.array_split(order, bins)
        if len(share)
    ]


def _place(user: np.ndarray) -> np.ndarray:
    """Places from 0 within each run of equal users."""
    first = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    return np.arange(len(user)) - np.repeat(first, np.diff(np.r_[first, len(user)]))
