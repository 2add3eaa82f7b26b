"""Metrics of lists against loops and against numbers of the published code."""

import json

import pytest
import torch

from agnn_pyg.base.metrics import list_metrics, published_metrics, ranking_metrics
from tests.conftest import GOLDEN

NAN = float('nan')


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
    score, label = torch.randn(2, 7, 9, generator=generator).masked_fill(~mask, NAN)
    found = list_metrics(score, label, mask, (2,), 0.5)
    names = ('precision', 'recall', 'hit', 'ap', 'rr', 'ndcg')
    names += ('published_precision', 'published_ap', 'published_rr')
    assert set(found) == {'mse', 'mae', 'auc', *(f'{name}@2' for name in names)}
    error = score - label  # NaN at padding
    assert torch.allclose(found['mae'], error.abs().nanmean(-1))
    assert torch.allclose(found['mse'], error.square().nanmean(-1))


def test_unfit_arguments_are_named():
    score = torch.tensor([[1.0, 2.0, 3.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    for k, match in ((0, "'k'.*0"), (4, "'k'.*3.*4")):
        with pytest.raises(ValueError, match=match):
            published_metrics(score, score, mask, k)
    with pytest.raises(ValueError, match="'score'"):
        published_metrics(score / 0, score, mask, 1)
