import dataclasses
import hashlib

import numpy as np
import pandas as pd
import pytest

from data import splits
from data.splits import (
    MODES,
    VALIDATION,
    carve_validation,
    check_strict,
    split,
    split_from_files,
)
from data.synthetic import planted_tables
from data.tables import RatingTables

COLD = {
    'item_cold': ['item'],
    'user_cold': ['user'],
    'both_cold': ['user', 'item'],
    'warm': [],
}
PARTS = ('train', 'validation', 'test', 'fit')


@pytest.fixture(scope='module')
def planted():
    return planted_tables()


def pairs(frame):
    return list(zip(frame['user'], frame['item'], strict=True))


def digest(frame):
    """Names the pairs of a frame and their order."""
    text = ''.join(f'{user},{item}\n' for user, item in pairs(frame))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize('mode', MODES)
def test_split_names_the_functions(planted, mode):
    one = split(planted, mode, test=0.3, validation=0.3, seed=4)
    same = getattr(splits, mode)(planted, test=0.3, validation=0.3, seed=4)
    for part in PARTS:
        pd.testing.assert_frame_equal(getattr(one, part), getattr(same, part))
    other = split(planted, mode, test=0.3, validation=0.3, seed=5)
    assert pairs(one.test) != pairs(other.test)
    assert repr(one).startswith(f"Split('{mode}', train={len(one.train):,}, ")


def test_item_cold_draws_from_rows_of_the_table(planted):
    """Against the rule written out, on items in an order of their own."""
    items = planted.items.iloc[::-1]
    tables = RatingTables(planted.users, items, planted.ratings)
    order = np.random.RandomState(3001).permutation(80)
    cold = {items['item'].iloc[row] for row in order[:16]}
    result = splits.item_cold(tables, seed=3)
    assert pairs(result.test) == [p for p in pairs(tables.ratings) if p[1] in cold]
    assert pairs(result.fit) == [p for p in pairs(tables.ratings) if p[1] not in cold]


def test_both_cold_drops_pairs_with_one_cold_end(planted):
    rng = np.random.RandomState(2004)
    users = set(planted.users['user'].iloc[rng.permutation(60)[:12]])
    items = set(planted.items['item'].iloc[rng.permutation(80)[:16]])
    cold_ends = [(u in users) + (i in items) for u, i in pairs(planted.ratings)]
    result = splits.both_cold(planted, seed=2)
    for part, count in ((result.test, 2), (result.fit, 0)):
        expected = planted.ratings[np.array(cold_ends) == count]
        pd.testing.assert_frame_equal(part, expected)
    assert 1 in cold_ends


def test_both_cold_validation_is_as_cold_and_the_rest_is_kept_for_fit(planted):
    result = splits.both_cold(planted, seed=1)
    used = set(pairs(result.train)) | set(pairs(result.validation))
    dropped = set(pairs(result.fit)) - used
    users = set(result.validation['user'])
    items = set(result.validation['item'])
    assert dropped
    assert not users & set(result.train['user'])
    assert not items & set(result.train['item'])


@pytest.mark.parametrize('mode', MODES)
def test_carve_validation_follows_the_rule(planted, mode):
    fit = split(planted, mode, seed=7).fit
    code = {'item_cold': 1, 'user_cold': 2, 'warm': 3, 'both_cold': 4}[mode]
    rng = np.random.RandomState(7500 + code)
    fraction = VALIDATION[mode]
    chosen = []
    for key in COLD[mode]:
        ids = sorted(set(fit[key]))
        picks = rng.permutation(len(ids))[: int(len(ids) * fraction + 1e-9)]
        chosen.append(fit[key].isin([ids[pick] for pick in picks]))
    if mode == 'warm':
        picks = rng.permutation(len(fit))[: int(len(fit) * fraction + 1e-9)]
        chosen.append(pd.Series(np.isin(np.arange(len(fit)), picks), fit.index))
    train, validation = carve_validation(fit, mode, seed=7)
    ends = sum(chosen)
    pd.testing.assert_frame_equal(validation, fit[ends == len(chosen)])
    pd.testing.assert_frame_equal(train, fit[ends == 0])


@pytest.mark.parametrize('mode', ['item_cold', 'user_cold', 'both_cold'])
def test_carve_validation_ignores_the_order_of_rows(planted, mode):
    shuffled = planted.ratings.sample(frac=1, random_state=0)
    one = carve_validation(planted.ratings, mode, seed=2)
    other = carve_validation(shuffled, mode, seed=2)
    for left, right in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(left.sort_index(), right.sort_index())


def test_fractions_count_in_whole_ids():
    ids = np.arange(10)
    ratings = pd.DataFrame({'user': 0, 'item': ids, 'rating': 1.0})
    tables = RatingTables(
        pd.DataFrame({'user': [0]}), pd.DataFrame({'item': ids}), ratings
    )
    # 10 * 0.29 / 2.9 and the like fall just short of a whole number.
    for tenths in range(1, 8):
        result = splits.item_cold(tables, test=tenths * 0.1, validation=0.5)
        assert len(result.test) == tenths


@pytest.mark.parametrize('mode', MODES)
def test_files_give_the_same_split(planted, mode, tmp_path):
    drawn = split(planted, mode, seed=3)
    drawn.fit.to_csv(tmp_path / 'train.csv', index=False)
    drawn.test.to_csv(tmp_path / 'test.csv', index=False)
    read = split_from_files(
        tmp_path / 'train.csv', tmp_path / 'test.csv', mode, tables=planted, seed=3
    )
    for part in PARTS:
        assert pairs(getattr(read, part)) == pairs(getattr(drawn, part))
    assert not read.test.index.isin(read.fit.index).any()


@pytest.mark.parametrize(
    ('mode', 'train', 'test', 'message'),
    [
        ('item_cold', '101,2001,3', '102,2001,3', r"item id\(s\) of 'test'.*\(2001\)"),
        ('user_cold', '101,2001,3', '101,2002,3', r"user id\(s\) of 'test'.*\(101\)"),
        ('both_cold', '101,2001,3', '101,2002,3', r'not both_cold: 1 user .*\(101\)'),
        ('both_cold', '101,2001,3', '102,2001,3', r'not both_cold: 1 item .*2001'),
        ('warm', '101,2001,3', '101,2001,4', r"'test' and in 'fit' \(\(101, 2001\)"),
        ('warm', '9,2001,3', '101,2001,4', r"'train\.csv': .*user id.*\(9\)"),
        ('warm', '101,2001,3', '101,9,4', r"'test\.csv': .*item id.*\(9\)"),
        ('warm', '101,2001,x', '101,2002,4', r"'train\.csv': .*numeric"),
        ('warm', '101,2001,3', '', r'test\.csv.* holds no rows'),
        ('warm', '', '101,2001,3', r'train\.csv.* holds no rows'),
    ],
)
def test_files_that_break_their_promise(planted, tmp_path, mode, train, test, message):
    # Enough other rows for a validation part; none has an id of the cases.
    rest = [f'{110 + u},{2010 + i},3' for u in range(12) for i in range(12)]
    rows = ['user,item,rating', train, *(rest if train else [])]
    (tmp_path / 'train.csv').write_text('\n'.join(rows) + '\n')
    (tmp_path / 'test.csv').write_text(f'user,item,rating\n{test}\n')
    with pytest.raises(ValueError, match=message):
        split_from_files(
            tmp_path / 'train.csv', tmp_path / 'test.csv', mode, tables=planted
        )


def test_files_without_the_columns(planted, tmp_path):
    (tmp_path / 'a.csv').write_text('user,movie,rating\n101,2001,3\n')
    with pytest.raises(ValueError, match=r"'a\.csv': 'ratings' lacks .*'item'"):
        split_from_files(tmp_path / 'a.csv', tmp_path / 'a.csv', 'warm', tables=planted)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', ['test', 'validation'])
@pytest.mark.parametrize('value', [0, 1, -0.1, 20, float('nan'), '0.2'])
def test_fractions_out_of_range(planted, mode, name, value):
    with pytest.raises(ValueError, match=f"'{name}' must be a fraction.*{value}"):
        split(planted, mode, **{name: value})


@pytest.mark.parametrize('seed', [-1, 0.5, None, 2**32])
def test_bad_seeds(planted, seed):
    with pytest.raises(ValueError, match=f"'seed' must be an integer.*{seed}"):
        split(planted, 'warm', seed=seed)


def test_numpy_seeds_are_fine(planted):
    one = split(planted, 'warm', seed=np.int64(2))
    assert one.test.equals(split(planted, 'warm', seed=2).test)


def test_unknown_mode(planted):
    message = r"'mode' must be one of .*'items_cold'.*did you mean 'item_cold'"
    with pytest.raises(ValueError, match=message):
        split(planted, 'items_cold')
    with pytest.raises(ValueError, match=message):
        carve_validation(planted.ratings, 'items_cold')
    with pytest.raises(ValueError, match=r"'mode' .*None"):
        split(planted, None)


@pytest.mark.parametrize('mode', MODES)
def test_parts_that_come_out_empty(planted, mode):
    few = planted.with_ratings(planted.ratings.iloc[:1])
    with pytest.raises(ValueError, match=r"'test' of .* leaves no(thing| test)"):
        split(few, mode)
    with pytest.raises(ValueError, match=r"'test' of 1e-05 leaves no test .*raise"):
        split(planted, mode, test=1e-5)
    with pytest.raises(ValueError, match=r"'validation' of 1e-05 leaves no valid"):
        split(planted, mode, validation=1e-5)


def test_nothing_to_train_on(planted):
    ratings = planted.ratings.iloc[:20]
    with pytest.raises(ValueError, match=r"'test' of 0.999 leaves nothing to train"):
        split(planted.with_ratings(ratings), 'user_cold', test=0.999)
    # Ten pairs without an id in common: the user and the item that stay warm
    # have not met.
    apart = pd.DataFrame({'user': range(10), 'item': range(10), 'rating': 1.0})
    with pytest.raises(ValueError, match=r"'validation' of 0.9.* nothing to train"):
        carve_validation(apart, 'both_cold', fraction=0.9)


def test_carve_validation_checks_its_frame(planted):
    with pytest.raises(ValueError, match=r"'train' lacks .*'item'"):
        carve_validation(planted.ratings[['user', 'rating']], 'warm')


@pytest.mark.parametrize('mode', MODES)
def test_check_strict_finds_leaks(planted, mode):
    good = split(planted, mode)
    check_strict(good)

    def spoil(**parts):
        return dataclasses.replace(good, **parts)

    for part in PARTS:
        with pytest.raises(ValueError, match=f"'{part}' of the split is empty"):
            check_strict(spoil(**{part: good.fit.iloc[:0]}))
    with pytest.raises(ValueError, match="'test' and in 'fit'"):
        check_strict(spoil(fit=pd.concat([good.fit, good.test.head(1)])))
    with pytest.raises(ValueError, match="'validation' and in 'train'"):
        check_strict(spoil(train=pd.concat([good.train, good.validation.head(1)])))
    with pytest.raises(ValueError, match="'train' are not in 'fit'"):
        check_strict(spoil(fit=good.validation))
    with pytest.raises(ValueError, match="'mode'"):
        check_strict(spoil(mode='cold'))

    for key in COLD[mode]:
        # One rating that no part holds, of a cold id.
        leak = good.validation.head(1).assign(user=-1, item=-1)
        leak[key] = good.validation[key].iloc[0]
        fit = pd.concat([good.fit, leak])
        with pytest.raises(ValueError, match=f"{key} id.* of 'validation'.*'train'"):
            check_strict(spoil(train=pd.concat([good.train, leak]), fit=fit))
        leak[key] = good.test[key].iloc[0]
        with pytest.raises(ValueError, match=f"{key} id.* of 'test'.*'fit'"):
            check_strict(spoil(fit=pd.concat([good.fit, leak])))


# Sizes and pairs of the test sets that published figures speak of.
@pytest.mark.realdata
@pytest.mark.parametrize(
    ('mode', 'seed', 'num_fit', 'num_test', 'test_digest'),
    [
        ('item_cold', 0, 78_868, 21_132, 'ae9ca5b1c2e6814a'),
        ('item_cold', 1, 80_909, 19_091, 'bc84c2c3243aaaba'),
        ('item_cold', 2, 80_362, 19_638, '31999c88ed92c3ea'),
        ('user_cold', 0, 78_802, 21_198, '872c53947d298ceb'),
        ('user_cold', 1, 79_673, 20_327, '8e543c4521d2d2b4'),
        ('user_cold', 2, 78_993, 21_007, '5be9ad8aefb65f7b'),
        ('both_cold', 0, 61_397, 4_639, '36473268d9305cd7'),
        ('both_cold', 1, 64_085, 3_959, '71dc652d083f9218'),
        ('both_cold', 2, 62_036, 4_443, 'c4c8c439d80090d0'),
        ('warm', 0, 80_000, 20_000, 'aa33b085c983c52b'),
        ('warm', 1, 80_000, 20_000, 'bdc9862a1891aa4f'),
        ('warm', 2, 80_000, 20_000, '9ebefebe493859d6'),
    ],
)
def test_ml100k(ml100k, mode, seed, num_fit, num_test, test_digest):
    result = split(ml100k, mode, seed=seed)
    assert (len(result.fit), len(result.test)) == (num_fit, num_test)
    assert digest(result.test) == test_digest
    pd.testing.assert_frame_equal(result.test, ml100k.ratings.loc[result.test.index])


@pytest.mark.realdata
@pytest.mark.parametrize(
    ('mode', 'num_train', 'num_validation'),
    [
        ('item_cold', 71_200, 7_668),
        ('user_cold', 71_813, 6_989),
        ('both_cold', 39_929, 2_262),
        ('warm', 72_000, 8_000),
    ],
)
def test_ml100k_validation(ml100k, mode, num_train, num_validation):
    result = split(ml100k, mode, seed=0)
    assert (len(result.train), len(result.validation)) == (num_train, num_validation)
