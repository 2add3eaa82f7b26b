import copy
import dataclasses
import math

import pytest
import torch

from tanp.episodes import Episodes, offsets
from tanp.evidence import BINS
from tanp.loader import EpisodeBatch
from tanp.statistics import InteractionStatistics

USERS, ITEMS = 24, 15


def interactions(seed=0):
    """Users 0 to 19 of 24, with 4 to 13 interactions each."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.arange(20) % 10 + 4
    item = torch.cat([torch.randperm(ITEMS, generator=generator)[:n] for n in size])
    label = torch.randint(2, (len(item),), generator=generator).float()
    zero = torch.zeros(20, dtype=torch.long)
    return Episodes(torch.arange(20), offsets(size), item, label, zero, zero)


def fit(episodes, **options):
    options = {'rank': 4, 'folds': 5} | options
    return InteractionStatistics.fit(episodes, ITEMS, USERS, **options)


def without(episodes, user):
    return episodes.select(episodes.user != user)


def flipped(episodes, users):
    """The same interactions, where the given users think the opposite."""
    row = torch.repeat_interleave(episodes.user, episodes.size)
    turn = torch.isin(row, torch.as_tensor(users))
    label = torch.where(turn, 1 - episodes.label, episodes.label)
    return Episodes(**{**vars(episodes), 'label': label})


EPISODES = interactions()
EVERY = torch.arange(ITEMS)[None]


def batch_of(user):
    """All items as support, and as query."""
    mask = torch.ones(1, ITEMS, dtype=torch.bool)
    label = torch.arange(ITEMS)[None] % 2 / 1.0
    query = torch.full((1, ITEMS), torch.nan)
    return EpisodeBatch(torch.tensor([user]), EVERY, label, mask, EVERY, query, mask)


def exact(statistics, user):
    """All that one user is told of all items, the vectors apart."""
    _, counts, base, kernel, among = statistics(batch_of(user), centred=True)
    # The last kernel is made of vectors.
    return [counts, base, kernel[..., :4], among[..., :2]]


def same(one, other):
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


def likes_of(episodes):
    row = torch.repeat_interleave(episodes.user, episodes.size).tolist()
    pairs = zip(row, episodes.item.tolist(), episodes.label.tolist(), strict=True)
    like, dislike = set(), set()
    for user, item, label in pairs:
        (like if label else dislike).add((user, item))
    return like, dislike


def test_counts_and_kernels_against_a_loop():
    statistics = fit(EPISODES, damping=3.0)
    like, dislike = likes_of(EPISODES)
    me = 5
    evidence = statistics(batch_of(me))
    counts, kernel = evidence.counts[ITEMS:], evidence.kernel[0]
    vector = evidence.vector[ITEMS:]
    others = [u for u in range(20) if u != me]
    liked = [sum((u, i) in like for u in others) for i in range(ITEMS)]
    loathed = [sum((u, i) in dislike for u in others) for i in range(ITEMS)]
    for i in range(ITEMS):
        bins = [int(liked[i] > edge) for edge in BINS]
        assert counts[i, : len(BINS) + 1].argmax() == sum(bins)
        assert counts[i, -3].item() == pytest.approx(math.log1p(liked[i]))
        assert counts[i, -2].item() == pytest.approx(math.log1p(loathed[i]))
        for j in range(ITEMS):
            both = sum((u, i) in like and (u, j) in like for u in others)
            apart = sum((u, i) in like and (u, j) in dislike for u in others)
            expected = [
                5 * both / math.sqrt((liked[i] + 3) * (liked[j] + 3)),
                math.log1p(both),
                5 * apart / math.sqrt((liked[i] + 3) * (loathed[j] + 3)),
            ]
            assert kernel[i, j, :3].tolist() == pytest.approx(expected, abs=1e-5)
            product = (vector[i] * vector[j]).mean().item()
            assert kernel[i, j, 4].item() == pytest.approx(product, abs=1e-5)


def crowd(num_users):
    """All users but the last like item 0, all like item 1 and none item 2."""
    item = torch.tensor([0, 1, 2]).repeat(num_users)
    label = torch.tensor([1.0, 1.0, 0.0]).repeat(num_users)
    label[-3] = 0
    size = torch.full((num_users,), 3)
    zero = torch.zeros_like(size)
    user = torch.arange(num_users)
    return Episodes(user, offsets(size), item, label, zero, zero)


@pytest.mark.parametrize('num_users', [33_000, 66_000])
def test_pairs_that_a_crowd_has_met_are_counted(num_users):
    statistics = InteractionStatistics.fit(
        crowd(num_users), 3, num_users, rank=1, folds=2, damping=2.0
    )
    item = torch.arange(3)[None]
    mask = torch.ones(1, 3, dtype=torch.bool)
    label = torch.zeros(1, 3)
    # One who likes item 0, the one who does not, and a stranger.
    told = {0: (-2, -1), num_users - 1: (-1, -1), num_users: (-1, 0)}
    for user, (one, other) in told.items():
        batch = EpisodeBatch(torch.tensor([user]), item, label, mask, item, label, mask)
        kernel = statistics(batch).kernel[0]
        zero, first = num_users + one, num_users + other
        scale = 5 / math.sqrt((first + 2) * (zero + 2))
        expected = [zero * scale, math.log1p(zero)]
        assert kernel[0, 1, :2].tolist() == pytest.approx(expected, rel=1e-6)
        assert kernel[1, 0, :2].tolist() == pytest.approx(expected, rel=1e-6)
        # Of item 1, all who dislike item 2 like it.
        expected = first * 5 / (first + 2)
        assert kernel[1, 2, 2].item() == pytest.approx(expected, rel=1e-6)
        assert kernel.isfinite().all()
    assert statistics.catalogue().kernel.isfinite().all()


@pytest.mark.parametrize('user', [0, 7, 19])
def test_nothing_comes_from_the_own_user(user):
    statistics = fit(EPISODES)
    assert same(exact(statistics, user), exact(fit(without(EPISODES, user)), user))
    assert same(exact(statistics, user), exact(fit(flipped(EPISODES, [user])), user))
    # What the user adds is there for all others.
    other = fit(flipped(EPISODES, [user]))
    assert not same(exact(statistics, (user + 1) % 20), exact(other, (user + 1) % 20))


def test_repeated_interactions_are_refused():
    """Else only one of two would be left out for the own user."""
    item = EPISODES.item.clone()
    first = int(EPISODES.ptr[7])
    item[first + 3] = item[first]
    message = (
        rf'user 7 and item {int(item[first])} .* in interaction {first + 3}, one of 1'
    )
    with pytest.raises(
        ValueError, match=rf"'episodes' hold {message}.*drop_duplicates"
    ):
        fit(dataclasses.replace(EPISODES, item=item))


def test_a_planted_leak_is_noticed(monkeypatch):
    monkeypatch.setattr(
        InteractionStatistics,
        'own',
        lambda self, user, item: (item < 0, torch.zeros_like(item)),
    )
    statistics = fit(EPISODES)
    assert not same(exact(statistics, 7), exact(fit(without(EPISODES, 7)), 7))


def likeness(statistics, user):
    vector = statistics(batch_of(user)).vector[ITEMS:]
    return vector @ vector.t()


def test_vectors_come_from_other_folds():
    statistics = fit(EPISODES)
    fold = statistics.fold[7]
    mates = (statistics.fold == fold).nonzero().flatten()
    other = fit(flipped(EPISODES, mates.tolist()))
    assert torch.equal(statistics.fold, other.fold)
    # Vectors are rotated onto common axes, and scaled by one number.
    one, two = likeness(statistics, 7), likeness(other, 7)
    assert torch.allclose(one / one.norm(), two / two.norm(), atol=1e-5)
    stranger = int((statistics.fold != fold).nonzero()[0])
    one, two = likeness(statistics, stranger), likeness(other, stranger)
    assert not torch.allclose(one / one.norm(), two / two.norm(), atol=1e-2)


def test_a_leak_in_the_folds_is_noticed():
    statistics = fit(EPISODES)
    mates = (statistics.fold == statistics.fold[7]).nonzero().flatten()
    other = fit(flipped(EPISODES, mates.tolist()))
    for planted in (statistics, other):
        planted.fold.fill_(5)
    one, two = likeness(statistics, 7), likeness(other, 7)
    assert not torch.allclose(one / one.norm(), two / two.norm(), atol=1e-2)


def test_folds_are_even_and_new_users_are_in_none():
    statistics = fit(EPISODES)
    assert statistics.fold[:20].bincount().tolist() == [4] * 5
    assert statistics.fold[20:].tolist() == [5] * 5
    new = exact(statistics, 22)
    assert torch.equal(new[0][:ITEMS, -3], statistics.tally.like.log1p())
    assert same(new, exact(statistics, 23))
    assert same(new, exact(statistics, USERS + 100))


def test_folds_share_their_axes():
    statistics = fit(interactions(3), damping=1.0)
    whole = statistics.vector[-1]
    for vector in statistics.vector[:-1]:
        cosine = torch.cosine_similarity(vector.flatten(), whole.flatten(), dim=0)
        assert cosine > 0.5


def test_the_same_seed_is_the_same_fit():
    one, two, other = fit(EPISODES), fit(EPISODES), fit(EPISODES, seed=1)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert not torch.equal(one.fold, other.fold)


def test_users_dealt_anew_are_as_in_a_fit_of_that_seed():
    one, expected = fit(EPISODES), fit(EPISODES, seed=1)
    dealt = one.dealt(1)
    assert dealt.tally is one.tally
    for name, value in dealt.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name


def test_counts_are_shared_by_those_who_have_the_same():
    one, same, other = fit(EPISODES), fit(EPISODES), fit(flipped(EPISODES, [7]))
    for statistics in (same, other):
        statistics.share(one)
    assert same.tally is one.tally
    assert other.tally is not one.tally


def test_on_a_device(device):
    here = fit(EPISODES)
    there = fit(EPISODES).to(device)
    for user in (3, 21):
        expected = here(batch_of(user), centred=True)
        found = there(batch_of(user).to(device), centred=True)
        for one, other in zip(found, expected, strict=True):
            assert one.device.type == device.type
            assert torch.allclose(one.cpu(), other, atol=1e-5)


def test_a_catalogue_is_what_a_stranger_is_told():
    statistics = fit(EPISODES)
    vector, counts, mean, ptr, other, likeness = statistics.catalogue()
    told = statistics(batch_of(USERS + 5), centred=True)
    assert torch.equal(vector, told.vector[:ITEMS])
    assert torch.equal(counts, told.counts[:ITEMS])
    assert torch.allclose(mean, told.base[:ITEMS] - told.base[0] + mean[0], atol=1e-6)
    # size = [ITEMS, ITEMS, 4], as the pairs that are not listed are zero
    dense = torch.zeros(ITEMS, ITEMS, 4)
    dense[torch.repeat_interleave(ptr.diff()), other] = likeness
    assert torch.allclose(dense.transpose(0, 1), told.kernel[0, ..., :4], atol=1e-6)


def test_a_copy_shares_what_is_counted_until_it_moves():
    statistics = fit(EPISODES)
    copied = copy.deepcopy(statistics)
    assert copied.tally.pair is statistics.tally.pair
    assert copied.vector is not statistics.vector
    copied.double()
    assert copied.tally.like.dtype == torch.double
    assert statistics.tally.like.dtype == torch.float
    assert len(list(statistics.buffers())) == len(statistics.state_dict())


def test_rows_beyond_the_tables_are_refused():
    episodes = Episodes(
        user=torch.arange(6),
        ptr=offsets(torch.full((6,), 2)),
        item=torch.tensor([0, 7] * 6),
        label=torch.ones(12),
        num_support=torch.ones(6, dtype=torch.long),
        query_start=torch.ones(6, dtype=torch.long),
    )
    for sizes, message in (
        ((7, 6), r"'num_items' must cover the item rows.*up to 7 \(got 7\)"),
        ((8, 5), r"'num_users' must cover the user rows.*up to 5 \(got 5\)"),
    ):
        with pytest.raises(ValueError, match=message):
            InteractionStatistics.fit(episodes, *sizes, rank=2, folds=2)
