"""What fits and recommendations cost, beside a Bayesian factorization machine."""

import statistics
import time

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.baselines.rating import BayesianFM, DampedBiases, Ridge
from benchmarks.perf.conftest import timed
from benchmarks.problems import make_problem
from data.lastfm import load_lastfm
from data.movielens import load_ml100k
from data.synthetic import planted_tables
from tanp import TaNPRecommender

ATTRIBUTES = {'user_attributes': ['age', 'gender', 'occupation']}
ATTRIBUTES |= {'item_attributes': ['genre', 'country', 'year']}
# Back to back: ratios to the Bayesian FM are what counts.
ESTIMATORS = {
    'damped biases': (DampedBiases, {}),
    'ridge': (Ridge, {}),
    'Bayesian FM': (BayesianFM, {'rank': 8}),
    'AGNN network': (AGNNRecommender, {'kernel_weight': 0.0}),
    'blend': (AGNNRecommender, {}),
}
QUICK = {'epochs': 1, 'kernel_steps': 0}
CROWDS = {'new, all different': (1000, 20_000), 'new': (10_000, 200_000)}
SUPPORT = 20
U1 = ('ml-100k-u', 'warm', 1, {}, False)


def fit_cost(name):
    """CPU seconds and peak memory of a fit on u1, and the test RMSE."""
    problem, (kind, settings) = make_problem(*U1), ESTIMATORS[name]
    fitted, measures = timed(
        lambda: problem.refit(kind(**ATTRIBUTES, **settings), None)
    )
    measures['rmse'] = dict(problem.test(fitted))['test']['rmse']
    return {'estimator': name, 'data': 'ml-100k u1'}, measures


@pytest.mark.parametrize('name', ESTIMATORS)
def test_fit(name, once):
    """One fit at the defaults, once, in a process of its own."""
    once('fit', fit_cost, name)


def growth_cost(name, ratings):
    """A fit at the defaults on planted tables of the shape of MovieLens."""
    scale = (ratings / 1_000_000) ** 0.5
    size = round(6040 * scale), round(3700 * scale)
    tables = planted_tables(*size, density=1_000_000 / (6040 * 3700), noise=0.8)
    frames = tables.ratings, tables.users, tables.items
    made = AGNNRecommender(scenarios=('warm',), **ESTIMATORS[name][1])
    return {'estimator': name, 'ratings': ratings}, timed(lambda: made.fit(*frames))[1]


@pytest.mark.parametrize('name', ['AGNN network', 'blend'])
@pytest.mark.parametrize('ratings', [10_000, 30_000, 100_000, 300_000, 1_000_000])
def test_growth(ratings, name, once):
    """Fits of more and more ratings, each in a process of its own."""
    once('growth', growth_cost, name, ratings)


@pytest.fixture(scope='module')
def tanp():
    """A recommender of Last.FM; weights cost the same whatever they are."""
    tables = load_lastfm()
    made = TaNPRecommender(decoder_channels=(64, 32), attention_heads=1, epochs=1)
    return made.fit(tables.ratings, tables.users, tables.items), tables


@pytest.mark.parametrize('users', [1, 10, 100, 1000])
def test_tanp(users, tanp, record, benchmark):
    """Adapts to new users, and ranks the catalogue for each."""
    recommender, tables = tanp
    rng = np.random.default_rng(0)
    items = tables.items['item'].to_numpy()
    ids = np.arange(users) + 10**6
    rated = [rng.choice(items, SUPPORT, replace=False) for _ in range(users)]
    labels = rng.integers(2, size=users * SUPPORT).astype(float)
    support = {'user': ids.repeat(SUPPORT), 'item': np.concatenate(rated)}
    support = pd.DataFrame(support | {'rating': labels})
    benchmark._timer = time.process_time
    benchmark.pedantic(
        lambda: recommender.adapt(support, pd.DataFrame({'user': ids})).recommend(k=10),
        rounds=max(5, 100 // users),
        warmup_rounds=max(1, 20 // users),
    )
    taken = benchmark.stats.stats.data
    case = {'users': users, 'items': len(items), 'support': SUPPORT}
    measures = {'cpu_seconds': statistics.median(taken)}
    measures['ms_a_user'] = 1000 * measures['cpu_seconds'] / users
    record('serving-tanp', case, **measures, quickest_cpu_seconds=min(taken))


def crowd(frame, count, rng):
    """New nodes with ids of their own, each attribute drawn from those there are."""
    made = {c: rng.choice(frame[c].to_numpy(), count) for c in frame.columns[1:]}
    return pd.DataFrame({frame.columns[0]: np.arange(count) + 10**6, **made})


def large_cost():
    """Fit, adaptation and ranking of 100,000 items, most of them rare."""
    rng, size = np.random.default_rng(0), 100_000
    chance = np.arange(1, size + 1) ** -0.8
    user = np.arange(10_000).repeat(40)
    item = rng.choice(size, 400_000, p=chance / chance.sum())
    rated = pd.DataFrame({'user': user, 'item': item}).drop_duplicates()
    rated['rating'] = rng.integers(0, 2, len(rated)).astype(float)
    items = pd.DataFrame({'item': np.arange(size)})
    fitted, cost = timed(lambda: TaNPRecommender(epochs=1).fit(rated, items=items))
    measures = {'fit_s': cost['cpu_seconds']}
    support = rated[rated['user'] < 16].groupby('user').head(SUPPORT)
    support = support.assign(user=support['user'] + 10**6)
    _, cost = timed(lambda: fitted.adapt(support).recommend(k=10))
    measures |= {'recommend_16_s': cost['cpu_seconds']}
    case = {'items': size, 'users': 10_000}
    return case, measures | {'peak_memory_mb': cost['peak_memory_mb']}


def test_tanp_of_many_items(once):
    """Within 4 GB, in a process of its own."""
    assert once('serving-large', large_cost)['peak_memory_mb'] < 4096


def agnn_cost(name):
    """CPU seconds and peak memory of ten recommendations for each user."""
    tables, scenario = load_ml100k(), 'warm'
    users, items = tables.users, tables.items
    if name in CROWDS:
        tables, scenario = planted_tables(1000, 1000, density=0.05), 'both_cold'
        frames, rng = (tables.users, tables.items), np.random.default_rng(0)
        made = [crowd(*pair, rng) for pair in zip(frames, CROWDS[name], strict=True)]
        for frame in (*frames, *made) if name != 'new' else ():
            frame['mark'] = rng.random(len(frame))
        users, items = made
    recommender = AGNNRecommender(**QUICK, scenarios=(scenario,))
    recommender.fit(tables.ratings, tables.users, tables.items)
    case = {'table': name, 'users': len(users), 'items': len(items)}
    return case, timed(lambda: recommender.recommend(users, k=10, items=items))[1]


@pytest.mark.parametrize('name', ['MovieLens-100K', *CROWDS])
def test_agnn(name, once):
    """One call without a warm-up, in a process of its own."""
    once('serving-agnn', agnn_cost, name)
