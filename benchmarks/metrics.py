"""Scores of predicted ratings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torchmetrics.functional import mean_absolute_error, mean_squared_error


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
