import math

import numpy as np
import pytest
import torch

from benchmarks.episode_metrics import calibration, score_episodes
from tanp import Episodes


@pytest.fixture
def episodes():
    """Two tasks with one support interaction and queries of 10 and 12."""
    label = torch.tensor([1.0] + [1, 0] * 5 + [0] + [1] * 6 + [0] * 6)
    return Episodes(
        user=torch.tensor([0, 1]),
        ptr=torch.tensor([0, 11, 24]),
        item=torch.arange(24),
        label=label,
        num_support=torch.tensor([1, 1]),
        query_start=torch.tensor([1, 1]),
    )


def test_log_loss_is_a_mean_over_tasks_of_means(episodes):
    predicted = np.random.default_rng(0).random(22)
    label = episodes.label[episodes.query_index()].tolist()
    loss = [-math.log(p if y else 1 - p) for p, y in zip(predicted, label, strict=True)]
    expected = (sum(loss[:10]) / 10 + sum(loss[10:]) / 12) / 2
    got = score_episodes(episodes, predicted, 0.5, 'bernoulli')
    assert got['log_loss'] == pytest.approx(expected, abs=1e-12)
    certain = score_episodes(episodes, np.array(label), 0.5, 'bernoulli')
    assert certain['log_loss'] == pytest.approx(0, abs=1e-6)
    assert certain['mse'] == 0


def test_only_estimates_have_errors(episodes):
    predicted = np.arange(22.0)
    ranked = score_episodes(episodes, predicted, 0.5, None)
    assert not {'mse', 'mae', 'log_loss'} & set(ranked)
    rated = score_episodes(episodes, predicted, 0.5, 'gaussian')
    assert {'mse', 'mae'} <= set(rated)
    assert {k: v for k, v in rated.items() if k in ranked} == ranked
    for k in (5, 10):
        assert {f'tie_precision@{k}', f'tie_ap@{k}', f'ndcg@{k}'} <= set(ranked)


def test_what_no_task_defines_is_none(episodes):
    got = score_episodes(episodes, np.arange(22.0), 9, None)
    assert got['auc'] is None
    assert got['ap@5'] is None
    assert got['ndcg@5'] > 0


def test_calibration_against_a_loop(episodes):
    predicted = np.r_[np.random.default_rng(1).random(20), 0.0, 1.0]
    label = episodes.label[episodes.query_index()].tolist()
    bins = {}
    for p, y in zip(predicted, label, strict=True):
        bins.setdefault(min(int(p * 10), 9), []).append((p, y))
    got = calibration(episodes, predicted)
    assert sum(got['count']) == 22
    for number, (_, pairs) in enumerate(sorted(bins.items())):
        assert got['count'][number] == len(pairs)
        for key, column in (('predicted', 0), ('observed', 1)):
            mean = sum(pair[column] for pair in pairs) / len(pairs)
            assert got[key][number] == pytest.approx(mean)
