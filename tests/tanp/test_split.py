import random

import pandas as pd
import pytest

from tanp import split_episodes
from tests.tanp.test_episodes import histories

IDS = [f'u{n}' for n in range(40)], [f'i{n}' for n in range(60)]
OPTIONS = {'support_size': 5, 'min_size': 8, 'max_size': 35}


@pytest.fixture
def split(frame):
    return split_episodes(frame, *IDS, **OPTIONS, seed=3)


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


def test_the_published_episodes(frame):
    for seed in [0, 1, 2020]:
        split = split_episodes(frame, *IDS, **OPTIONS, seed=seed)
        expected, seen = published_rule(frame, seed)
        assert by_id(split.train) == expected['train']
        assert by_id(split.test) == expected['test']
        # Theirs keeps unseen items in validation; ours drops them.
        assert len(split.validation) <= len(expected['validation'])
        for _, support, query in by_id(split.validation):
            assert {item for item, _ in support + query} <= seen


def test_options_out_of_range_are_refused(frame):
    for options, name in [
        ({'support_size': 0}, 'support_size'),
        ({'support_size': 50, 'min_size': 60, 'max_size': 200}, 'support_size'),
        ({'min_size': 5}, 'min_size'),
        ({'fractions': (0.9, 0.1)}, 'fractions'),
        ({'seed': -1}, 'seed'),
    ]:
        with pytest.raises(ValueError, match=f"'{name}'"):
            split_episodes(frame, *IDS, **OPTIONS | options)


def test_tables_that_do_not_fit_are_refused(frame):
    users, items = IDS
    again = pd.concat([frame, frame.iloc[[7, 9]].set_axis(['again', 'more'])])
    for tables, match in (
        ((frame, users, items[:-1]), r"without a row in 'items'.*'i59'"),
        ((frame.assign(rating=None), *IDS), "'rating'"),
        ((frame.iloc[:0], *IDS), "'ratings' has no rows"),
        ((frame, [*users, 'u0'], items), r"'users' repeats.*'u0'"),
        ((frame, 'u0', items), r"'users' must be a table or a list"),
        # A pair could be in support and query.
        ((again, *IDS), 'row again'),
    ):
        with pytest.raises(ValueError, match=match):
            split_episodes(*tables, **OPTIONS)
