import pytest
import torch

from tanp.episodes import Episodes, offsets
from tanp.loader import EpisodeLoader
from tests.tanp.test_episodes import histories


def unpadded(batch):
    """Each task of a batch as plain lists: user, support, query."""
    parts = []
    for side in ('support', 'query'):
        item, label, mask = (
            getattr(batch, f'{side}_{n}') for n in ('item', 'label', 'mask')
        )
        parts.append(
            [
                list(
                    zip(
                        item[b][mask[b]].tolist(),
                        label[b][mask[b]].tolist(),
                        strict=True,
                    )
                )
                for b in range(len(mask))
            ]
        )
    return list(zip(batch.user.tolist(), *parts, strict=True))


def all_tasks(loader):
    return [task for batch in loader for task in unpadded(batch)]


@pytest.mark.parametrize('batch_size', [1, 4, 6, 10])
def test_batches_hold_the_episodes_in_order(tasks, batch_size):
    loader = EpisodeLoader(tasks, batch_size)
    assert all_tasks(loader) == histories(tasks)
    assert len(list(loader)) == len(loader) == -(-6 // batch_size)


def test_padding_is_empty(tasks):
    (batch,) = EpisodeLoader(tasks, 6)
    for side in ('support', 'query'):
        hole = ~getattr(batch, f'{side}_mask')
        assert getattr(batch, f'{side}_item')[hole].eq(0).all()
        assert getattr(batch, f'{side}_label')[hole].eq(0).all()
    assert batch.query_mask.sum(1).tolist() == tasks.num_query.tolist()


def test_dealing_keeps_every_interaction(tasks):
    loader = EpisodeLoader(tasks, 4, context_sizes=(1, 5), shuffle=True)
    dealt = sorted(all_tasks(loader))
    for (user, support, query), (_, *parts) in zip(
        dealt, histories(tasks), strict=True
    ):
        assert sorted(support + query) == sorted(parts[0] + parts[1]), user
        assert 1 <= len(support) <= min(5, len(parts[0] + parts[1]) - 1)
        assert query


def test_context_sizes_cover_their_range(tasks):
    loader = EpisodeLoader(tasks, 6, context_sizes=(2, 4))
    sizes = {user: set() for user in range(6)}
    for epoch in range(60):
        loader.set_epoch(epoch)
        for user, support, _ in all_tasks(loader):
            sizes[user].add(len(support))
    # Task 1 has four interactions, one of which must be left over.
    assert sizes == {user: {2, 3} if user == 1 else {2, 3, 4} for user in range(6)}


def test_the_published_rule(tasks):
    loader = EpisodeLoader(tasks, 6, context_sizes=(3, None), query_sizes=(0, None))
    contexts, queries = set(), set()
    for epoch in range(80):
        loader.set_epoch(epoch)
        user, support, query = all_tasks(loader)[2]
        assert user == 2
        contexts.add(len(support))
        queries.add(len(query))
    assert contexts == set(range(3, 9))
    assert queries == set(range(7))


def test_a_query_of_limited_size(tasks):
    loader = EpisodeLoader(tasks, 6, context_sizes=(1, 2), query_sizes=(3, 3))
    for _, support, query in all_tasks(loader):
        assert len(query) == 3 or len(support) + len(query) == 4
        assert not {item for item, _ in support} & {item for item, _ in query}


def test_epochs_differ_and_repeat(tasks):
    def epoch(number, seed=0):
        loader = EpisodeLoader(tasks, 4, context_sizes=(1, 5), shuffle=True, seed=seed)
        loader.set_epoch(number)
        return all_tasks(loader)

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
    assert epoch(3) != epoch(3, seed=1)


def test_an_empty_support_is_asked_for(tasks):
    empty = tasks.with_support_size(0)
    with pytest.raises(
        ValueError, match=r'without support .first: user 0.*allow_empty'
    ):
        EpisodeLoader(empty)
    (batch,) = EpisodeLoader(empty, allow_empty=True)
    assert batch.support_item.size() == (6, 0)


def test_batches_on_a_device(tasks, device):
    for loader in (
        EpisodeLoader(tasks.to(device), 4),
        EpisodeLoader(tasks.to(device), 4, context_sizes=(1, 5), shuffle=True),
    ):
        assert all(t.device.type == device.type for b in loader for t in b)
        here = EpisodeLoader(
            tasks, 4, context_sizes=loader.context_sizes, shuffle=loader.shuffle
        )
        assert all_tasks(loader) == all_tasks(here)
    assert all(t.device.type == device.type for t in next(iter(here)).to(device))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'batch_size': 0}, "'batch_size' must be .*at least 1"),
        ({'context_sizes': (0, 3)}, "'context_sizes' must be .*at least 1"),
        ({'context_sizes': (4, 3)}, "'context_sizes' must be"),
        ({'context_sizes': 5}, "'context_sizes' must be .*got 5"),
        ({'context_sizes': (1, 2, 3)}, "'context_sizes' must be .*got .1, 2, 3"),
        ({'batch_size': 2.5}, "'batch_size' must be .*got 2.5"),
        ({'query_sizes': (0, None)}, "'query_sizes' needs 'context_sizes'"),
        ({'context_sizes': (1, 2), 'query_sizes': (-1, 2)}, "'query_sizes' must be"),
    ],
)
def test_bad_options(tasks, options, message):
    with pytest.raises(ValueError, match=message):
        EpisodeLoader(tasks, **options)


def test_tasks_that_cannot_be_dealt(tasks):
    with pytest.raises(ValueError, match=r"'episodes' must be Episodes.*got list"):
        EpisodeLoader([tasks])
    with pytest.raises(ValueError, match='holds no task'):
        EpisodeLoader(tasks.at_least(100))
    single = tasks.select(torch.tensor([1]))
    single.ptr[1] = 1
    with pytest.raises(ValueError, match=r'1 task.s. with fewer than two'):
        EpisodeLoader(single, context_sizes=(1, 3))


def test_processes_take_turns_on_batches():
    size = torch.full((23,), 6)
    item = torch.arange(6).repeat(23)
    episodes = Episodes(
        torch.arange(23), offsets(size), item, (item % 2).float(), size // 2, size // 2
    )
    loader = EpisodeLoader(episodes, 4, context_sizes=(1, 3), shuffle=True, seed=1)
    whole = list(loader)
    for rank, expected in zip(range(4), whole, strict=False):
        loader.shard(rank, 4)
        (found,) = loader  # what does not fill a round of all is left out
        assert len(loader) == 1
        assert all(map(torch.equal, found, expected))
