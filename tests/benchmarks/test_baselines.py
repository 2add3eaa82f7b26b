import dataclasses
import importlib.util

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from benchmarks.baselines.few_shot import (
    ItemKNN,
    ItemMean,
    LogisticStack,
    Popularity,
    Random,
    ResidualKNN,
    ResidualSVD,
    SupportMean,
    SVDFoldIn,
    deal,
)
from benchmarks.baselines.implicit import (
    EASE,
    ALSRidge,
    AttributeKNN,
    LightFM,
    PopularItems,
)
from benchmarks.baselines.rating import (
    BayesianFM,
    BayesianFMImplicit,
    BoostedTrees,
    CollectiveMF,
    DampedBiases,
    GlobalMean,
    Ridge,
    SlopeRidge,
    SVDPlusPlus,
)
from data.splits import COLD_SIDES, split
from data.synthetic import planted_tables, planted_tastes
from tests.agnn_pyg.conftest import rmse

LIBRARIES = {BoostedTrees: 'lightgbm', BayesianFM: 'myfm', BayesianFMImplicit: 'myfm'}
LIBRARIES |= {CollectiveMF: 'cmfrec', SVDPlusPlus: 'surprise', LightFM: 'lightfm'}
RATING = (GlobalMean, DampedBiases, Ridge, SlopeRidge)
RATING += (BoostedTrees, BayesianFM, BayesianFMImplicit, CollectiveMF, SVDPlusPlus)
IMPLICIT = (PopularItems, AttributeKNN, EASE, ALSRidge, LightFM)
LIKES = (Random, Popularity, ItemKNN, SVDFoldIn, LogisticStack)
RATINGS = (ItemMean, SupportMean, ResidualKNN, ResidualSVD)


@pytest.fixture(scope='module')
def tables():
    return planted_tables(60, 50, density=0.4)


def fit(kind, tables, ratings, **settings):
    if kind in LIBRARIES and importlib.util.find_spec(LIBRARIES[kind]) is None:
        pytest.skip(f'needs {LIBRARIES[kind]}')
    return kind(**settings).fit(ratings, tables.users, tables.items)


# What their own libraries warn of is theirs.
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', RATING)
@pytest.mark.parametrize('scenario', ['warm', 'item_cold'])
def test_rating_baselines_repeat_and_beat_the_mean_where_they_can(
    kind, scenario, tables
):
    if kind is SVDPlusPlus and scenario != 'warm':
        pytest.skip('it knows ids only')
    parts = split(tables, scenario)
    first = fit(kind, tables, parts.fit).predict(parts.test)
    assert np.isfinite(first).all()
    low, high = parts.fit['rating'].agg(['min', 'max'])
    assert (low <= first).all()
    assert (first <= high).all()
    again = fit(kind, tables, parts.fit).predict(parts.test)
    assert np.array_equal(first, again)
    # An item's ratings are no help where it has none in the fit.
    mean = rmse(np.full(len(parts.test), parts.fit['rating'].mean()), parts.test)
    if kind is not GlobalMean and scenario == 'warm':
        assert rmse(first, parts.test) < 0.95 * mean
    if kind in (Ridge, SlopeRidge) and scenario != 'warm':
        assert rmse(first, parts.test) < 0.8 * mean


def test_damped_biases_by_hand():
    ratings = pd.DataFrame(
        {'user': [1, 1, 2], 'item': ['a', 'b', 'a'], 'rating': [5.0, 2.0, 2.0]}
    )
    users = pd.DataFrame({'user': [1, 2, 3]})
    items = pd.DataFrame({'item': ['a', 'b', 'c']})
    model = DampedBiases(user_damping=1.0, item_damping=2.0)
    model.fit(ratings, users, items)
    a, b = (2 + -1) / (2 + 2), -1 / (1 + 2)
    user = ((2 - a) + (-1 - b)) / (2 + 1)
    pairs = pd.DataFrame({'user': [1, 3, 3], 'item': ['b', 'a', 'c']})
    assert model.predict(pairs) == pytest.approx([3 + user + b, 3 + a, 3])
    with pytest.raises(ValueError, match='9'):
        model.predict(pairs.assign(user=9))


def test_slopes_are_products_of_users_and_genres_decades_and_years(tables):
    model = fit(SlopeRidge, tables, tables.ratings, slopes=0.3)
    user, item = model.tables_.positions(tables.ratings.head(50))
    found = model._features(user, item).toarray()
    sloped = model.slopes_[item].toarray()
    ids = np.eye(len(tables.users))[user]
    expected = [np.kron(u, row) for u, row in zip(ids, sloped, strict=True)]
    assert np.allclose(found[:, -ids.shape[1] * sloped.shape[1] :], expected)


def test_ridge_without_ids_and_attributes_is_the_mean(tables):
    settings = {'user_ids': False, 'item_ids': False}
    settings |= {'user_attributes': [], 'item_attributes': []}
    model = fit(Ridge, tables, tables.ratings, **settings)
    found = model.predict(tables.ratings.head())
    assert found == pytest.approx([tables.ratings['rating'].mean()] * 5)


def episodes(kind):
    """Training users, and supports and queries of others, by plain rules."""
    implicit = kind in LIKES
    tables = (
        planted_tastes(160, size=20) if implicit else planted_tables(160, density=1)
    )
    ratings = tables.ratings
    place = ratings.groupby('user').cumcount()
    is_new = ratings['user'] > ratings['user'].quantile(0.8)
    warm = ratings[~is_new]
    return tables, warm, ratings[is_new & (place < 8)], ratings[is_new & (place >= 8)]


@pytest.mark.parametrize('kind', [*LIKES, *RATINGS])
def test_few_shot_baselines_repeat_and_learn_from_supports(kind):
    tables, warm, support, query = episodes(kind)
    scores = []
    for _ in range(2):
        fitted = kind().fit(warm, tables.users, tables.items)
        found = fitted.adapt(support).predict(query)
        scores.append(found.to_numpy())
    assert np.array_equal(*scores)
    assert found.index.equals(query.index)
    assert (found.name == 'rating') == fitted.predicts_labels
    order = np.random.default_rng(0).permutation(len(query))
    if kind is not Random:
        other = fitted.adapt(support).predict(query.iloc[order])
        assert np.allclose(other, scores[0][order])
    if kind in (ItemKNN, SVDFoldIn, LogisticStack):
        liked = query['rating'] == 1
        assert found[liked].mean() > 1.5 * found[~liked].mean()
        # Popularity alone is no help: tastes differ.
        flipped = support.assign(rating=1 - support['rating'])
        changed = fitted.adapt(flipped).predict(query)
        assert changed[liked].mean() < changed[~liked].mean()
    if kind in RATINGS:
        mean = warm['rating'].mean()
        error = rmse(found, query)
        assert error < 0.95 * rmse(np.full(len(query), mean), query)


def test_item_knn_by_hand():
    warm = pd.DataFrame({'user': [1, 1, 1, 2, 2, 3, 3], 'item': [*'abcabbc']})
    warm['rating'] = [1.0, 1, 0, 1, 1, 1, 1]
    items = pd.DataFrame({'item': ['a', 'b', 'c']})
    fitted = ItemKNN(shrink=1.0).fit(warm, None, items)
    support = pd.DataFrame({'user': [9, 9], 'item': ['a', 'c'], 'rating': [1.0, 0.0]})
    found = fitted.adapt(support).predict(pd.DataFrame({'user': [9], 'item': ['b']}))
    # a and b are liked together by two, by two and three in all.
    assert found.iloc[0] == pytest.approx(2 / (np.sqrt(6) + 1), abs=1e-6)


def test_own_likes_are_left_out_of_what_a_stack_learns_from():
    """Without that, a training item liked by its user alone would be told by counts."""
    tables, warm, *_ = episodes(LogisticStack)
    stack = LogisticStack().fit(warm, tables.users, tables.items)
    given, asked = deal(stack.known_, 5, seed=0)
    user = int(asked.task[0])
    without = warm[warm['user'] != warm['user'].unique()[user]]
    other = ItemKNN(shrink=10.0).fit(without, tables.users, tables.items)
    mine = [part.take(part.task == user) for part in (given, asked)]
    mine = [p._replace(task=np.zeros(len(p.task), int), shape=(1, 60)) for p in mine]
    expected = other.sums(*mine)
    assert np.allclose(stack.knn_.sums(*mine, own=True), expected)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', IMPLICIT)
@pytest.mark.parametrize('scenario', ['warm', 'item_cold', 'user_cold', 'both_cold'])
def test_rankings_of_positives_repeat_and_beat_chance(kind, scenario, tables):
    where = {EASE: ['warm'], PopularItems: ['warm', 'user_cold']}
    where[AttributeKNN] = ['item_cold', 'user_cold', 'both_cold']
    if scenario not in where.get(kind, [scenario]):
        pytest.skip('it is not for these pairs')
    liked = dataclasses.replace(tables, ratings=tables.ratings.query('rating >= 3.5'))
    parts = split(liked, scenario)
    among = parts.test['item'].unique() if 'item' in COLD_SIDES[scenario] else None
    first, again = (
        fit(kind, liked, parts.fit).evaluate(parts.test, k=5, among=among)
        for _ in range(2)
    )
    assert first == again
    fake = fit(PopularItems, liked, parts.fit)
    fake.item_ = np.zeros_like(fake.item_)  # all tied: the mean over all orders
    chance = fake.evaluate(parts.test, k=5, among=among)
    assert first['ndcg@5'] > 1.05 * chance['ndcg@5']


def test_rankings_by_hand():
    pairs = [(1, 'a'), (1, 'b'), (2, 'a'), (3, 'c')]
    ratings = pd.DataFrame(pairs, columns=['user', 'item'])
    users = pd.DataFrame({'user': [1, 2, 3, 4], 'age': ['x', 'x', 'y', 'x']})
    items = pd.DataFrame({'item': [*'abcd'], 'genre': ['u', 'u', 'v', 'v']})
    held = pd.DataFrame({'user': [2, 4], 'item': ['b', 'a']})
    popular = PopularItems().fit(ratings, users, items)
    # User 2 has a; b and c tie behind it, and half of the orders have b first.
    found = popular.evaluate(held, k=1)
    assert found['precision@1'] == pytest.approx((0.5 + 1) / 2)
    close = AttributeKNN(num_neighbors=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('benchmarks.baselines.rating.MIN_COUNT', 1)
        close.fit(ratings, users, items)
    # User 4 is as users 1 and 2: a from both, b from one. Film d is as film c.
    assert close.scores_[3] == pytest.approx([1, 0.5, 0, 0])
    assert close.scores_[2] == pytest.approx([0, 0, 1, 1])


def test_als_solves_the_equations_of_each_user():
    x = sp.csr_matrix(np.random.default_rng(0).random((6, 5)) < 0.5).astype(float)
    other = np.random.default_rng(1).standard_normal((5, 3))
    found = ALSRidge(ridge=2.0, weight=4.0)._solve(x, other)
    for row, mine in zip(x.toarray(), found, strict=True):
        weight = np.diag(1 + 4.0 * row)
        system = other.T @ weight @ other + 2.0 * np.eye(3)
        assert mine == pytest.approx(np.linalg.solve(system, other.T @ weight @ row))
