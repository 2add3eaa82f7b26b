import math

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.metrics import score


def test_score_against_a_loop():
    rng = np.random.default_rng(0)
    predicted, rating = rng.normal(size=50), rng.integers(1, 6, size=50)
    squares = absolutes = 0.0
    for p, r in zip(predicted, rating, strict=True):
        squares += (p - r) ** 2
        absolutes += abs(p - r)
    got = score(predicted, pd.Series(rating))
    assert got['rmse'] == pytest.approx(math.sqrt(squares / 50), abs=1e-12)
    assert got['mae'] == pytest.approx(absolutes / 50, abs=1e-12)


def test_perfect_prediction_scores_zero():
    rating = torch.tensor([1.0, 5.0])
    assert score(rating, rating) == {'rmse': 0.0, 'mae': 0.0}


def test_predictions_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match='1 of 2 predictions are not finite'):
        score([1.0, math.nan], [1.0, 2.0])


def test_counts_must_agree():
    with pytest.raises(ValueError, match=r'each of 2 ratings \(got 1\)'):
        score([1.0], [1.0, 2.0])
