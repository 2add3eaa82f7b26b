"""Metrics against loops, other libraries and numbers of the published code."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score, roc_auc_score

from agnn_pyg.base.metrics import (
    auc,
    list_metrics,
    pad_lists,
    published_metrics,
    ranking_metrics,
    rating_metrics,
)
from tests.conftest import GOLDEN


def random_lists(high=2, relevant=0.5, ties=False):
    """Scores and labels of 30 lists of 6 to 20 items, NaN and 9 where padded."""
    generator = torch.Generator().manual_seed(0)
    size = torch.randint(6, 21, (30,), generator=generator)
    mask = torch.arange(20) < size[:, None]
    score = torch.randn(30, 20, generator=generator)
    score = (score * 2).round() if ties else score
    label = torch.randint(high, (30, 20), generator=generator).float()
    label[0], label[1] = 0, high - 1
    score, label = score.masked_fill(~mask, torch.nan), label.masked_fill(~mask, 9)
    return score, label, mask, relevant


RATINGS = {'high': 6, 'relevant': 3.5}


def loop_metrics(order, label, k, relevant):
    """The metrics of one list in a fixed order, from their formulas."""
    labels = [*label.values()] if isinstance(label, dict) else label
    ranked = [label[i] for i in order][:k]
    hit = [y > relevant for y in ranked]
    count = sum(y > relevant for y in labels)
    gain, ideal = (
        sum((2**y - 1) / math.log2(i + 2) for i, y in enumerate(values[:k]))
        for values in (ranked, sorted(labels, reverse=True))
    )
    return {
        'precision': sum(hit) / k,
        'recall': sum(hit) / count,
        'hit': float(any(hit)),
        'ap': sum(h * sum(hit[: i + 1]) / (i + 1) for i, h in enumerate(hit))
        / min(count, k),
        'rr': max((h / (i + 1) for i, h in enumerate(hit)), default=0),
        'ndcg': gain / ideal,
    }


@pytest.mark.parametrize('labels', [{}, RATINGS])
@pytest.mark.parametrize('ties', [False, True])
def test_ndcg_and_auc_against_sklearn(labels, ties):
    score, label, mask, relevant = random_lists(**labels, ties=ties)
    ndcg = {k: ranking_metrics(score, label, mask, k)['ndcg'] for k in (1, 4, 30)}
    area = auc(score, label, mask, relevant)
    for number, (s, y, m) in enumerate(zip(score, label, mask, strict=True)):
        s, y = s[m], y[m]
        gain = (2**y - 1)[None].numpy()
        for k, found in ndcg.items():
            best = ndcg_score(gain, s[None].numpy(), k=k) if gain.any() else math.nan
            assert float(found[number]) == pytest.approx(best, nan_ok=True)
        target = y > relevant
        defined = target.any() and not target.all()
        if not target.any():
            found = ranking_metrics(score, label, mask, 3, relevant)
            names = ('precision', 'recall', 'hit', 'ap', 'rr')
            assert all(found[name][number].isnan() for name in names)
        expected = roc_auc_score(target, s) if defined else math.nan
        assert float(area[number]) == pytest.approx(expected, nan_ok=True)


def test_ties_count_as_the_mean_over_all_their_orders():
    score = [1.0, 0.0, 1.0, 2.0, 0.0, 1.0]
    orders = [
        order
        for order in itertools.permutations(range(6))
        if [score[i] for i in order] == sorted(score, reverse=True)
    ]
    labels = ([1, 5, 4, 0, 2, 5], [0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 4, 0])
    for label, k in itertools.product(labels, (1, 2, 3, 5, 6, 9)):
        each = [loop_metrics(order, label, k, 0.5) for order in orders]
        rows = torch.tensor([score, score]), torch.tensor([label, label]).float()
        mask = torch.ones(2, 6, dtype=torch.bool)
        found = ranking_metrics(*rows, mask, k)
        for name in each[0]:
            expected = sum(metrics[name] for metrics in each) / len(each)
            assert float(found[name][0]) == pytest.approx(expected), name


def test_rating_errors_against_a_loop():
    rng = np.random.default_rng(0)
    predicted, rating = rng.normal(size=50), rng.integers(1, 6, size=50)
    errors = [p - r for p, r in zip(predicted, rating, strict=True)]
    found = rating_metrics(predicted, rating)
    assert found['rmse'] == pytest.approx(math.sqrt(sum(e**2 for e in errors) / 50))
    assert found['mae'] == pytest.approx(sum(map(abs, errors)) / 50)
    assert rating_metrics(torch.tensor([1.0, 5.0]), [1, 5]) == {'rmse': 0, 'mae': 0}


def test_unfit_arguments_are_named():
    nan, lists = torch.tensor([[math.nan]]), torch.ones(1, 1)
    mask, three = lists.bool(), torch.ones(1, 3)
    two = torch.tensor([[True, True, False]])
    for call, match in (
        (lambda: rating_metrics([1.0, math.nan], [1, 2]), "'predicted'.*row 1"),
        (lambda: rating_metrics([1.0, 2.0], [1, math.inf]), "'rating'.*row 1"),
        (lambda: rating_metrics([1.0], [1, 2]), "'predicted'.*2.*1"),
        (lambda: rating_metrics([], []), "'predicted'"),
        (lambda: ranking_metrics(lists, lists, mask, 0), "'k'.*0"),
        (lambda: ranking_metrics(nan, lists, mask, 1), "'score'"),
        (lambda: published_metrics(nan, lists, mask, 1), "'score'"),
        (lambda: published_metrics(lists, lists, mask, 0), "'k'.*0"),
        (lambda: published_metrics(three, three, two, 3), "'k'.*2.*3"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_rows_to_padded_lists():
    group = torch.tensor([7, 2, 7, 2, 9])
    value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    mask, padded, double = pad_lists(group, value, 2 * value)
    assert mask.tolist() == [[True, True], [True, True], [True, False]]
    assert padded.tolist() == [[2, 4], [1, 3], [5, 0]]
    assert torch.equal(double, 2 * padded)
    assert [x.size() for x in pad_lists(group[:0], value[:0])] == [(0, 0), (0, 0)]


def test_published_metrics_against_published_numbers():
    content = json.loads((GOLDEN / 'metrics.json').read_text())
    cases = [
        case for part in content.values() if isinstance(part, list) for case in part
    ]
    cases = [case for case in cases if isinstance(case, dict) and 'truth' in case]
    assert len(cases) >= 80
    for case in cases:
        # Padding with the lowest score and a high label, neither of which is read.
        score = torch.tensor([[*case['scores'], min(case['scores'])]]).double()
        label = torch.tensor([[*case['truth'], 9.0]]).double()
        mask = torch.arange(score.size(1))[None] < len(case['truth'])
        for k, expected in case['at'].items():
            found = published_metrics(score, label, mask, int(k))
            found |= ranking_metrics(score, label, mask, int(k))
            for ours, theirs in (
                ('published_precision', 'precision'),
                ('published_ap', 'ap'),
                ('published_rr', 'rr'),
                ('ndcg', 'ndcg'),
            ):
                if ours == 'ndcg' and not any(case['truth']):
                    continue  # undefined, and 0 as published
                assert float(found[ours]) == pytest.approx(expected[theirs]), ours


def test_errors_and_metrics_of_each_list():
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(9) < torch.randint(4, 10, (7,), generator=generator)[:, None]
    score, label = torch.randn(2, 7, 9, generator=generator).masked_fill(
        ~mask, torch.nan
    )
    found = list_metrics(score, label, mask, (2,), 0.5)
    names = ('precision', 'recall', 'hit', 'ap', 'rr', 'ndcg')
    names += ('published_precision', 'published_ap', 'published_rr')
    assert set(found) == {'mse', 'mae', 'auc', *(f'{name}@2' for name in names)}
    error = score - label  # NaN at padding
    assert torch.allclose(found['mae'], error.abs().nanmean(-1))
    assert torch.allclose(found['mse'], error.square().nanmean(-1))
