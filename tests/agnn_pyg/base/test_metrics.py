"""Metrics against loops from the formulas, other libraries and published numbers."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score, roc_auc_score
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_hit_rate,
    retrieval_precision,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from agnn_pyg.base.metrics import (
    auc,
    list_metrics,
    pad_lists,
    published_metrics,
    ranking_metrics,
    rating_metrics,
)
from tests.conftest import GOLDEN


@pytest.fixture(params=['binary', 'ratings'])
def lists(request):
    """Scores and labels of 30 lists of 6 to 20 items, NaN where padded."""
    generator = torch.Generator().manual_seed(0)
    size = torch.randint(6, 21, (30,), generator=generator)
    mask = torch.arange(20) < size[:, None]
    score = torch.randn(30, 20, generator=generator)
    high = 2 if request.param == 'binary' else 6
    label = torch.randint(high, (30, 20), generator=generator).float()
    label[0], label[1] = 0, high - 1
    relevant = 0.5 if request.param == 'binary' else 3.5
    score, label = (x.masked_fill(~mask, torch.nan) for x in (score, label))
    return score, label, mask, relevant


def each_list(score, label, mask):
    return [(s[m], y[m]) for s, y, m in zip(score, label, mask, strict=True)]


def loop_metrics(order, label, k, relevant):
    """The metrics of one list in a fixed order, from their formulas."""
    ranked = [label[i] for i in order][:k]
    hit = [y > relevant for y in ranked]
    count = sum(y > relevant for y in label)
    gain, ideal = (
        sum((2**y - 1) / math.log2(i + 2) for i, y in enumerate(values[:k]))
        for values in (ranked, sorted(label, reverse=True))
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


@pytest.mark.parametrize('k', [1, 3, 8, 30])
def test_ranking_metrics_against_torchmetrics(lists, k):
    score, label, mask, relevant = lists
    found = ranking_metrics(score, label, mask, k, relevant)
    for number, (s, y) in enumerate(each_list(score, label, mask)):
        # torchmetrics reads scores above zero only.
        target, s = y > relevant, s.sigmoid()
        if not target.any():
            names = ('precision', 'recall', 'hit', 'ap', 'rr')
            assert all(found[name][number].isnan() for name in names)
            continue
        for name, reference in (
            ('precision', retrieval_precision),
            ('recall', retrieval_recall),
            ('hit', retrieval_hit_rate),
            ('rr', retrieval_reciprocal_rank),
        ):
            expected = float(reference(s, target, top_k=k))
            assert float(found[name][number]) == pytest.approx(expected), name
        # Theirs divides by the hits; the usual one by the most there can be.
        hits = int(target[s.argsort(descending=True)[:k]].sum())
        expected = float(retrieval_average_precision(s, target, top_k=k)) * hits
        expected /= min(k, int(target.sum()))
        assert float(found['ap'][number]) == pytest.approx(expected)


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('k', [1, 4, 30])
def test_ndcg_and_auc_against_sklearn(lists, k, ties):
    score, label, mask, relevant = lists
    score = (score * 2).round() if ties else score
    ndcg = ranking_metrics(score, label, mask, k, relevant)['ndcg']
    area = auc(score, label, mask, relevant)
    for number, (s, y) in enumerate(each_list(score, label, mask)):
        gain = (2**y - 1)[None].numpy()
        expected = ndcg_score(gain, s[None].numpy(), k=k) if gain.any() else math.nan
        assert float(ndcg[number]) == pytest.approx(expected, nan_ok=True)
        target = y > relevant
        defined = target.any() and not target.all()
        expected = roc_auc_score(target, s) if defined else math.nan
        assert float(area[number]) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize('k', [1, 2, 3, 5, 6, 9])
def test_ties_count_as_the_mean_over_all_their_orders(k):
    score = [1.0, 0.0, 1.0, 2.0, 0.0, 1.0]
    for label in ([1, 5, 4, 0, 2, 5], [0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 4, 0]):
        orders = [
            order
            for order in itertools.permutations(range(6))
            if [score[i] for i in order] == sorted(score, reverse=True)
        ]
        each = [loop_metrics(order, label, k, 0.5) for order in orders]
        rows = torch.tensor([score, score]), torch.tensor([label, label]).float()
        mask = torch.ones(2, 6, dtype=torch.bool)
        found = ranking_metrics(*rows, mask, k)
        for name in each[0]:
            expected = sum(metrics[name] for metrics in each) / len(each)
            assert float(found[name][0]) == pytest.approx(expected), name


def test_the_order_of_rows_and_padding_do_not_matter(lists):
    score, label, mask, relevant = lists
    score = (score * 2).round()
    expected = list_metrics(score, label, mask, (2, 5), relevant)
    order = torch.stack([torch.randperm(20) for _ in range(30)])
    found = list_metrics(
        *(x.gather(-1, order) for x in (score, label, mask)), (2, 5), relevant
    )
    for name, value in expected.items():
        assert torch.allclose(found[name], value, equal_nan=True), name


def test_errors_of_each_list(lists):
    score, label, mask, relevant = lists
    found = list_metrics(score, label, mask, (2,), relevant, published=True)
    names = ('precision', 'recall', 'hit', 'ap', 'rr', 'ndcg')
    names += ('published_precision', 'published_ap', 'published_rr')
    assert set(found) == {'mse', 'mae', 'auc', *(f'{name}@2' for name in names)}
    for number, (s, y) in enumerate(each_list(score, label, mask)):
        assert float(found['mae'][number]) == pytest.approx(float((s - y).abs().mean()))
        mse = float((s - y).square().mean())
        assert float(found['mse'][number]) == pytest.approx(mse)


def test_published_metrics_against_published_numbers():
    content = json.loads((GOLDEN / 'metrics.json').read_text())
    cases = [
        case for part in content.values() if isinstance(part, list) for case in part
    ]
    cases = [case for case in cases if isinstance(case, dict) and 'truth' in case]
    assert len(cases) >= 80
    for case in cases:
        score, label = (torch.tensor([case[n]]).double() for n in ('scores', 'truth'))
        mask = torch.ones_like(score, dtype=torch.bool)
        for k, expected in case['at'].items():
            found = published_metrics(score, label, mask, int(k))
            found |= ranking_metrics(score, label, mask, int(k))
            for ours, theirs in (
                ('published_precision', 'precision'),
                ('published_ap', 'ap'),
                ('published_rr', 'rr'),
                ('ndcg', 'ndcg'),
            ):
                if ours == 'ndcg' and not label.any():
                    continue  # undefined, and 0 as published
                assert float(found[ours]) == pytest.approx(expected[theirs]), ours


def test_a_random_ranking_does_well_as_published():
    torch.manual_seed(0)
    label = (torch.rand(2000, 12) < 0.3).float()
    mask = torch.ones_like(label, dtype=torch.bool)
    score = torch.rand_like(label)
    published = published_metrics(score, label, mask, 10)['published_precision'].mean()
    assert published > 0.8
    assert ranking_metrics(score, label, mask, 10)['precision'].nanmean() < 0.4


def test_rating_errors_against_a_loop():
    rng = np.random.default_rng(0)
    predicted, rating = rng.normal(size=50), rng.integers(1, 6, size=50)
    errors = [p - r for p, r in zip(predicted, rating, strict=True)]
    found = rating_metrics(predicted, rating)
    assert found['rmse'] == pytest.approx(math.sqrt(sum(e**2 for e in errors) / 50))
    assert found['mae'] == pytest.approx(sum(map(abs, errors)) / 50)
    assert rating_metrics(torch.tensor([1.0, 5.0]), [1, 5]) == {'rmse': 0, 'mae': 0}


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (lambda: rating_metrics([1.0, math.nan], [1, 2]), "'predicted'.*row 1"),
        (lambda: rating_metrics([1.0, 2.0], [1, math.inf]), "'rating'.*row 1"),
        (lambda: rating_metrics([1.0], [1, 2]), "'predicted'.*2.*1"),
        (lambda: rating_metrics([], []), "'predicted'"),
        (lambda: at_k(ranking_metrics, 0), "'k'.*0"),
        (lambda: at_k(published_metrics, 0), "'k'.*0"),
        (lambda: at_k(published_metrics, 4), "'k'.*3.*4"),
        (lambda: at_k(ranking_metrics, 1, math.nan), "'score' must be finite"),
        (lambda: at_k(published_metrics, 1, math.inf), "'score' must be finite"),
    ],
)
def test_unfit_arguments_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def at_k(metrics, k, score=1.0):
    score = torch.tensor([[score, 2.0, 3.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    return metrics(score, score.nan_to_num(), mask, k)


def test_rows_to_padded_lists():
    group = torch.tensor([7, 2, 7, 2, 9])
    value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    mask, padded, double = pad_lists(group, value, 2 * value)
    assert mask.tolist() == [[True, True], [True, True], [True, False]]
    assert padded.tolist() == [[2, 4], [1, 3], [5, 0]]
    assert torch.equal(double, 2 * padded)
    assert [x.size() for x in pad_lists(group[:0], value[:0])] == [(0, 0), (0, 0)]
