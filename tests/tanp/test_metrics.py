import math

import pytest
import torch
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_precision,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from tanp.metrics import (
    auc,
    episode_metrics,
    evaluate,
    ranking_metrics,
    tie_counting_metrics,
)


@pytest.fixture(params=['binary', 'ratings'])
def ranking(request):
    """Scores and labels of 30 tasks of 6 to 20 items, NaN where padded."""
    generator = torch.Generator().manual_seed(0)
    size = torch.randint(6, 21, (30,), generator=generator)
    mask = torch.arange(20) < size[:, None]
    score = torch.randn(30, 20, generator=generator)
    high = 2 if request.param == 'binary' else 6
    label = torch.randint(high, (30, 20), generator=generator).float()
    label[0] = 0
    label[1] = high - 1
    relevant = 0.5 if request.param == 'binary' else 3.5
    hole = ~mask
    return (
        score.masked_fill(hole, torch.nan),
        label.masked_fill(hole, torch.nan),
        mask,
        relevant,
    )


def each_task(score, label, mask):
    return [(s[m], y[m]) for s, y, m in zip(score, label, mask, strict=True)]


@pytest.mark.parametrize('k', [1, 3, 6])
def test_standard_metrics_against_torchmetrics(ranking, k):
    score, label, mask, relevant = ranking
    found = ranking_metrics(score, label, mask, k, relevant)
    for number, (s, y) in enumerate(each_task(score, label, mask)):
        # Torchmetrics reads scores above zero only.
        target, s = y > relevant, s.sigmoid()
        if not target.any():
            assert all(found[n][number].isnan() for n in ('precision', 'recall', 'rr'))
            continue
        for name, reference in (
            ('precision', retrieval_precision),
            ('recall', retrieval_recall),
            ('rr', retrieval_reciprocal_rank),
        ):
            expected = reference(s, target, top_k=k)
            assert torch.isclose(found[name][number], expected), name
        # Theirs divides by the hits; the usual one by the most there can be.
        order = s.argsort(descending=True)[:k]
        hits = int(target[order].sum())
        expected = retrieval_average_precision(s, target, top_k=k) * hits
        expected = expected / min(k, int(target.sum()))
        assert torch.isclose(found['ap'][number], expected)


@pytest.mark.parametrize('k', [1, 6])
def test_gain_against_a_loop(ranking, k):
    score, label, mask, relevant = ranking
    found = ranking_metrics(score, label, mask, k, relevant)['ndcg']
    for number, (s, y) in enumerate(each_task(score, label, mask)):
        ranked = y[s.argsort(descending=True)].tolist()
        gain, ideal = (
            sum((2**v - 1) / math.log2(i + 2) for i, v in enumerate(values[:k]))
            for values in (ranked, sorted(ranked, reverse=True))
        )
        if ideal:
            assert float(found[number]) == pytest.approx(gain / ideal, rel=1e-5)
        else:
            assert found[number].isnan()


def test_auc_against_torchmetrics(ranking):
    score, label, mask, relevant = ranking
    score = (score * 2).round()  # with ties
    found = auc(score, label, mask, relevant)
    for number, (s, y) in enumerate(each_task(score, label, mask)):
        target = y > relevant
        if target.all() or not target.any():
            assert found[number].isnan()
        else:
            expected = binary_auroc(s.sigmoid(), target.long())
            assert torch.isclose(found[number], expected)


def test_ties_keep_the_order_of_the_query():
    label = torch.tensor([[1.0, 0, 0, 1]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    metrics = ranking_metrics(torch.zeros(1, 4), label, mask, 2)
    assert metrics['precision'].item() == 0.5
    assert metrics['rr'].item() == 1


def test_a_random_ranking_does_well_where_ties_count():
    torch.manual_seed(0)
    label = (torch.rand(2000, 12) < 0.3).float()
    mask = torch.ones_like(label, dtype=torch.bool)
    score = torch.rand_like(label)
    tie = tie_counting_metrics(score, label, mask, 10)['tie_precision'].mean()
    usual = ranking_metrics(score, label, mask, 10)['precision'].nanmean()
    assert tie > 0.8
    assert usual < 0.4


def test_all_metrics_have_names(ranking):
    score, label, mask, relevant = ranking
    metrics = episode_metrics(score, label, mask, (2, 5), relevant)
    names = ('tie_precision', 'tie_ap', 'precision', 'recall', 'ap', 'rr', 'ndcg')
    expected = {f'{name}@{k}' for name in names for k in (2, 5)}
    assert set(metrics) == expected | {'mse', 'mae', 'auc'}
    assert all(value.size() == (30,) for value in metrics.values())
    for name, power in (('mae', 1), ('mse', 2)):
        for number, (s, y) in enumerate(each_task(score, label, mask)):
            expected = (s - y).abs().pow(power).mean()
            assert torch.isclose(metrics[name][number], expected)


def test_predictions_of_any_model(tasks):
    tasks = tasks.at_least(6)
    label = tasks.label[tasks.query_index()]
    perfect = evaluate(tasks, label, ks=(1, 3))
    assert perfect['mse'].eq(0).all()
    assert perfect['ndcg@3'].nan_to_num(1).eq(1).all()
    assert perfect['tie_precision@3'].eq(1).all()
    with pytest.raises(ValueError, match="'predicted' must hold one value"):
        evaluate(tasks, label[1:])


@pytest.mark.parametrize('k', [0, 7])
def test_a_cut_off_beyond_the_query(ranking, k):
    score, label, mask, _ = ranking
    with pytest.raises(ValueError, match=f"'k' must be from 1 to 6.*got {k}"):
        tie_counting_metrics(score, label, mask, k)


def test_scores_that_are_no_numbers(ranking):
    score, label, mask, _ = ranking
    with pytest.raises(ValueError, match="'score' must be finite"):
        ranking_metrics(score.masked_fill(mask, torch.nan), label, mask, 3)
