import random

import pandas as pd
import pytest

from tanp.split import split_episodes
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


@pytest.mark.parametrize('seed', [0, 1, 2020])
def test_the_published_episodes(frame, seed):
    split = split_episodes(frame, *IDS, **OPTIONS, seed=seed)
    expected, seen = published_rule(frame, seed)
    assert by_id(split.train) == expected['train']
    assert by_id(split.test) == expected['test']
    # Theirs keeps unseen items in validation; ours drops them.
    assert len(split.validation) <= len(expected['validation'])
    for _, support, query in by_id(split.validation):
        assert {item for item, _ in support + query} <= seen


def test_users_are_disjoint_and_warm_is_everything(frame, split):
    parts = [set(getattr(split, n).user.tolist()) for n in ('warm', 'validation')]
    parts.append(set(split.test.user.tolist()))
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert set(split.train.user.tolist()) <= parts[0]
    assert len(split.warm) == 28
    rows = frame[frame['user'].isin([IDS[0][user] for user in parts[0]])]
    assert len(split.warm.item) == len(rows)
    assert split.warm.num_support.sum() == 0


def test_unseen_items_are_judged_on_what_is_trained_on(frame):
    split = split_episodes(frame, *IDS, **OPTIONS, seed=3, seen='episodes')
    trained = set(split.train.item.tolist())
    assert set(split.test.item.tolist()) <= trained
    assert set(split.validation.item.tolist()) <= trained


def test_who_is_left_out_and_why(split):
    for part, users in (('train', 28), ('validation', 4), ('test', 8)):
        left_out = split.left_out[part]
        gone = left_out['too_few_interactions'] + left_out['too_many_interactions']
        assert len(getattr(split, part)) + gone == users
    assert split.left_out['train']['unseen_items'] == 0
    assert split.left_out['train']['too_few_interactions'] > 0


def test_the_same_seed_is_the_same_split(frame, split):
    again = split_episodes(frame, *IDS, **OPTIONS, seed=3)
    other = split_episodes(frame, *IDS, **OPTIONS, seed=4)
    assert by_id(again.test) == by_id(split.test)
    assert by_id(other.test) != by_id(split.test)
    assert repr(again) == repr(split)
    assert repr(split).startswith('EpisodeSplit(train=')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'support_size': 0}, "'support_size' must be .*at least 1 .got 0"),
        ({'support_size': 50}, "no train user has .* lower 'support_size' .got 50"),
        ({'min_size': 5}, "'min_size' must exceed 'support_size'"),
        ({'max_size': 7}, "not 'max_size' .7"),
        ({'support_size': 2.5}, "'support_size' must be .*got 2.5"),
        ({'max_size': '30'}, "'max_size' must be .*got '30'"),
        ({'fractions': (0.9, 0.1)}, "'fractions' must leave some"),
        ({'fractions': {0.7, 0.1}}, "'fractions' must be a list of 2"),
        ({'fractions': 0.7}, "'fractions' must be a list of 2.*got 0.7"),
        ({'seen': 'all'}, "'seen' must be one of"),
        ({'seed': -1}, "'seed' must be .*got -1"),
    ],
)
def test_bad_options(frame, options, message):
    merged = OPTIONS | options
    if 'support_size' in options:
        merged.pop('min_size')
        merged['max_size'] = 200
    with pytest.raises(ValueError, match=message):
        split_episodes(frame, *IDS, **merged)


def test_bad_frames(frame):
    with pytest.raises(ValueError, match=r"names 1 item id.*first: 'i59'"):
        split_episodes(frame, IDS[0], IDS[1][:-1], **OPTIONS)
    holed = frame.copy()
    holed.loc[3, 'rating'] = None
    with pytest.raises(ValueError, match=r"no finite number .*'rating' in row 3"):
        split_episodes(holed, *IDS, **OPTIONS)
    with pytest.raises(ValueError, match="'ratings' has no rows"):
        split_episodes(frame.iloc[:0], *IDS, **OPTIONS)
    with pytest.raises(ValueError, match=r"'ratings' has no column 'user'.*\(it has u"):
        split_episodes(frame.rename(columns={'user': 'u'}), *IDS, **OPTIONS)


def test_bad_tables_of_ids(frame):
    users, items = IDS
    with pytest.raises(ValueError, match=r"'users' must hold each id once .*'u0'"):
        split_episodes(frame, [*users, 'u0'], items, **OPTIONS)
    table = pd.DataFrame({'user': users})
    for bad, kind in ((40, 'int'), (table, 'DataFrame'), (iter(users), 'list_iter')):
        with pytest.raises(ValueError, match=f"'users' must be a list .*got {kind}"):
            split_episodes(frame, bad, items, **OPTIONS)


def test_repeated_pairs_are_refused(frame):
    """A query would hold what the support tells."""
    again = frame.iloc[[7, 9]].assign(rating=0.5).set_axis(['again', 'once more'])
    pair = ', '.join(map(repr, frame.loc[7, ['user', 'item']]))
    message = (
        rf"'ratings' rates a pair .* row again \({pair}, the first of 2\).*drop_dup"
    )
    with pytest.raises(ValueError, match=message):
        split_episodes(pd.concat([frame, again]), *IDS, **OPTIONS)
