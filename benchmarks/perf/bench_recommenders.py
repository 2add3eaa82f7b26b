"""Measures the cost of fits by the number of ratings, and of recommendations."""

import statistics
import time

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.perf.conftest import timed
from data.lastfm import load_lastfm
from data.movielens import load_ml100k
from data.synthetic import planted_tables
from data.zipf import PEOPLE, zipf_bags, zipf_ratings
from tanp import TaNPRecommender

SETTINGS = {'AGNN network': {'kernel_weight': 0.0}, 'blend': {}}
# Numbers of users and items by the number of ratings; then the item columns.
SIZES = {10_000: (604, 370), 30_000: (1046, 641), 100_000: (1910, 1170)}
SIZES |= {300_000: (3308, 2027), 1_000_000: (6040, 3700), 9_800_000: (100_000, 20_000)}
GOODS = ((18, 2, 0.8), (40, 1, 1.2))
CROWDS = {'new, all different': (1000, 20_000), 'new': (10_000, 200_000)}
SUPPORT = 20


def growth_cost(name, ratings):
    """Cost of a fit for warm pairs with default settings."""
    bags, _ = zip(*map(zipf_bags, SIZES[ratings], (PEOPLE, GOODS)), strict=True)
    (user, item), rating = zipf_ratings(*bags, round(1.08 * ratings))
    frames = [pd.DataFrame({'user': user, 'item': item, 'rating': rating})[:ratings]]
    for side, bag in zip(('user', 'item'), bags, strict=True):
        values = [row[row > 0].tolist() for row in bag]
        frames.append(pd.DataFrame({side: np.arange(len(bag)), 'values': values}))
    made = AGNNRecommender(scenarios=('warm',), **SETTINGS[name])
    return {'estimator': name, 'ratings': ratings}, timed(lambda: made.fit(*frames))[1]


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('ratings', SIZES)
def test_growth(ratings, name, once):
    """Fits tables of increasing size, each in its own process."""
    once('growth', growth_cost, name, ratings)


@pytest.fixture(scope='module')
def tanp():
    """A recommender for Last.FM; its cost does not depend on the weights."""
    tables = load_lastfm()
    made = TaNPRecommender(decoder_channels=(64, 32), attention_heads=1, epochs=1)
    return made.fit(tables.ratings, tables.users, tables.items), tables


@pytest.mark.parametrize('users', [1, 10, 100, 1000])
def test_tanp(users, tanp, record, benchmark):
    """Adapts to new users and ranks the catalogue for each."""
    recommender, tables = tanp
    rng = np.random.default_rng(0)
    items = tables.items['item'].to_numpy()
    ids = np.arange(users) + 10**6
    rated = np.concatenate([rng.choice(items, SUPPORT, replace=False) for _ in ids])
    support = pd.DataFrame({'user': ids.repeat(SUPPORT), 'item': rated})
    support['rating'] = rng.integers(2, size=len(rated)).astype(float)
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
    """New nodes with new ids; attributes are drawn from the known values."""
    made = {c: rng.choice(frame[c].to_numpy(), count) for c in frame.columns[1:]}
    return pd.DataFrame({frame.columns[0]: np.arange(count) + 10**6, **made})


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
    recommender = AGNNRecommender(epochs=1, kernel_steps=0, scenarios=(scenario,))
    recommender.fit(tables.ratings, tables.users, tables.items)
    case = {'table': name, 'users': len(users), 'items': len(items)}
    return case, timed(lambda: recommender.recommend(users, k=10, items=items))[1]


@pytest.mark.parametrize('name', ['MovieLens-100K', *CROWDS])
def test_agnn(name, once):
    """One call without warm-up, in its own process."""
    once('serving-agnn', agnn_cost, name)
