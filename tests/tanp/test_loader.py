import pytest
import torch

from tanp import EpisodeLoader, Episodes
from tests.tanp.conftest import with_support_size
from tests.tanp.test_episodes import histories


def unpadded(batch):
    """Each task of a batch as plain lists: user, support, query."""
    parts = []
    for item, label, mask in (batch[1:4], batch[4:]):
        rows = zip(item, label, mask, strict=True)
        pairs = [zip(i[m].tolist(), y[m].tolist(), strict=True) for i, y, m in rows]
        parts.append([*map(list, pairs)])
    return list(zip(batch.user.tolist(), *parts, strict=True))


def all_tasks(loader):
    return [task for batch in loader for task in unpadded(batch)]


def test_batches_hold_the_episodes_in_order(tasks):
    for batch_size in [1, 4, 6, 10]:
        loader = EpisodeLoader(tasks, batch_size)
        assert all_tasks(loader) == histories(tasks)
        assert len(list(loader)) == len(loader) == -(-6 // batch_size)


def sizes(loader, epochs=80):
    """By user the sizes of supports and of queries in some epochs."""
    found = {user: (set(), set()) for user in range(6)}
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for user, *parts in all_tasks(loader):
            for seen, part in zip(found[user], parts, strict=True):
                seen.add(len(part))
    return found


def test_sizes_of_supports_and_queries(tasks):
    supports = sizes(EpisodeLoader(tasks, 6, support_sizes=(2, 4)))
    # Task 1 has four interactions, one of which must be left over.
    for user, (support, _) in supports.items():
        assert support == ({2, 3} if user == 1 else {2, 3, 4})
    options = {'support_sizes': (3, None), 'query_sizes': (0, None)}
    published = sizes(EpisodeLoader(tasks, 6, **options), 160)
    assert published[2] == ({*range(3, 9)}, {*range(7)})
    options = {'support_sizes': (1, 2), 'query_sizes': (3, 3)}
    for _, support, query in all_tasks(EpisodeLoader(tasks, 6, **options)):
        assert len(query) == 3 or len(support) + len(query) == 4
        assert not {item for item, _ in support} & {item for item, _ in query}


def test_epochs_differ_repeat_and_lose_nothing(tasks):
    def epoch(number, seed=0):
        loader = EpisodeLoader(tasks, 4, support_sizes=(1, 5), shuffle=True, seed=seed)
        loader.set_epoch(number)
        return all_tasks(loader)

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
    assert epoch(3) != epoch(3, seed=1)
    every = [(user, sorted(one + two)) for user, one, two in histories(tasks)]
    for made in map(epoch, range(30)):
        assert all(support and query for _, support, query in made)
        assert sorted((user, sorted(one + two)) for user, one, two in made) == every


def test_processes_take_turns(tasks):
    parts = []
    for rank in range(2):
        loader = EpisodeLoader(tasks, 1, support_sizes=(1, 5), shuffle=True)
        loader.shard(rank, 2)
        assert len(loader) == 3
        parts += all_tasks(loader)
    assert sorted(user for user, *_ in parts) == [*range(6)]


def test_options_out_of_range_are_refused(tasks):
    for options, name in [
        ({'batch_size': 0}, 'batch_size'),
        ({'support_sizes': (0, 3)}, 'support_sizes'),
        ({'support_sizes': (4, 3)}, 'support_sizes'),
        ({'support_sizes': (1, 2), 'query_sizes': (-1, 2)}, 'query_sizes'),
    ]:
        with pytest.raises(ValueError, match=f"'{name}'"):
            EpisodeLoader(tasks, **options)


def test_empty_supports_are_read_and_too_small_tasks_refused(tasks):
    (batch,) = EpisodeLoader(with_support_size(tasks, 0))
    assert batch.support_item.size() == (6, 0)
    for episodes in ([tasks], tasks.at_least(100)):
        with pytest.raises(ValueError, match="'episodes' must be Episodes"):
            EpisodeLoader(episodes)
    one = torch.tensor([1])
    with pytest.raises(ValueError, match=r'user 1\).*at_least\(2\)'):
        EpisodeLoader(Episodes(one, one, one, one.float(), one), support_sizes=(1, 3))
