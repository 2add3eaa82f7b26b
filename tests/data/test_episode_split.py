import random

import pandas as pd
import pytest
import torch

from data.episode_split import split_episodes
from data.tables import RatingTables
from tests.tanp.test_episodes import histories

IDS = [f'u{n}' for n in range(40)], [f'i{n}' for n in range(60)]
OPTIONS = {'support_size': 5, 'min_size': 8, 'max_size': 35}


@pytest.fixture(scope='module')
def tables():
    """Ratings of 40 users, 2 to 41 each, over 60 items."""
    generator = torch.Generator().manual_seed(1)
    rows = [
        (f'u{user}', f'i{int(item)}', float(torch.rand((), generator=generator) < 0.5))
        for user in range(40)
        for item in torch.randperm(60, generator=generator)[: user + 2]
    ]
    ratings = pd.DataFrame(rows, columns=['user', 'item', 'rating'])
    users, items = map(pd.DataFrame, ({'user': IDS[0]}, {'item': IDS[1]}))
    return RatingTables(users, items, ratings)


def published_rule(frame, seed):
    """The published code's own procedure, written as it is, on lists of ids."""
    lists = dict(iter(frame.groupby('user', sort=False)))
    stream = random.Random(seed)
    users = list(IDS[0])
    stream.shuffle(users)
    warm, valid, cold = users[:28], users[28:32], users[32:]
    seen = {item for user in warm for item in lists[user]['item']}
    episodes = {'train': [], 'validation': [], 'test': []}
    for part, members in (('train', warm), ('validation', valid), ('test', cold)):
        for user in members:
            rows = lists[user]
            if part == 'test':
                rows = rows[rows['item'].isin(seen)]
            if not 8 <= len(rows) <= 35:
                continue
            index = list(range(len(rows)))
            stream.shuffle(index)
            pairs = [(rows['item'].iloc[i], rows['rating'].iloc[i]) for i in index]
            episodes[part].append((user, pairs[:5], pairs[5:]))
    return episodes, seen


def by_id(episodes):
    return [
        (IDS[0][user], *([(IDS[1][i], y) for i, y in part] for part in parts))
        for user, *parts in histories(episodes)
    ]


def test_the_published_episodes(tables):
    for seed in [0, 1, 2020]:
        split = split_episodes(tables, **OPTIONS, seed=seed)
        expected, seen = published_rule(tables.ratings, seed)
        assert by_id(split.train) == expected['train']
        assert by_id(split.test) == expected['test']
        # Theirs keeps unseen items in validation; ours drops them.
        assert len(split.validation) <= len(expected['validation'])
        for _, support, query in by_id(split.validation):
            assert {item for item, _ in support + query} <= seen


def test_options_out_of_range_are_refused(tables):
    for name, value in (('support_size', 0), ('min_size', 5), ('seed', -1)):
        with pytest.raises(ValueError, match=f"'{name}'"):
            split_episodes(tables, **OPTIONS | {name: value})
