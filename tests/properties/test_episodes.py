"""Episodes, their loader, the model that reads them, and metrics of rankings."""

import re

import numpy as np
import pandas as pd
import torch
from hypothesis import given
from hypothesis import strategies as st

from agnn_pyg.base.metrics import auc, ranking_metrics
from tanp import EpisodeLoader, TaNP, predict, split_episodes
from tanp.metrics import published_metrics
from tests.properties.strategies import episodes, rankings, seeds
from tests.tanp.test_loader import all_tasks

SMALL = {
    'embedding_channels': (4, 4),
    'latent_channels': (4, 4, 4),
    'task_channels': (4, 4),
    'decoder_channels': (4, 4),
    'num_clusters': 2,
}
OPTIONS = st.fixed_dictionaries(
    {
        'modulation': st.sampled_from(['film', 'gating']),
        'likelihood': st.sampled_from(['bernoulli', 'gaussian']),
        'latent_channels': st.sampled_from([None, (4, 4, 4)]),
        'num_clusters': st.sampled_from([0, 2]),
        'user_ids': st.booleans(),
    }
)


def small(options, seed):
    torch.manual_seed(seed)
    return TaNP(12, 20, **SMALL | options).eval()


@given(episodes(), st.integers(1, 4), seeds)
def test_resampling_loses_nothing(tasks, batch_size, seed):
    options = {'support_sizes': (1, 3), 'shuffle': True, 'seed': seed % 1000}
    loader = EpisodeLoader(tasks, batch_size, **options)
    expected = {
        int(user): sorted(zip(*(part.tolist() for part in parts), strict=True))
        for user, *parts in zip(
            tasks.user,
            tasks.item.split(tasks.size.tolist()),
            tasks.label.split(tasks.size.tolist()),
            strict=True,
        )
    }
    made = all_tasks(loader)
    assert {u: sorted(one + two) for u, one, two in made} == expected
    assert all(support and query for _, support, query in made)
    assert all_tasks(EpisodeLoader(tasks, batch_size, **options)) == made


@given(st.integers(3, 15), st.integers(2, 15), seeds, st.integers(1, 4))
def test_no_user_is_in_two_parts(num_users, num_items, seed, support_size):
    rng = np.random.default_rng(seed)
    user, item = (rng.random((num_users, num_items)) < 0.7).nonzero()
    frame = pd.DataFrame({'user': user, 'item': item, 'rating': 1.0 * (item % 2)})
    options = {'support_size': support_size, 'min_size': support_size + 1}
    ids = range(num_users), range(num_items)
    try:
        parts = split_episodes(frame, *ids, **options, seed=seed % 1000)
    except ValueError as error:
        assert re.search("'min_size'|no rows", str(error))  # noqa: PT017
        return
    users = [set(getattr(parts, n).user.tolist()) for n in ('warm', 'validation')]
    users.append(set(parts.test.user.tolist()))
    assert not users[0] & users[1]
    assert not users[2] & (users[0] | users[1])
    assert set(parts.train.user.tolist()) <= users[0]
    for tasks in (parts.train, parts.validation, parts.test):
        assert tasks.num_support.eq(support_size).all()
        assert tasks.num_query.ge(1).all()
        assert set(tasks.item.tolist()) <= set(parts.warm.item.tolist())


@given(episodes(), OPTIONS, seeds)
def test_a_prediction_depends_on_its_own_task_only(tasks, options, seed):
    model = small(options, seed)
    together = predict(model, EpisodeLoader(tasks, len(tasks))).mean
    assert torch.isfinite(together).all()
    if options['likelihood'] == 'bernoulli':
        assert together.ge(0).all()
        assert together.le(1).all()
    alone = predict(model, EpisodeLoader(tasks, 1)).mean
    assert torch.allclose(alone, together, atol=1e-5)
    order = torch.randperm(len(tasks))
    moved = predict(model, EpisodeLoader(tasks.select(order), 3)).mean
    sizes = tasks.num_query.tolist()
    parts = together.split(sizes)
    assert torch.allclose(moved, torch.cat([parts[i] for i in order]), atol=1e-5)


@given(rankings(), st.floats(0.01, 100), st.floats(-100, 100))
def test_metrics_are_fractions_that_read_the_order_only(ranking, scale, shift):
    score, label, mask, k = ranking

    def metrics(score):
        found = ranking_metrics(score, label, mask, k)
        found |= published_metrics(score, label, mask, k)
        return found | {'auc': auc(score, label, mask)}

    other = metrics(score * scale + shift)
    for name, value in metrics(score).items():
        inside = (value >= 0) & (value <= 1 + 1e-9)
        assert (inside | value.isnan()).all(), name
        assert torch.allclose(value, other[name], equal_nan=True), name
