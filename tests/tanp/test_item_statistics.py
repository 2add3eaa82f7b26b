"""Item statistics against loops over users, and the leave-one-user-out rule."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from tanp import Episodes, ItemStatistics
from tanp.item_statistics import BINS, COSINE_SCALE, MEAN_DAMPING, _found, _item_vectors

USERS, ITEMS, DAMPING = 24, 15, 3.0
EVERY = torch.arange(ITEMS)[None]


def interactions(labels=2):
    """Users 0 to 19 of 24, with 4 to 13 interactions each."""
    generator = torch.Generator().manual_seed(0)
    size = torch.arange(20) % 10 + 4
    item = torch.cat([torch.randperm(ITEMS, generator=generator)[:n] for n in size])
    label = torch.randint(labels, (len(item),), generator=generator).float()
    zero = torch.zeros(20, dtype=torch.long)
    return Episodes(torch.arange(20), size, item, label, zero)


def fit(episodes, **options):
    options = {'rank': 4, 'folds': 5, 'damping': DAMPING} | options
    return ItemStatistics.fit(episodes, ITEMS, USERS, **options)


def flipped(episodes, users):
    """The same interactions, where the given users think the opposite."""
    row = torch.repeat_interleave(episodes.user, episodes.size)
    turn = torch.isin(row, torch.as_tensor(users))
    label = torch.where(turn, 1 - episodes.label, episodes.label)
    return dataclasses.replace(episodes, label=label)


EPISODES = interactions()


def features(statistics, user):
    return statistics.features(torch.tensor([user]), EVERY)


def exact(statistics, user):
    """What a user is shown of all items, except item vectors."""
    items = features(statistics, user)
    kernel = statistics.kernels(items, items)
    return [items.popularity, items.mean, kernel[:, :, :-1]]


def same(one, other):
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize('labels', [2, 5])
@pytest.mark.parametrize('me', [5, 22])
def test_features_and_kernels_against_a_loop(labels, me):
    episodes = interactions(labels)
    threshold = (labels - 1) / 2
    statistics = fit(episodes, threshold=threshold)
    row = torch.repeat_interleave(episodes.user, episodes.size).tolist()
    rating = zip(row, episodes.item.tolist(), episodes.label.tolist(), strict=True)
    rating = {(u, i): r for u, i, r in rating}
    others = {(u, i): r for (u, i), r in rating.items() if u != me}
    overall = sum(others.values()) / len(others)
    like, dislike = ([set() for _ in range(ITEMS)] for _ in range(2))
    centered = [{} for _ in range(ITEMS)]
    for (u, i), r in others.items():
        (like if r > threshold else dislike)[i].add(u)
        own = [s for (v, _), s in rating.items() if v == u]
        centered[i][u] = r - sum(own) / len(own)

    def dot(i, j):
        return sum(r * centered[j].get(u, 0.0) for u, r in centered[i].items())

    def cosine(total, n, m):
        return COSINE_SCALE * total / math.sqrt((n + DAMPING) * (m + DAMPING))

    items = features(statistics, me)
    kernel = statistics.kernels(items, items)[0]
    for i in range(ITEMS):
        p, n = len(like[i]), len(dislike[i])
        rated = [r - overall for (_, j), r in others.items() if j == i]
        deviation = sum(rated) / (len(rated) + MEAN_DAMPING)
        bins = [float(b == sum(p > edge for edge in BINS)) for b in range(8)]
        expected = [*bins, math.log1p(p), math.log1p(n), deviation]
        assert items.popularity[0, i].tolist() == pytest.approx(expected, abs=1e-5)
        assert float(items.mean[0, i]) == pytest.approx(overall + deviation, abs=1e-5)
        for j in range(ITEMS):
            both, apart = len(like[i] & like[j]), len(like[i] & dislike[j])
            expected = [
                math.log1p(both),
                cosine(apart, p, len(dislike[j])),
                cosine(both, p, len(like[j])),
                cosine(dot(i, j), dot(i, i), dot(j, j)),
                float((items.vector[0, i] * items.vector[0, j]).mean()),
            ]
            assert kernel[j, :, i].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_last_kernels_are_positive_semi_definite():
    statistics = fit(EPISODES)
    for user in (5, 22):
        items = features(statistics, user)
        kernel = statistics.kernels(items, items)[0].transpose(0, 1)
        kernel = kernel[-statistics.num_psd :]
        assert torch.linalg.eigvalsh(kernel.double()).min() > -1e-5


def test_a_planted_leak_is_noticed():
    """Without the own interactions, which are looked up by their keys."""
    left_out = exact(fit(EPISODES.select(EPISODES.user != 7)), 7)
    assert same(exact(fit(EPISODES), 7), left_out)
    leaking = dataclasses.replace(fit(EPISODES), key=torch.tensor([-1]))
    assert not same(exact(leaking, 7), left_out)


def likeness(statistics, user):
    vector = features(statistics, user).vector[0]
    product = vector @ vector.t()
    # Vectors are rotated onto common axes, and scaled by one number.
    return product / product.norm()


def test_item_vectors_come_from_other_folds():
    statistics = fit(EPISODES)
    fold = statistics.fold[7]
    mates = (statistics.fold == fold).nonzero().flatten()
    other = fit(flipped(EPISODES, mates.tolist()))
    assert torch.equal(statistics.fold, other.fold)
    assert torch.allclose(likeness(statistics, 7), likeness(other, 7), atol=1e-5)
    stranger = int((statistics.fold != fold).nonzero()[0])
    pair = likeness(statistics, stranger), likeness(other, stranger)
    assert not torch.allclose(*pair, atol=1e-2)
    # The test notices folds that are not left out.
    leaking = [dataclasses.replace(s, fold=s.fold * 0 + 5) for s in (statistics, other)]
    assert not torch.allclose(*(likeness(s, 7) for s in leaking), atol=1e-2)


def test_folds_are_even_and_share_their_axes():
    statistics = fit(EPISODES, damping=1.0)
    assert statistics.fold[:20].bincount().tolist() == [4] * 5
    assert statistics.fold[20:].tolist() == [5] * 5
    whole = statistics.vector[-1].flatten()
    for vector in statistics.vector[:-1]:
        assert torch.cosine_similarity(vector.flatten(), whole, dim=0) > 0.5


def test_a_seed_gives_one_fit_and_resampling_that_of_another():
    one, two, other = fit(EPISODES), fit(EPISODES), fit(EPISODES, seed=1)
    resampled = one.resample(1)
    assert resampled.pair_total is one.pair_total
    assert not torch.equal(one.fold, other.fold)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
        found = resampled.state_dict()[name]
        assert torch.equal(found, other.state_dict()[name]), name


def test_unseen_items_have_means_of_those_most_like_them(monkeypatch):
    monkeypatch.setattr('tanp.item_statistics.NEIGHBORS', 2)
    monkeypatch.setattr('tanp.item_statistics.MAX_ENTRIES', 1)
    statistics, generator = fit(EPISODES), np.random.default_rng(0)
    attributes = generator.integers(0, 3, (ITEMS + 3, 4)).astype(float)
    attributes[-1] = 0  # nothing in common with any
    made = statistics.with_unseen(sp.csr_matrix(attributes))
    assert made.num_items == ITEMS + 3
    for new in range(ITEMS, ITEMS + 3):
        lengths = np.linalg.norm(attributes, axis=1) * np.linalg.norm(attributes[new])
        cosine = (attributes @ attributes[new] / np.where(lengths, lengths, 1))[:ITEMS]
        near = np.argsort(-cosine, kind='stable')[:2]
        near, cosine = (near, cosine) if cosine.any() else ([0, ITEMS - 1], cosine + 1)
        weight = torch.tensor(cosine[near] / cosine[near].sum()).float()
        expected = weight @ statistics.item_total[near]
        assert torch.allclose(made.item_total[new], expected, atol=1e-5)
        expected = torch.einsum('k,fkr->fr', weight, statistics.vector[:, near])
        assert torch.allclose(made.vector[:, new], expected, atol=1e-5)
        for one in range(ITEMS):
            keys = torch.tensor([one]), torch.tensor(near)
            pairs = _found(statistics.pair_key, statistics.pair_total, *keys)
            found = made._pair_totals(torch.tensor([[one]]), torch.tensor([[new]]))
            assert torch.allclose(found[0, 0, 0], weight @ pairs, atol=1e-5)
    for user in range(USERS):  # those of other items stay
        for old, same in zip(exact(statistics, user), exact(made, user), strict=True):
            assert torch.equal(old, same)
    again = made.with_unseen(sp.csr_matrix(attributes))
    assert torch.equal(again.stand_in, made.stand_in)
    assert torch.equal(made.pair_key, statistics.pair_key)  # however many are unseen
    assert torch.equal(again.item_total, made.item_total)


def test_repeated_interactions_are_refused():
    """Only one of two would be left out for their own user."""
    item = EPISODES.item.clone()
    first = int(EPISODES.ptr[7])
    item[first + 3] = item[first]
    with pytest.raises(ValueError, match=f'user 7 and item {int(item[first])}'):
        fit(dataclasses.replace(EPISODES, item=item))
    with pytest.raises(ValueError, match=r'three users.*\(got 2 users and 15 items\)'):
        fit(EPISODES.select(torch.arange(2)))


@pytest.mark.parametrize('shape', [(20, 10), (10, 20), (60, 50)])
def test_item_vectors_repeat_where_singular_values_are_equal(shape):
    """Groups of users who like the same items each: one value for every group."""
    likes = sp.csr_matrix(np.kron(np.eye(12), np.ones(shape)))
    once, again = (_item_vectors(likes, 16, 10.0) for _ in range(2))
    assert torch.equal(once, again)
    gram = likes.T @ likes / (shape[0] + 10)
    np.testing.assert_allclose(once @ once.T, gram.toarray(), atol=1e-5)


def test_item_vectors_where_few_users_like_an_item_alone():
    likes = np.zeros((52, 16))
    likes[:50, :14] = np.random.default_rng(0).random((50, 14)) < 0.3
    likes[50:, 14:] = np.eye(2)
    once, again = (_item_vectors(sp.csr_matrix(likes), 15, 5.0) for _ in range(2))
    assert torch.equal(once, again)
    _, value, right = np.linalg.svd(likes / np.sqrt(likes.sum(axis=0) + 5))
    best = right[:15].T * value[:15] ** 2 @ right[:15]
    np.testing.assert_allclose(once @ once.T, best, atol=1e-6)
