import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from benchmarks.peers import PEERS, QUICK, run_peers
from benchmarks.peers.biases import DampedBiases, GlobalMean
from benchmarks.peers.boosting import BoostedTrees
from benchmarks.peers.design import row_products
from benchmarks.peers.ridge import Ridge
from data.splits import split
from data.synthetic import planted_tables
from data.tables import RatingTables

TRAIN = pd.DataFrame(
    {
        'user': [1, 1, 2, 2, 3],
        'item': [7, 8, 7, 9, 7],
        'rating': [5.0, 3.0, 4.0, 2.0, 1.0],
    }
)


def loop_biases(train, user_damping, item_damping):
    mean = sum(train.rating) / len(train)
    item_bias, user_bias = {}, {}
    for item in set(train.item):
        rest = [
            r - mean for i, r in zip(train.item, train.rating, strict=True) if i == item
        ]
        item_bias[item] = sum(rest) / (len(rest) + item_damping)
    for user in set(train.user):
        rest = [
            r - mean - item_bias[i]
            for u, i, r in zip(train.user, train.item, train.rating, strict=True)
            if u == user
        ]
        user_bias[user] = sum(rest) / (len(rest) + user_damping)
    return mean, user_bias, item_bias


def test_damped_biases_against_a_loop():
    mean, user_bias, item_bias = loop_biases(TRAIN, 2.0, 5.0)
    pairs = pd.DataFrame({'user': [1, 2, 3, 99, 1], 'item': [7, 8, 9, 7, 99]})
    expected = [
        mean + user_bias.get(u, 0) + item_bias.get(i, 0)
        for u, i in zip(pairs.user, pairs.item, strict=True)
    ]
    peer = DampedBiases(user_damping=2.0, item_damping=5.0).fit(TRAIN, None)
    np.testing.assert_allclose(peer.predict(pairs), expected, atol=1e-12)


def test_global_mean():
    peer = GlobalMean().fit(TRAIN, None)
    np.testing.assert_allclose(peer.predict(TRAIN), 3.0)


def test_peers_choose_on_validation_and_never_look_at_test():
    tables = planted_tables()
    parts = split(tables, 'item_cold', seed=0)
    first = run_peers(tables, parts, refit=True)
    assert set(first) == set(QUICK)
    # Other test ratings change test scores, and nothing else.
    flipped = parts.test.assign(rating=6 - parts.test['rating'])
    object.__setattr__(parts, 'test', flipped)
    second = run_peers(tables, parts, refit=True)
    for name in QUICK:
        assert first[name]['settings'] == second[name]['settings']
        assert first[name]['metrics']['val'] == second[name]['metrics']['val']
        assert first[name]['metrics']['test'] != second[name]['metrics']['test']


TINY = RatingTables(
    pd.DataFrame({'user': [1, 2, 3], 'gender': ['F', 'M', 'F']}),
    pd.DataFrame(
        {
            'item': [7, 8, 9],
            'genre': [['war'], ['war', 'sea'], ['sea']],
            'year': [1980.0, 1991.0, 1999.0],
        }
    ),
    TRAIN,
)


def loop_features(user, item, ids, slopes):
    """One row of a ridge's design by name; attributes are scaled by a half."""
    row = TINY.items.set_index('item').loc[item]
    # Values that fewer than five share are rare: one token a column.
    features = {'gender': 0.5, 'genre': 0.5}
    knots = np.quantile(TINY.items.year, np.linspace(0, 1, 16))
    left = max(k for k in range(15) if knots[k] <= row.year)
    share = (row.year - knots[left]) / (knots[left + 1] - knots[left])
    features |= {('year', left): 0.5 * (1 - share), ('year', left + 1): 0.5 * share}
    if ids:
        features |= {('user', user): 1, ('item', item): 1}
    if slopes:
        own = (row.year - TINY.items.year.mean()) / 10
        features[user, 'genre'] = slopes
        features[user, 'decade', row.year // 10] = slopes
        features[user, 'year'] = slopes * own
    return features


@pytest.mark.parametrize('slopes', [0, 0.3])
@pytest.mark.parametrize('ids', [False, True])
def test_ridge_against_a_dense_solution(ids, slopes):
    pairs = pd.DataFrame({'user': [1, 2, 3], 'item': [9, 8, 8]})
    rows = [
        loop_features(u, i, ids, slopes)
        for frame in (TRAIN, pairs)
        for u, i in zip(frame.user, frame.item, strict=True)
    ]
    names = sorted({name for row in rows for name in row}, key=str)
    design = np.array([[row.get(name, 0) for name in names] for row in rows])
    train, asked = design[: len(TRAIN)], design[len(TRAIN) :]
    # The mean is not shrunk: centre both sides, then solve.
    centre, mean = train.mean(0), TRAIN.rating.mean()
    x, y = train - centre, TRAIN.rating - mean
    weight = np.linalg.solve(x.T @ x + 2.0 * np.eye(len(names)), x.T @ y)
    peer = Ridge(alpha=2.0, user_ids=ids, item_ids=ids, slopes=slopes)
    got = peer.fit(TRAIN, TINY).predict(pairs)
    np.testing.assert_allclose(got, mean + (asked - centre) @ weight, atol=1e-3)


def test_row_products_are_kronecker_products():
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 3, size).astype(float) for size in ((6, 4), (6, 5)))
    left[2] = right[3] = 0
    got = row_products(sp.csr_matrix(left), sp.csr_matrix(right)).toarray()
    expected = [np.kron(a, b) for a, b in zip(left, right, strict=True)]
    np.testing.assert_array_equal(got, expected)


def test_trees_are_told_means_without_the_own_rating(monkeypatch):
    lightgbm = pytest.importorskip('lightgbm')
    told = {}

    def spy(features, label, build=lightgbm.Dataset):
        told['features'] = features
        return build(features, label)

    monkeypatch.setattr(lightgbm, 'Dataset', spy)
    tables = planted_tables()
    train = tables.ratings
    BoostedTrees(rounds=1).fit(train, tables)
    mean = train.rating.mean()
    for row in (0, 7, 100):
        own = train.iloc[row]
        # The last two columns: shrunk mean and count of the item.
        others = train[(train['item'] == own['item']) & (train['user'] != own['user'])]
        expected = (others.rating - mean).sum() / (len(others) + 5), len(others)
        np.testing.assert_allclose(told['features'][row, -2:], expected)


LIBRARIES = {
    'ridge': 'sklearn',
    'slope_ridge': 'sklearn',
    'lightgbm': 'lightgbm',
    'cmfrec': 'cmfrec',
    'svdpp': 'surprise',
    'myfm': 'myfm',
    'myfm_implicit': 'myfm',
}


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('name', LIBRARIES)
@pytest.mark.parametrize('mode', ['warm', 'user_cold', 'item_cold', 'both_cold'])
def test_peers_beat_the_mean_where_attributes_tell(name, mode):
    pytest.importorskip(LIBRARIES[name], exc_type=ImportError)
    tables = planted_tables(120, 120)
    parts = split(tables, mode, seed=0)
    # Tables this small bear little shrinkage.
    settings = {'penalty': 1.0} if name == 'cmfrec' else {}
    peer = PEERS[name](**settings).fit(parts.fit, tables)
    predicted = peer.predict(parts.test)
    assert np.isfinite(predicted).all()
    error = ((predicted - parts.test.rating) ** 2).mean()
    spread = ((parts.fit.rating.mean() - parts.test.rating) ** 2).mean()
    # SVD++ reads no attributes: with both ends cold it is the mean.
    limit = 1.01 if (name, mode) == ('svdpp', 'both_cold') else 0.95
    assert error < limit * spread


def test_a_peer_without_its_library_is_not_run(monkeypatch, capsys):
    tables = planted_tables()
    parts = split(tables, 'warm', seed=0)
    monkeypatch.setitem(sys.modules, 'lightgbm', None)
    result = run_peers(tables, parts, True, ('global_mean', 'lightgbm'))
    assert 'lightgbm' in result['lightgbm']['not_run']
    assert 'metrics' in result['global_mean']
    assert 'lightgbm is not run' in capsys.readouterr().err


def test_unknown_peers_are_refused():
    tables = planted_tables()
    with pytest.raises(ValueError, match=r"'peers' must be of .*'magic'"):
        run_peers(tables, split(tables, 'warm'), True, ('magic',))


@pytest.mark.realdata
def test_peers_on_ml100k_are_as_strong_as_published_figures(ml100k):
    # Damped biases of the same split, tuned elsewhere, reached 1.0550.
    parts = split(ml100k, 'item_cold', seed=0)
    peers = run_peers(ml100k, parts, refit=True)
    assert peers['global_mean']['metrics']['test']['rmse'] == pytest.approx(
        1.1168, abs=1e-4
    )
    assert 1.03 < peers['damped_biases']['metrics']['test']['rmse'] < 1.0551
