"""Positives without ratings, and how fitted recommenders are evaluated."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from agnn_pyg.base.frames import read_pairs
from agnn_pyg.folds import SCENARIOS
from agnn_pyg.recommender import AGNNRecommender
from data.synthetic import planted_tastes
from tests.agnn_pyg.base.test_metrics import loop_metrics

QUICK = {'rating': None, 'cv_folds': 2, 'num_factors': 4, 'min_count': 1}
QUICK['kernel_weight'] = 1.0
SMALL = {'channels': 8, 'spectral_channels': 4, 'epochs': 6, 'progress': False}


@pytest.fixture(scope='module')
def clicks():
    """Positives of users whose occupation tells the genre; the last ones come later."""
    rng = np.random.default_rng(0)
    users = pd.DataFrame({'user': range(100, 160), 'job': np.arange(60) % 4})
    items = pd.DataFrame({'item': range(200), 'genre': np.arange(200) % 4})
    users['job'] = users['job'].map('job {}'.format)
    items['genre'] = items['genre'].map('g{}'.format)
    like = (np.arange(60) % 4)[:, None] == np.arange(200) % 4
    user, item = (rng.random(like.shape) < np.where(like, 0.5, 0.02)).nonzero()
    return pd.DataFrame({'user': user + 100, 'item': item}), users, items


@pytest.fixture(scope='module')
def parts(clicks):
    """Rows of warm pairs to fit on, and those of later users and of later items."""
    pairs = clicks[0]
    new = pairs['user'] >= 145, pairs['item'] >= 160
    return pairs[~new[0] & ~new[1]], pairs[new[0] & ~new[1]], pairs[new[1] & ~new[0]]


@pytest.fixture(scope='module')
def known(clicks, parts):
    """What a fit reads: those pairs, and the users and items that are not later."""
    _, users, items = clicks
    return parts[0], users[users['user'] < 145], items[items['item'] < 160]


@pytest.fixture(scope='module')
def fitted(known):
    return AGNNRecommender(**QUICK).fit(*known)


def test_later_users_and_items_are_ranked_by_attributes(fitted, clicks, parts):
    _, users, items = clicks
    kept, by_user, by_item = parts
    popular = kept['item'].value_counts().index[:20]
    count = by_user.groupby('user')['item'].count()
    hits = by_user['item'].isin(popular).groupby(by_user['user']).sum()
    found = fitted.evaluate(by_user, users)
    assert found['recall@20'] > 2 * (hits / count).mean()
    found = fitted.evaluate(by_item, None, items, k=10, among=range(160, 200))
    assert found['ndcg@10'] > 0.5
    stars = by_user.assign(stars=1 + np.arange(len(by_user)) % 5)
    with pytest.warns(UserWarning, match="'ratings' has a column 'stars'"):
        fitted.evaluate(stars, users)
    with pytest.warns(UserWarning, match="no relevant item .* 'among'"):
        found = fitted.evaluate(by_item, None, items, among=range(160))
    with pytest.raises(ValueError, match="'among' has no"):
        fitted.evaluate(by_item, None, items, among=[])
    assert np.isnan(found['ndcg@20'])


def test_scores_rank_explain_and_survive_a_file(fitted, clicks, parts, tmp_path):
    _, users, items = clicks
    ids, new = [100, 150], users[users['user'].isin([100, 150])]
    top = fitted.recommend(new, k=5, items=items)
    assert list(top.columns) == ['user', 'item', 'score', 'rank']
    assert top['user'].tolist() == np.repeat(ids, 5).tolist()
    score = fitted.predict(top, users, items)
    assert score.name == 'score'
    assert np.allclose(score, top['score'])
    seen = set(zip(parts[0]['user'], parts[0]['item'], strict=True))
    assert not seen & set(zip(top['user'], top['item'], strict=True))
    every = pd.DataFrame({'user': 150, 'item': items['item']})
    best = fitted.predict(every, users, items).nlargest(5).to_numpy()
    assert np.allclose(best, top['score'][5:])
    pairs = (100, 3), (150, 3), (100, 190), (150, 190)
    for (user, item), name in zip(pairs, SCENARIOS, strict=True):
        why = fitted.explain(user, item, users, items)
        pair = pd.DataFrame({'user': [user], 'item': [item]})
        score = fitted.predict(pair, users, items).item()
        assert why.rating is None
        assert why.score == pytest.approx(score, abs=1e-5)
        parts = (
            why.ratings['contribution'].sum(),
            fitted.scorer_.scales_[name]['kernel'][1],
        )
        assert sum(parts) == pytest.approx(score, abs=1e-4)
        assert why.ratings['contribution'].ne(0).all()
        assert f'{score:.4f}'[:5] in str(why)
    fitted.save(tmp_path / 'model')
    again = AGNNRecommender.load(tmp_path / 'model')
    assert again.predict(top, users, items).equals(fitted.predict(top, users, items))


@pytest.fixture(scope='module')
def blended(known):
    return AGNNRecommender(**QUICK | SMALL | {'kernel_weight': None}).fit(*known)


def test_the_network_learns_to_rank_old_and_later_nodes(blended, clicks, known, parts):
    _, users, items = clicks
    network = clone(blended).set_params(kernel_weight=0.0).fit(*known)
    for model in (network, blended):
        found = model.evaluate(parts[1], users)
        assert found['recall@20'] > 0.3
        found = model.evaluate(parts[2], None, items, k=10, among=range(160, 200))
        assert found['ndcg@10'] > 0.4
        top = model.recommend(users['user'][:45].tolist(), k=5)
        own = top.merge(users).merge(items)
        assert (own['job'].str[-1] == own['genre'].str[-1]).mean() > 0.6
    assert network.score(parts[1], users=users) > 0.3


def test_a_blend_mixes_scaled_scores_by_scenario(blended, clicks, parts, tmp_path):
    _, users, items = clicks
    pairs = pd.DataFrame({'user': [100, 100, 150, 150], 'item': [3, 190, 3, 190]})
    blend = blended.scorer_
    scores = {}
    for weight in (0.0, 0.5, 1.0, None):
        blended.set_params(kernel_weight=weight)
        scores[weight] = blended.predict(pairs, users, items).to_numpy()
    assert np.allclose(scores[0.5], (scores[0.0] + scores[1.0]) / 2)
    names = ('warm', 'item_cold', 'user_cold', 'both_cold')
    weight = np.array([blend.weights_[name] for name in names])
    mixed = weight * scores[1.0] + (1 - weight) * scores[0.0]
    assert np.allclose(scores[None], mixed)
    served = blended._fitted_.serve(blended.config, users, items)
    rows = read_pairs(pairs, 'pairs', blended.config, served.ids)
    raw = served.scorer.network.score(*torch.from_numpy(rows)).numpy()
    scale, shift = np.array([blend.scales_[name]['network'] for name in names]).T
    assert np.allclose(scores[0.0], scale * raw + shift)
    assert not np.allclose(scores[0.0], scores[1.0])
    for (user, item), score in zip(pairs.to_numpy(), scores[None], strict=True):
        why = blended.explain(user, item, users, items)
        assert why.score == pytest.approx(score, abs=1e-5)
    blended.save(tmp_path / 'model')
    again = AGNNRecommender.load(tmp_path / 'model')
    assert np.array_equal(again.predict(pairs, users, items), scores[None])
    assert again.recommend([100], k=5).equals(blended.recommend([100], k=5))


def test_what_has_no_effect_on_positives_is_refused(known):
    for setting in (
        *({'scenarios': ['warm']}, {'components': ['user']}, {'kernel_steps': 0}),
        *({'num_latent': 0}, {'hold_out': False}, {'patience': 2}),
        {'start_at_mean': False},
        {'share_user_sum_layer': True},  # without other layers for neighbors
    ):
        with pytest.raises(ValueError, match=f"'{next(iter(setting))}'"):
            AGNNRecommender(**QUICK | setting).fit(*known)
    with pytest.raises(ValueError, match="'validation'"):
        AGNNRecommender(**QUICK).fit(*known, validation=known[0])
    with pytest.raises(ValueError, match="'num_negatives'"):
        AGNNRecommender(num_negatives=5).fit(*known)
    published = AGNNRecommender.as_published(rating=None, epochs=1).fit(*known)
    assert published.recommend([100], k=3)['score'].notna().all()


def test_items_of_which_nothing_is_known_rank_below_others(clicks, parts):
    users, items = clicks[1][['user']], clicks[2][['item']]
    settings = QUICK | {'kernel_weight': None, 'channels': 16, 'epochs': 4}
    model = AGNNRecommender(**settings).fit(parts[0], users, items)
    known = users['user'] < 145
    for weight in (None, 0.0, 0.5):
        model.set_params(kernel_weight=weight)
        top = model.recommend(users[known], k=5)
        assert (top['item'] < 160).mean() > 0.99


def purchases(num_items, count):
    """Rates of 200 users by popularity and taste, draws of them, and both tables."""
    rng = np.random.default_rng(0)
    job, genre = np.arange(200) % 3, np.arange(num_items) % 4
    rate = rng.dirichlet(np.full(num_items, 0.7)) * np.exp(job[:, None] == genre)
    rate /= rate.sum(axis=1, keepdims=True)
    clicks = pd.DataFrame({'user': np.repeat(np.arange(200), count)})
    clicks['item'] = np.concatenate([rng.choice(num_items, count, p=p) for p in rate])
    users = pd.DataFrame({'user': range(200), 'job': job.astype(str)})
    items = pd.DataFrame({'item': range(num_items), 'genre': genre.astype(str)})
    return rate, clicks, users, items


def test_lists_mix_old_and_new_items_by_how_often_they_are_positive():
    rate, clicks, *nodes = purchases(120, 10)
    model = AGNNRecommender(**QUICK | SMALL | {'kernel_weight': None})
    model.fit(clicks[clicks['item'] < 90].drop_duplicates(), *nodes)
    for weight in (0.0, None, 1.0):
        model.set_params(kernel_weight=weight)
        old, every = (model.recommend(range(200), 10, range(n)) for n in (90, 120))
        worth = [rate[top['user'], top['item']].mean() for top in (old, every)]
        assert worth[1] > 0.97 * worth[0]


def test_a_known_user_of_one_positive_is_served_no_worse_than_a_stranger():
    rate, clicks, users, items = purchases(60, 6)
    clicks = pd.concat([clicks[clicks['user'] < 120], clicks[::6][120:]])
    model = AGNNRecommender(**QUICK).fit(clicks.drop_duplicates(), users, items)
    known = model.recommend(range(120, 200), 5, exclude_seen=False)
    new = model.recommend(users[120:].assign(user=range(1120, 1200)), 5)
    worth = [rate[top['user'] % 1000, top['item']].mean() for top in (known, new)]
    assert worth[0] > 0.95 * worth[1]


def test_first_positives_of_a_later_user_change_the_ranking(blended, clicks, parts):
    users = pd.DataFrame({'user': [900, 901], 'job': ['job 0', 'job 0']})
    first = pd.DataFrame({'user': 901, 'item': [1, 5, 9, 13, 17]})  # of genre 1
    top = blended.recommend(users, k=20, ratings=first)
    assert not set(first['item']) & set(top.loc[top['user'] == 901, 'item'])
    pairs = users[['user']].merge(clicks[2][['item']][:160], how='cross')
    for weight in (None, 0.0, 1.0):  # by the blend, and by each of its models
        model = blended.set_params(kernel_weight=weight)
        pairs['score'] = model.predict(pairs, users, ratings=first)
        gain = pairs.pivot(index='item', columns='user', values='score')
        gain = (gain[901] - gain[900]).drop(first['item'])
        by_genre = gain.groupby(gain.index % 4).mean()
        assert by_genre.idxmax() == 1
        parts = model.explain(901, 21, users=users, ratings=first)
        score = pairs.set_index(['user', 'item'])['score'][901, 21]
        assert parts.score == pytest.approx(score)
    blended.set_params(kernel_weight=None)


def test_first_positives_count_as_much_as_on_folds():
    tables = planted_tastes(200)
    items, rated = tables.items, tables.ratings.query('rating > 0')[['user', 'item']]
    later, cold, new = rated['user'] % 4 == 0, rated['item'] % 5 == 0, items['item'] % 5
    first, new = rated[later & ~cold].groupby('user').head(2), items[new == 0]
    fit = AGNNRecommender(**QUICK).fit
    model = fit(rated[~later & ~cold], items=items.drop(new.index))
    kernel = model.scorer_.scorers['kernel']
    for name, rest, options in (
        ('user_cold', rated[later & ~cold].drop(first.index), {}),
        ('both_cold', rated[later & cold], {'items': new, 'among': new['item']}),
    ):
        ndcg = []
        for weight in (kernel.chosen_[name].added, 0.25):
            kernel.chosen_[name] = kernel.chosen_[name]._replace(added=weight)
            ndcg += [model.evaluate(rest, support=first, **options)['ndcg@20']]
        assert ndcg[0] > ndcg[1] + 0.05


def test_repeated_pairs_are_counts_and_weights_have_no_unit(clicks, parts):
    pairs, *nodes = parts[0], *clicks[1:]
    with pytest.warns(UserWarning, match='summed') as caught:
        one = AGNNRecommender(**QUICK).fit(pd.concat([pairs, pairs[::3]]), *nodes)
    assert sum('summed' in str(w.message) for w in caught) == 1
    counted = pairs.assign(n=7.0 * (1 + (np.arange(len(pairs)) % 3 == 0)))
    other = AGNNRecommender(**QUICK, weight='n').fit(counted, *nodes)
    plain = AGNNRecommender(**QUICK).fit(pairs, *nodes)
    found = [model.predict(pairs).to_numpy() for model in (one, other, plain)]
    assert np.allclose(found[0], found[1])
    assert not np.allclose(found[0], found[2], atol=1e-3)
    more = counted.head(2).assign(n=[140.0, 141.0])
    known = pytest.warns(UserWarning, match='has only pairs that the model knows')
    with known, pytest.warns(UserWarning, match=rf'at most 14, .* {more.index[1]} \('):
        other.update(more)


@pytest.mark.filterwarnings('ignore:.*summed')
@pytest.mark.parametrize('case', ['one item', 'everybody', 'one pair', 'no tables'])
def test_few_or_trivial_positives(case, clicks, parts):
    pairs, users, items = clicks
    everybody = users[['user']].assign(item=5)
    pairs = {
        'one item': everybody,
        'everybody': pd.concat([pairs, everybody]),
        'one pair': pairs.head(1),
        'no tables': pairs,
    }[case]
    nodes = () if case == 'no tables' else (users, items)
    model = AGNNRecommender(**QUICK).fit(pairs, *nodes)
    top = model.recommend(users['user'].head(3).tolist(), k=4)
    assert len(top) == 12
    assert top['score'].notna().all()
    if case == 'everybody':
        assert 5 not in set(top['item'])


@pytest.mark.filterwarnings("ignore:'ratings' (repeats pairs|has a rating outside)")
@pytest.mark.parametrize('is_rated', [False, True])
def test_metrics_equal_those_of_plain_loops(
    is_rated, recommender, planted, fitted, parts
):
    if is_rated:
        # With a lower end of the range, many predicted ratings would be tied.
        model, fit = copy.copy(recommender), recommender._fitted_
        model._fitted_ = replace(fit, scale=replace(fit.scale, low=1.0, high=4.0))
        kept, held = planted.ratings, planted.later
        nodes = planted.new_users, planted.new_items
        held = held.groupby('user').head(6)
        relevant = held[held['rating'] >= 3.25]
        users = pd.concat([planted.users, planted.new_users])
        items = pd.concat([planted.items, planted.new_items])
    else:
        model, kept, held, nodes = fitted, parts[0], parts[0].iloc[::7], ()
        held = held.assign(item=(held['item'] + 1) % 160)
        relevant = held.drop_duplicates()
        users = pd.DataFrame({'user': range(100, 145)})
        items = pd.DataFrame({'item': range(160)})
    found = model.evaluate(held, *nodes, k=5)
    # Of all pairs, and not clipped.
    top = model.recommend(users, len(items), items, exclude_seen=False)
    scores, items = top.set_index(['user', 'item'])['score'], items['item'].to_numpy()
    seen, lists, values = kept.groupby('user')['item'].agg(set), [], []
    count = kept['item'].value_counts()
    for user, mine in relevant.groupby('user')['item'].agg(set).items():
        score = scores.loc[user]
        left = [i for i in items if i not in seen.get(user, ())]
        order = sorted(left, key=lambda i: -score[i])[:5]
        mine = mine & {*left}
        if not mine:
            continue
        lists.append(order)
        labels = {i: float(i in mine) for i in left}
        values.append(loop_metrics(order, labels, 5, 0.5))
    means = pd.DataFrame(values).mean()
    names = {'map': 'ap', 'mrr': 'rr'} | {n: n for n in ('recall', 'precision', 'ndcg')}
    for ours, theirs in names.items():
        assert found[f'{ours}@5'] == pytest.approx(means[theirs]), ours
    lists = np.concatenate(lists)
    assert found['coverage@5'] == pytest.approx(len({*lists}) / len(items))
    share = (count.reindex(lists).fillna(0) + 1) / (kept['user'].nunique() + 1)
    assert found['novelty@5'] == pytest.approx(-np.log2(share).mean())
    if is_rated:
        error = model.predict(held, *nodes) - held['rating']
        assert found['rmse'] == pytest.approx(np.sqrt((error**2).mean()))
        assert found['mae'] == pytest.approx(error.abs().mean())
        assert model.score(held, users=nodes[0], items=nodes[1]) == -found['rmse']
    else:
        assert model.score(relevant) == model.evaluate(relevant)['ndcg@20']


def test_similar_nodes_have_close_embeddings(fitted, recommender):
    for model in (fitted, recommender):
        table = model.embeddings('item')
        unit = table.to_numpy(float)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        item = table.index[3]
        score = pd.Series(unit @ unit[3], table.index).drop(item).nlargest(4)
        found = model.similar_items(item, k=4)
        assert list(found.columns) == ['item', 'score', 'rank']
        assert np.allclose(found['score'], score)
        user = model.embeddings('user').index[0]
        assert user not in set(model.similar_users(user, k=3)['user'])
    genre = fitted.similar_items(8, k=10)['item'] % 4
    assert (genre == 0).mean() > 0.9


def test_searches_of_scikit_learn(clicks):
    pairs, users, items = clicks
    nodes = {'users': users, 'items': items}
    model = AGNNRecommender(**QUICK)
    assert clone(model).get_params() == model.get_params()
    scores = cross_val_score(model, pairs, cv=2, params=nodes, error_score='raise')
    first = clone(model).fit(pairs.iloc[len(pairs) // 2 :], **nodes)
    score = first.score(pairs.iloc[: len(pairs) // 2])
    assert scores[0] == pytest.approx(score, abs=0.02)
    search = GridSearchCV(model, {'num_factors': [2, 8]}, cv=2, error_score='raise')
    search.fit(pairs, **nodes)
    assert search.best_estimator_.recommend([100], k=2)['item'].notna().all()
