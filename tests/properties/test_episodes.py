"""Episodes, their loader, the model that reads them, and metrics of rankings."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from agnn_pyg.base.metrics import auc, ranking_metrics
from tanp import EpisodeLoader, TaNP, predict
from tanp.prediction import published_metrics
from tests.properties.strategies import episodes, rankings, seeds
from tests.tanp.conftest import SMALL
from tests.tanp.test_loader import all_tasks

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
