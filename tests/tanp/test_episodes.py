import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from tanp.episodes import Episodes


def histories(episodes):
    """Each task as plain lists: user, support, query."""
    pairs = list(zip(episodes.item.tolist(), episodes.label.tolist(), strict=True))
    found, parts = [], (episodes.user, episodes.size, episodes.num_support)
    for user, size, first in zip(*(part.tolist() for part in parts), strict=True):
        found.append((user, pairs[:first], pairs[first:size]))
        pairs = pairs[size:]
    return found


def test_sizes_and_indices(tasks):
    assert tasks.size.tolist() == [6, 4, 9, 5, 7, 8]
    assert tasks.num_query.tolist() == [3, 1, 6, 2, 4, 5]
    assert repr(tasks) == 'Episodes(6 tasks, 39 interactions)'
    found = histories(tasks)
    for part, index in ((1, tasks.support_index()), (2, tasks.query_index())):
        expected = [pair[0] for task in found for pair in task[part]]
        assert tasks.item[index].tolist() == expected


def test_select_by_position_and_by_mask(tasks):
    chosen, every = [4, 0, 4], histories(tasks)
    assert histories(tasks.select(torch.tensor(chosen))) == [every[i] for i in chosen]
    assert histories(tasks.at_least(7)) == [every[i] for i in (2, 4, 5)]
    assert len(tasks.at_least(100)) == 0


def test_histories_are_shuffled_and_halved():
    row = np.arange(30)
    parts = row // 6, row, 1.0 * row
    episodes = Episodes.from_histories(parts, support_size=20, seed=0)
    assert episodes.num_support.tolist() == episodes.num_query.tolist() == 5 * [3]
    assert Episodes.from_histories(parts, 2, 0).num_support.tolist() == 5 * [2]
    assert sorted(episodes.item[:6].tolist()) == [*range(6)]
    assert episodes.item.tolist() != row.tolist()
    assert torch.equal(episodes.item.float(), episodes.label)


def test_parts_of_users_keep_their_order():
    support = np.array([5, 3, 5, 9]), np.array([1, 2, 3, 4]), np.array([0, 1, 1, 0])
    query = np.array([3, 5, 3]), np.array([8, 7, 6]), np.array([1, 0, 0])
    episodes = Episodes.from_parts(np.array([3, 5]), support, query)
    assert histories(episodes) == [
        (3, [(2, 1.0)], [(8, 1.0), (6, 0.0)]),
        (5, [(1, 0.0), (3, 1.0)], [(7, 0.0)]),
    ]


def test_frames_and_back(tasks):
    users, items = [f'u{n}' for n in range(6)], [f'i{n}' for n in range(20)]
    support, query = tasks.to_frames(users, items)
    assert list(support.columns) == ['user', 'item', 'rating']
    user, item = pd.Index(users).get_indexer, pd.Index(items).get_indexer
    parts = [
        (user(frame['user']), item(frame['item']), frame['rating'].to_numpy())
        for frame in (support, query)
    ]
    again = Episodes.from_parts(np.arange(6), *parts)
    assert histories(again) == histories(tasks)


def test_what_does_not_fit_is_refused(tasks):
    for name, position, value in [
        ('label', 5, float('nan')),
        ('label', 0, float('inf')),
        ('item', 2, -1),
        ('user', 2, -3),
        ('size', slice(2), torch.tensor([11, -1])),
        ('num_support', 1, 5),
        ('num_support', 1, -1),
    ]:
        changed = getattr(tasks, name).clone()
        changed[position] = value
        with pytest.raises(ValueError, match=f"'{name}'"):
            dataclasses.replace(tasks, **{name: changed})
    for name, value in (
        ('size', tasks.size[:3]),
        ('item', tasks.item[:5]),
        ('label', tasks.label.long()),
        ('item', tasks.item.float()),
    ):
        with pytest.raises(ValueError, match=f"'{name}'"):
            dataclasses.replace(tasks, **{name: value})
