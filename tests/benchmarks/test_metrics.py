import math

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.metrics import calibration, error_by, ranking, score


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


def loop_ranking(predicted, part, top):
    """nDCG and recall of each user by sorting, from the formula."""
    ndcg, recall = [], []
    rows = list(zip(part.user, part.rating, predicted, strict=True))
    for user in sorted(set(part.user)):
        own = [(p, r) for u, r, p in rows if u == user]
        relevant = [r for _, r in own if r >= 4]
        if not relevant or len(own) < 2:
            continue
        ranked = [r for _, r in sorted(own, reverse=True)]
        ideal = sorted(ranked, reverse=True)
        dcg, best = (
            sum((2**r - 1) / math.log2(k + 2) for k, r in enumerate(order[:top]))
            for order in (ranked, ideal)
        )
        ndcg.append(dcg / best)
        found = sum(r >= 4 for r in ranked[:top])
        recall.append(found / min(top, len(relevant)))
    return sum(ndcg) / len(ndcg), sum(recall) / len(recall)


@pytest.mark.parametrize('top', [1, 3, 10])
def test_ranking_against_a_loop(top):
    rng = np.random.default_rng(1)
    part = pd.DataFrame(
        {'user': rng.integers(0, 9, 60), 'rating': rng.integers(1, 6, 60)}
    )
    predicted = rng.normal(size=60)
    expected = loop_ranking(predicted, part, top)
    got = ranking(predicted, part, top)
    assert (got['ndcg'], got['recall']) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_order_has_ndcg_and_recall_of_one():
    part = pd.DataFrame({'user': [1, 1, 1, 2, 2], 'rating': [5, 1, 4, 2, 5]})
    assert ranking(part['rating'], part) == {'ndcg': 1.0, 'recall': 1.0}


def test_ties_are_no_better_than_chance():
    # Sorted by rating: a stable sort of equal predictions would be perfect.
    rating = np.sort(np.tile([1, 2, 3, 4, 5], 40))[::-1]
    part = pd.DataFrame({'user': np.tile(range(4), 50), 'rating': rating})
    assert ranking(np.zeros(200), part)['ndcg'] < 0.8


def test_users_without_a_relevant_item_do_not_count():
    part = pd.DataFrame({'user': [1, 1, 2, 2, 3], 'rating': [5, 1, 2, 2, 5]})
    got = ranking([1.0, 2.0, 1.0, 2.0, 1.0], part, top=1)
    assert got['recall'] == 0
    assert got['ndcg'] == pytest.approx((2**1 - 1) / (2**5 - 1))


def test_error_by_parts_at_the_bounds():
    rows = error_by(
        [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 3.0, 2.0], [0, 1, 9, 10], (0, 1, 10)
    )
    assert [(row['from'], row['ratings']) for row in rows] == [(0, 1), (1, 2), (10, 1)]
    assert [row['mae'] for row in rows] == [0.0, 0.5, 2.0]
    whole = sum(row['ratings'] * row['rmse'] ** 2 for row in rows) / 4
    assert whole == pytest.approx(score([1.0, 2, 3, 4], [1.0, 1, 3, 2])['rmse'] ** 2)


def test_calibration_of_what_is_shifted():
    rating = np.linspace(1, 5, 40)
    rows = calibration(rating + 0.5, rating, bins=4)
    assert [row['ratings'] for row in rows] == [10] * 4
    for row in rows:
        assert row['predicted'] - row['observed'] == pytest.approx(0.5)
