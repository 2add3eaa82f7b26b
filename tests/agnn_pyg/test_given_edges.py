"""Graphs of users and of items that are given, rather than found by attributes."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from agnn_pyg.__main__ import main
from agnn_pyg.recommender import AGNNRecommender
from tests.agnn_pyg.conftest import rmse
from tests.agnn_pyg.test_command import printed, shell

pytestmark = pytest.mark.filterwarnings("ignore:There are no 'user_edges'")
SETTINGS = {'epochs': 2, 'steps': 3, 'channels': 8, 'min_count': 2, 'cv_folds': 2}
NEW = np.arange(100, 120)


@pytest.fixture(scope='module')
def communities():
    """Ratings that depend on the community of a user alone, and edges within these."""
    rng = np.random.default_rng(0)
    community, taste = rng.integers(4, size=120), rng.normal(size=(4, 40))
    user, item = (rng.random((120, 40)) < 0.4).nonzero()
    rating = 3 + taste[community[user], item] + 0.3 * rng.normal(size=len(user))
    one, other = np.triu_indices(120, 1)
    near = community[one] == community[other]
    kept = rng.random(len(one)) < np.where(near, 0.25, 0.01)
    edges = pd.DataFrame({'one': one[kept], 'other': other[kept]})
    ratings = pd.DataFrame({'user': user, 'item': item, 'rating': rating.clip(1, 5)})
    return ratings, edges


@pytest.fixture(scope='module')
def parts(communities):
    """Known ratings, those of later users, and the edges between known users."""
    ratings, edges = communities
    is_new = ratings['user'].isin(NEW)
    return ratings[~is_new], ratings[is_new], edges[~edges.isin(NEW).any(axis=1)]


@pytest.fixture(scope='module')
def fitted(parts):
    known, _, edges = parts
    return AGNNRecommender(**SETTINGS).fit(known, user_edges=edges)


def test_cold_users_are_predicted_by_their_edges(fitted, communities, parts):
    known, later, _ = parts
    without = fitted.predict(later, pd.DataFrame({'user': NEW}))
    found = fitted.predict(later, user_edges=communities[1])
    assert rmse(found, later) < 0.5 * rmse(without, later)
    # Users without ratings that are in the fit, too.
    inside = AGNNRecommender(**SETTINGS).fit(known, user_edges=communities[1])
    assert rmse(inside.predict(later), later) < 0.5 * rmse(without, later)


def test_edges_between_new_users_count_and_those_between_known_ones_do_not(
    fitted, communities, parts
):
    _, later, inside = parts
    edges = communities[1]
    pairs = later[later['user'] == 100]
    alone = edges[(edges == 100).any(axis=1) & ~edges.isin(NEW[1:]).any(axis=1)]
    expected = fitted.predict(pairs, user_edges=alone)
    more = pd.concat([alone, inside, edges[edges.isin(NEW[5:]).all(axis=1)]])
    assert np.allclose(fitted.predict(pairs, user_edges=more), expected, atol=1e-5)
    # A friend of user 100 alone is near the same people.
    friend = pd.concat([alone, pd.DataFrame({'one': [900], 'other': [100]})])
    found = fitted.predict(pairs.assign(user=900), user_edges=friend)
    without = fitted.predict(pairs.assign(user=900), pd.DataFrame({'user': [900]}))
    assert rmse(found, pairs) < 0.7 * rmse(without, pairs)


def test_an_update_takes_edges_of_new_users_who_are_known_then(communities, parts):
    known, later, inside = parts
    edges, first = communities[1], NEW[:10]
    model = AGNNRecommender(**SETTINGS).fit(known, user_edges=inside)
    before = edges[~edges.isin(NEW[10:]).any(axis=1)]
    mine = later[later['user'].isin(first)]
    expected = model.predict(mine, user_edges=before)
    # A user without ratings in the update stays cold.
    further = later[later['user'] == first[0]]
    model.update(further, user_edges=before)
    cold = mine['user'] != first[0]
    found = model.predict(mine[cold])
    assert rmse(found, mine[cold]) == pytest.approx(
        rmse(expected[cold], mine[cold]), rel=0.1
    )
    # Later users find them among their friends.
    only = edges[edges.isin(NEW[10:]).any(axis=1) & edges.isin(first).any(axis=1)]
    pairs = later[later['user'].isin(only.to_numpy().ravel()) & (later['user'] >= 110)]
    without = model.predict(pairs, pd.DataFrame({'user': NEW[10:]}))
    assert rmse(model.predict(pairs, user_edges=only), pairs) < rmse(without, pairs)


def test_the_network_reads_edges_beside_and_in_place_of_attribute_edges(
    communities, parts
):
    known, later, inside = parts
    later, found = later[:20], []
    for count in (0, 10):
        model = AGNNRecommender(**SETTINGS, num_neighbors=count, kernel_weight=0)
        model.fit(known[:600], user_edges=inside)
        new = model.predict(later, user_edges=communities[1])
        found += [new, model.predict(later, pd.DataFrame({'user': NEW}))]
    assert min((a - b).abs().max() for a, b in pairwise(found)) > 1e-6


def test_what_serves_edges_agrees_and_survives_a_file(
    fitted, communities, parts, tmp_path
):
    edges, later = communities[1], parts[1]
    fitted.save(tmp_path / 'model')
    model = AGNNRecommender.load(tmp_path / 'model')
    found = model.predict(later, user_edges=edges)
    assert found.equals(fitted.predict(later, user_edges=edges))
    assert model.evaluate(later, user_edges=edges)['rmse'] == rmse(found, later)
    assert model.score(later, user_edges=edges) == -rmse(found, later)
    best = model.recommend([*NEW, 0], 3, user_edges=edges)
    assert best['user'].tolist() == [*NEW.repeat(3), 0, 0, 0]
    again = model.predict(best, user_edges=edges)
    assert np.allclose(again, best['rating'], atol=1e-5)
    user, item = later.iloc[0][['user', 'item']].astype(int)
    why = model.explain(user, item, user_edges=edges)
    assert why.score == pytest.approx(found.iloc[0], abs=1e-4)
    assert any('users linked to this one' in name for name in why.terms)


def test_positives_of_cold_users_are_ranked_by_their_edges(communities):
    ratings, edges = communities
    clicks = ratings[ratings['rating'] > 3.5]
    is_new = clicks['user'].isin(NEW)
    known, later = clicks[~is_new], clicks[is_new]
    settings = {**SETTINGS, 'rating': None, 'kernel_weight': 0.9}
    model = AGNNRecommender(**settings).fit(known, user_edges=edges)
    found = model.evaluate(later)['ndcg@20']
    model = AGNNRecommender(**settings).fit(known)
    assert found > 1.3 * model.evaluate(later, pd.DataFrame({'user': NEW}))['ndcg@20']


def test_edges_that_are_refused(parts):
    users, model = pd.DataFrame({'user': range(120)}), AGNNRecommender(**SETTINGS)
    for edges, named in (
        ({'a': [0, 1]}, 'user_edges'),
        ({'a': [], 'b': []}, "'user_edges' has no rows"),
        ({'a': [0, 1], 'b': [2, 1]}, r"'b' in row 1 \(1\)"),
        ({'a': [0, 1], 'b': [2, None]}, "'b' in row 1"),
        ({'a': ['x', 'y'], 'b': ['y', 'z']}, "'a' in row 0"),
        ({'a': [0, 1], 'b': [2, 3], 'weight': [1, -1]}, r"'weight' in row 1 \(-1\)"),
        ({'a': [0, 1], 'b': [2, 3], 'weight': [1, np.nan]}, "'weight' in row 1"),
        ({'a': [0, 1], 'b': [2, 777]}, r"'users'.*'b' in row 1 \(777\)"),
    ):
        with pytest.raises(ValueError, match=named):
            model.fit(parts[0], users, user_edges=pd.DataFrame(edges))
    for matrix in (sp.eye(120), pd.DataFrame(np.eye(120))):
        with pytest.raises(ValueError, match=r"'user_edges'.* one row per edge"):
            model.fit(parts[0], users, user_edges=matrix)
    edges = pd.DataFrame({'date': [2001, 2002], 'a': [0, 1], 'b': [2, 3]})
    with pytest.warns(UserWarning, match=r"'user_edges' has no id .*'date' in row 0"):
        model.fit(parts[0], user_edges=edges)


def test_edges_need_those_of_the_fit(fitted, parts):
    edges = pd.DataFrame({'a': [1], 'b': [900]})
    new = pd.DataFrame({'user': NEW})
    with pytest.warns(UserWarning, match="no 'user_edges' of new users"):
        fitted.predict(parts[1], new)
    fitted.predict(parts[1], new, user_edges=edges.head(0))
    with pytest.raises(ValueError, match='item_edges'):
        fitted.predict(parts[1], user_edges=edges, item_edges=edges)
    with pytest.warns(UserWarning, match=r"'user_edges'.*'users'.*row 0 \(1, 900\)"):
        made = fitted.predict(parts[1], new, user_edges=edges)
    assert made.equals(fitted.predict(parts[1], new, user_edges=edges.head(0)))
    with pytest.raises(ValueError, match=r"'user_edges'.*'b' in row 0 \('900'\)"):
        fitted.predict(parts[1], user_edges=edges.astype({'b': str}))


def test_edges_in_the_shell(communities, parts, here, capsys):
    known, later, inside = parts
    for name, frame in (('known', known), ('later', later), ('inside', inside)):
        frame.to_csv(f'{name}.csv', index=False)
    edges = communities[1].assign(weight=1.5)
    edges[['weight', *communities[1]]].to_csv('edges.csv', index=False)
    settings = ' '.join(f'--set {name}={value}' for name, value in SETTINGS.items())
    fit = 'fit known.csv --user-edges inside.csv --model model --quiet'
    shell(main, f'{fit} {settings}')
    serve = '--user-edges edges.csv --model model'
    model, texts = AGNNRecommender.load('model'), {'one': str, 'other': str}
    pairs = pd.read_csv('later.csv', dtype={'user': str, 'item': str})
    edges = pd.read_csv('edges.csv', dtype=texts)
    made = {'predict': model.predict(pairs, user_edges=edges).tolist()}
    made['evaluate'] = [*model.evaluate(pairs, user_edges=edges).values()]
    for command, expected in made.items():
        shell(main, f'{command} later.csv {serve}')
        found = printed(capsys).iloc[:, -1]
        assert found.tolist()[-len(expected) :] == expected
    shell(main, f'explain 100 3 {serve}')
    why = model.explain('100', '3', user_edges=edges)
    assert capsys.readouterr().out == f'{why}\n'
    pd.DataFrame({'user': ['100']}).to_csv('new.csv', index=False)
    # Edges name more users than the table of new ones.
    shell(main, f'recommend --users new.csv {serve}')
    assert 'edges are ignored' in capsys.readouterr().err
