import dataclasses
import math
import weakref

import numpy as np
import pytest
import torch

from benchmarks.episode_metrics import score_episodes
from benchmarks.episode_peers import PEERS, grid, run_episode_peers
from benchmarks.episode_peers.arrays import dealt, query, support
from benchmarks.episode_peers.knn import ItemKNN
from benchmarks.episode_peers.popularity import Popularity, Random
from benchmarks.episode_peers.ratings import ItemMean, SupportMean
from benchmarks.episode_peers.residual_knn import ResidualKNN
from benchmarks.episode_peers.residual_svd import ResidualSVD
from benchmarks.episode_peers.stack import LogisticStack
from benchmarks.episode_peers.svd import SVDFoldIn
from benchmarks.episode_peers.trees import BoostedTrees
from tanp import split_episodes
from tanp.statistics import InteractionStatistics


def tasks(episodes):
    """Each task as (support items, support labels, query items, query labels)."""
    for t in range(len(episodes)):
        start, end = episodes.ptr[t].item(), episodes.ptr[t + 1].item()
        cut = start + episodes.num_support[t].item()
        ask = start + episodes.query_start[t].item()
        item, label = episodes.item.tolist(), episodes.label.tolist()
        yield item[start:cut], label[start:cut], item[ask:end], label[ask:end]


def histories(warm):
    return [dict(zip(item, label, strict=True)) for _, _, item, label in tasks(warm)]


def loop_popularity(warm, episodes, unseen=0):
    users = histories(warm)
    for _, _, asked, _ in tasks(episodes):
        for j in asked:
            yield sum(user.get(j, 0) for user in users) or unseen


def test_popularity_against_a_loop(tastes):
    split, tables = tastes
    for unseen in (0, 2.5):
        peer = Popularity(unseen).fit(split.warm, len(tables.items))
        expected = list(loop_popularity(split.warm, split.test, unseen))
        np.testing.assert_allclose(peer.predict(split.test), expected)


def loop_knn(warm, episodes, shrink):
    likes = [{i for i, y in user.items() if y} for user in histories(warm)]
    for given, labels, asked, _ in tasks(episodes):
        for j in asked:
            score = 0.0
            for i, y in zip(given, labels, strict=True):
                both = sum(i in user and j in user for user in likes)
                n = sum(i in user for user in likes), sum(j in user for user in likes)
                score += y * both / max(math.sqrt(n[0] * n[1]) + shrink, 1e-9)
            yield score


@pytest.mark.parametrize('shrink', [0, 10])
def test_knn_against_a_loop(tastes, shrink):
    split, tables = tastes
    peer = ItemKNN(shrink).fit(split.warm, len(tables.items))
    expected = list(loop_knn(split.warm, split.test, shrink))
    np.testing.assert_allclose(peer.score(split.test), expected, atol=1e-12)
    popular = Popularity().fit(split.warm, len(tables.items)).predict(split.test)
    np.testing.assert_allclose(
        peer.predict(split.test) - peer.score(split.test), 1e-9 * popular, atol=1e-12
    )


def test_knn_leaves_a_warm_user_out_of_all_counts(tastes):
    split, tables = tastes
    peer = ItemKNN(10).fit(split.warm, len(tables.items))
    drawn = dealt(split.warm, 5, seed=0)
    own = peer.score(drawn, own=True)
    task = query(drawn).task
    for t in (0, 7):
        others = torch.arange(len(split.warm)) != t
        without = ItemKNN(10).fit(split.warm.select(others), len(tables.items))
        mine = drawn.select(torch.tensor([t]))
        np.testing.assert_allclose(own[task == t], without.score(mine), atol=1e-12)
    # With the own likes among the counts, the labels shine through.
    label = query(drawn).label
    leaking = peer.score(drawn)
    assert np.corrcoef(leaking, label)[0, 1] > np.corrcoef(own, label)[0, 1]


def test_svd_against_dense_linear_algebra(tastes):
    split, tables = tastes
    count = len(tables.items)
    peer = SVDFoldIn(rank=3, damping=10).fit(split.warm, count)
    likes = np.zeros((len(split.warm), count))
    for row, user in enumerate(histories(split.warm)):
        for item, label in user.items():
            likes[row, item] = label
    scale = 1 / np.sqrt(likes.sum(0) + 10)
    leading = np.linalg.svd(likes * scale)[2][:3]
    expected = []
    for given, labels, asked, _ in tasks(split.test):
        row = np.zeros(count)
        row[given] = labels
        expected.extend((((row * scale) @ leading.T) @ leading)[asked])
    np.testing.assert_allclose(peer.predict(split.test), expected, atol=1e-4)


def test_stack_knows_likes_and_learns_from_other_users_only(tastes):
    split, tables = tastes
    peer = LogisticStack().fit(split.warm, len(tables.items))
    predicted = peer.predict(split.test)
    assert ((predicted > 0) & (predicted < 1)).all()
    assert list(peer.models) == [5]
    peer.predict(split.test.with_support_size(2))
    assert list(peer.models) == [5, 2]
    label = query(split.test).label
    assert predicted[label == 1].mean() > predicted[label == 0].mean() + 0.2


def test_trees_are_told_nothing_of_a_warm_user_by_the_user(tastes):
    split, tables = tastes
    peer = BoostedTrees(leaves=4, trees=5, draws=1).fit(split.warm, len(tables.items))
    drawn = dealt(split.warm, 5, seed=0)
    told = peer.predict(drawn)
    # Counts with one user's labels flipped: the others' are all that is used.
    first = drawn.select(torch.tensor([0]))
    label = split.warm.label.clone()
    label[: int(split.warm.ptr[1])] = 1 - label[: int(split.warm.ptr[1])]
    changed = dataclasses.replace(split.warm, label=label)
    refitted = InteractionStatistics.fit(changed, len(tables.items), peer.stranger + 1)
    refitted.vector.copy_(peer.statistics.vector)
    peer.statistics = refitted
    asked = query(drawn).task == 0
    np.testing.assert_array_equal(peer.predict(first), told[asked])


def loop_biases(warm, item_damping, user_damping, sweeps):
    users = histories(warm)
    ratings = [r for user in users for r in user.values()]
    mean = sum(ratings) / len(ratings)
    bias = {}

    def level(history):
        rest = sum(r - mean - bias.get(i, 0) for i, r in history.items())
        return rest / (len(history) + user_damping)

    for _ in range(sweeps):
        levels = [level(user) for user in users]
        raters = {}
        for user, own in zip(users, levels, strict=True):
            for i, r in user.items():
                raters.setdefault(i, []).append(r - mean - own)
        bias = {i: sum(r) / (len(r) + item_damping) for i, r in raters.items()}
    return mean, bias, level


def test_item_mean_and_support_mean_against_a_loop(stars):
    split, tables = stars
    mean, bias, level = loop_biases(split.warm, 4, 2, sweeps=5)
    expected = [
        mean + bias.get(j, 0) + level(dict(zip(given, labels, strict=True)))
        for given, labels, asked, _ in tasks(split.test)
        for j in asked
    ]
    peer = SupportMean(4, 2).fit(split.warm, len(tables.items))
    np.testing.assert_allclose(peer.predict(split.test), expected, atol=1e-10)
    # One sweep and no user level: the items' own means.
    mean, bias, _ = loop_biases(split.warm, 4, 1e12, sweeps=1)
    peer = ItemMean(4).fit(split.warm, len(tables.items))
    expected = [
        mean + bias.get(j, 0) for *_, asked, _ in tasks(split.test) for j in asked
    ]
    np.testing.assert_allclose(peer.predict(split.test), expected, atol=1e-8)


def test_residual_knn_against_a_loop(stars):
    split, tables = stars
    peer = ResidualKNN(shrink=3, damping=0.5).fit(split.warm, len(tables.items))
    mean, bias, level = loop_biases(split.warm, 5, 5, sweeps=5)
    rest = [
        {i: r - mean - bias.get(i, 0) - level(user) for i, r in user.items()}
        for user in histories(split.warm)
    ]
    expected = []
    for given, labels, asked, _ in tasks(split.test):
        own = level(dict(zip(given, labels, strict=True)))
        for j in asked:
            total = size = 0.0
            for i, r in zip(given, labels, strict=True):
                both = [u for u in rest if i in u and j in u]
                norm = math.sqrt(
                    sum(u.get(i, 0) ** 2 for u in rest)
                    * sum(u.get(j, 0) ** 2 for u in rest)
                )
                cosine = sum(u[i] * u[j] for u in both) / max(norm, 1e-9)
                weight = cosine * len(both) / (len(both) + 3)
                total += weight * (r - mean - bias.get(i, 0) - own)
                size += abs(weight)
            expected.append(mean + bias.get(j, 0) + own + total / (size + 0.5))
    np.testing.assert_allclose(peer.predict(split.test), expected, atol=1e-8)


def test_residual_svd_solves_the_ridge_problem(stars):
    split, tables = stars
    peer = ResidualSVD(rank=2, penalty=3).fit(split.warm, len(tables.items))
    assert np.square(peer.items).mean() == pytest.approx(1)
    predicted = peer.predict(split.test) - peer.base.predict(split.test)
    given = support(split.test)
    rest = peer.base.residual(given, len(split.test))
    for t in range(3):
        items = peer.items[given.item[given.task == t]]
        # Ridge regression as least squares with extra rows.
        rows = np.vstack([items, math.sqrt(3) * np.eye(2)])
        truth = np.r_[rest[given.task == t], 0, 0]
        taste = np.linalg.lstsq(rows, truth, rcond=None)[0]
        asked = query(split.test)
        expected = peer.items[asked.item[asked.task == t]] @ taste
        np.testing.assert_allclose(predicted[asked.task == t], expected, atol=1e-8)


@pytest.mark.parametrize('likelihood', PEERS)
def test_peers_never_read_query_labels(tastes, stars, likelihood):
    split, tables = tastes if likelihood == 'bernoulli' else stars
    low, high = split.test.label.aminmax()
    label, index = split.test.label.clone(), split.test.query_index()
    label[index] = low + high - label[index]
    other = dataclasses.replace(split.test, label=label)
    for name, kind in PEERS[likelihood].items():
        peer = kind().fit(split.warm, len(tables.items))
        np.testing.assert_array_equal(
            peer.predict(split.test), peer.predict(other), err_msg=name
        )


@pytest.mark.parametrize('likelihood', PEERS)
def test_peers_choose_on_validation_and_never_look_at_test(tastes, stars, likelihood):
    split, tables = tastes if likelihood == 'bernoulli' else stars
    relevant = 0.5 if likelihood == 'bernoulli' else 3.5
    first = run_episode_peers(split, len(tables.items), likelihood, relevant)
    assert set(first) == set(PEERS[likelihood])
    half = split.test.select(torch.arange(len(split.test) // 2))
    shortened = dataclasses.replace(split, test=half)
    second = run_episode_peers(shortened, len(tables.items), likelihood, relevant)
    for name, report in first.items():
        assert report['settings'] in grid(PEERS[likelihood][name])
        assert report['settings'] == second[name]['settings']
        assert report['metrics']['val'] == second[name]['metrics']['val']
        assert report['metrics']['test'] != second[name]['metrics']['test']
        assert list(report['support_sizes']) == ['1', '2', '5']
        assert report['support_sizes']['5'] == report['metrics']['test']


def test_peers_that_are_not_chosen_are_let_go(tastes, monkeypatch):
    split, tables = tastes
    fitted, alive = weakref.WeakSet(), []

    class Counted(ItemKNN):
        def fit(self, *args):
            alive.append(len(fitted))
            fitted.add(self)
            return super().fit(*args)

    monkeypatch.setitem(PEERS, 'bernoulli', {'counted': Counted})
    run_episode_peers(split, len(tables.items), 'bernoulli', 0.5)
    # The best so far, and at first the one before.
    assert len(alive) == len(grid(Counted)) > 3
    assert max(alive) <= 2


def test_peers_that_use_the_support_find_planted_tastes(tastes):
    split, tables = tastes
    peers = run_episode_peers(split, len(tables.items), 'bernoulli', 0.5)
    ndcg = {name: peer['metrics']['test']['ndcg@10'] for name, peer in peers.items()}
    for name in ('item_knn', 'svd', 'logistic_stack', 'boosted_trees'):
        assert ndcg[name] > max(ndcg['popularity'], ndcg['random']) + 0.2


def test_random_repeats_under_its_seed(tastes):
    split, _ = tastes
    one, same, other = (
        Random().fit(split.warm, 1, seed).predict(split.test) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.fixture(scope='module')
def lastfm_2020(lastfm):
    users, items = lastfm.users['user'], lastfm.items['item']
    return split_episodes(lastfm.ratings, users, items, seed=2020), lastfm


@pytest.mark.realdata
@pytest.mark.slow
def test_trees_reach_the_figures_known_of_them(lastfm_2020):
    split, tables = lastfm_2020
    peer = BoostedTrees().fit(split.warm, len(tables.items))
    score = score_episodes(split.test, peer.predict(split.test), 0.5, 'bernoulli')
    # A mean of .942 over six splits was measured elsewhere; this is a hard one.
    assert score['ndcg@10'] > 0.925
    assert score['mse'] < 0.131


@pytest.mark.realdata
def test_lastfm_peers_reach_the_figures_known_of_them(lastfm_2020, monkeypatch):
    split, lastfm = lastfm_2020
    monkeypatch.delitem(PEERS['bernoulli'], 'boosted_trees')  # which take long
    peers = run_episode_peers(split, len(lastfm.items), 'bernoulli', 0.5)
    # Popularity of the same split, measured elsewhere: .7455; equal counts are
    # in another order there. Untuned item-kNN and the stack: .902 and .924.
    popular = Popularity().fit(split.warm, len(lastfm.items))
    plain = score_episodes(split.test, popular.predict(split.test), 0.5, None)
    assert plain['tie_precision@5'] == pytest.approx(0.7455, abs=0.01)
    assert plain['ndcg@5'] == pytest.approx(0.7633, abs=0.01)
    ndcg = {name: peer['metrics']['test']['ndcg@10'] for name, peer in peers.items()}
    assert ndcg['popularity'] > plain['ndcg@10']
    assert ndcg['item_knn'] > 0.902
    assert ndcg['logistic_stack'] > 0.924
    assert ndcg['svd'] > 0.88


@pytest.mark.realdata
def test_ml100k_peers_reach_the_figures_known_of_them(ml100k):
    split = split_episodes(
        ml100k.ratings, ml100k.users['user'], ml100k.items['item'], seed=2020
    )
    names = ('item_mean', 'support_mean', 'residual_knn')
    peers = run_episode_peers(split, len(ml100k.items), 'gaussian', 3.5, names)
    score = {name: peer['metrics']['test'] for name, peer in peers.items()}
    assert score['item_mean']['mse'] == pytest.approx(1.020, abs=0.001)
    assert score['support_mean']['mse'] < 0.960
    assert score['residual_knn']['mse'] < 0.929
    assert score['residual_knn']['ndcg@10'] > 0.747
