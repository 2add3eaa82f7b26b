"""What fits and recommendations cost, beside a Bayesian factorization machine."""

import statistics

import numpy as np
import pandas as pd

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.baselines.rating import BayesianFM, DampedBiases, Ridge
from benchmarks.perf import in_turn, timed
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


def fit(name):
    """A fit on u1 at the defaults, and the test RMSE."""
    problem, (kind, settings) = make_problem(*U1), ESTIMATORS[name]
    made = kind(**ATTRIBUTES, **settings)
    fitted, measures = timed(lambda: problem.refit(made, None))
    measures['rmse'] = dict(problem.test(fitted))['test']['rmse']
    yield {'estimator': name, 'data': 'ml-100k u1'}, measures


def growth(name, ratings):
    """A fit at the defaults on planted tables of the shape of MovieLens."""
    scale = (ratings / 1_000_000) ** 0.5
    size = round(6040 * scale), round(3700 * scale)
    tables = planted_tables(*size, density=1_000_000 / (6040 * 3700), noise=0.8)
    frames = tables.ratings, tables.users, tables.items
    made = AGNNRecommender(scenarios=('warm',), **ESTIMATORS[name][1])
    yield {'estimator': name, 'ratings': ratings}, timed(lambda: made.fit(*frames))[1]


def serving_tanp(users):
    """Adapts to new users of Last.FM, and ranks the catalogue for each."""
    tables = load_lastfm()
    # Weights cost the same whatever they are.
    made = TaNPRecommender(decoder_channels=(64, 32), attention_heads=1, epochs=1)
    recommender = made.fit(tables.ratings, tables.users, tables.items)
    rng = np.random.default_rng(0)
    items = tables.items['item'].to_numpy()
    ids = np.arange(users) + 10**6
    rated = [rng.choice(items, SUPPORT, replace=False) for _ in range(users)]
    labels = rng.integers(2, size=users * SUPPORT).astype(float)
    support = {'user': ids.repeat(SUPPORT), 'item': np.concatenate(rated)}
    support = pd.DataFrame(support | {'rating': labels})
    new = pd.DataFrame({'user': ids})
    calls = {'': lambda: recommender.adapt(support, new).recommend(k=10)}
    taken = in_turn(calls, max(5, 100 // users), warmup=max(1, 20 // users))['']
    case = {'users': users, 'items': len(items), 'support': SUPPORT}
    measures = {'cpu_seconds': statistics.median(taken)}
    measures['ms_a_user'] = 1000 * measures['cpu_seconds'] / users
    yield case, measures | {'quickest_cpu_seconds': min(taken)}


def crowd(frame, count, rng):
    """New nodes with ids of their own, each attribute drawn from those there are."""
    made = {c: rng.choice(frame[c].to_numpy(), count) for c in frame.columns[1:]}
    return pd.DataFrame({frame.columns[0]: np.arange(count) + 10**6, **made})


def serving_large():
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
    assert cost['peak_memory_mb'] < 4096, 'more than 4 GB'
    case = {'items': size, 'users': 10_000}
    yield case, measures | {'peak_memory_mb': cost['peak_memory_mb']}


def serving_agnn(name):
    """Ten recommendations for each user: one call without a warm-up."""
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
    yield case, timed(lambda: recommender.recommend(users, k=10, items=items))[1]


GROWING = ('AGNN network', 'blend')
RATINGS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
CASES = [
    *(('fit', fit, name) for name in ESTIMATORS),
    *(('growth', growth, name, count) for count in RATINGS for name in GROWING),
    *(('serving-tanp', serving_tanp, users) for users in (1, 10, 100, 1000)),
    ('serving-large', serving_large),
    *(('serving-agnn', serving_agnn, name) for name in ('MovieLens-100K', *CROWDS)),
]
