import dataclasses
import hashlib

import numpy as np
import pandas as pd
import pytest

from data.splits import (
    COLD_SIDES,
    SCENARIOS,
    VALIDATION,
    carve_validation,
    check_strict,
    given_split,
    split,
)
from data.synthetic import planted_tables
from data.tables import RatingTables

PARTS = ('train', 'validation', 'test', 'fit')
CODES = {'item_cold': 1, 'user_cold': 2, 'warm': 3, 'both_cold': 4}


@pytest.fixture(scope='module')
def planted():
    return planted_tables()


def pairs(frame):
    return list(zip(frame['user'], frame['item'], strict=True))


def digest(frame):
    """Names the pairs of a frame and their order."""
    text = ''.join(f'{user},{item}\n' for user, item in pairs(frame))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_cold_items_are_drawn_from_rows_of_the_table(planted):
    """Against the rule written out, on items in an order of their own."""
    items = planted.items.iloc[::-1]
    tables = RatingTables(planted.users, items, planted.ratings)
    order = np.random.RandomState(3001).permutation(80)
    cold = {items['item'].iloc[row] for row in order[:16]}
    result = split(tables, 'item_cold', seed=3)
    assert pairs(result.test) == [p for p in pairs(tables.ratings) if p[1] in cold]
    assert pairs(result.fit) == [p for p in pairs(tables.ratings) if p[1] not in cold]


def test_both_cold_drops_pairs_with_one_cold_end(planted):
    rng = np.random.RandomState(2004)
    users = set(planted.users['user'].iloc[rng.permutation(60)[:12]])
    items = set(planted.items['item'].iloc[rng.permutation(80)[:16]])
    cold_ends = [(u in users) + (i in items) for u, i in pairs(planted.ratings)]
    result = split(planted, 'both_cold', seed=2)
    for part, count in ((result.test, 2), (result.fit, 0)):
        expected = planted.ratings[np.array(cold_ends) == count]
        pd.testing.assert_frame_equal(part, expected)
    assert 1 in cold_ends
    used = set(pairs(result.train)) | set(pairs(result.validation))
    assert set(pairs(result.fit)) - used
    for key in ('user', 'item'):
        assert not set(result.validation[key]) & set(result.train[key])


@pytest.mark.parametrize('scenario', SCENARIOS)
def test_validation_follows_the_rule_whatever_the_order_of_rows(planted, scenario):
    fit = split(planted, scenario, seed=7).fit
    rng = np.random.RandomState(7500 + CODES[scenario])
    fraction, chosen = VALIDATION[scenario], []
    for key in COLD_SIDES[scenario]:
        ids = sorted(set(fit[key]))
        picks = rng.permutation(len(ids))[: int(len(ids) * fraction + 1e-9)]
        chosen.append(fit[key].isin([ids[pick] for pick in picks]))
    if scenario == 'warm':
        picks = rng.permutation(len(fit))[: int(len(fit) * fraction + 1e-9)]
        chosen.append(pd.Series(np.isin(np.arange(len(fit)), picks), fit.index))
    train, validation = carve_validation(fit, scenario, seed=7)
    ends = sum(chosen)
    pd.testing.assert_frame_equal(validation, fit[ends == len(chosen)])
    pd.testing.assert_frame_equal(train, fit[ends == 0])
    if scenario != 'warm':
        shuffled = fit.sample(frac=1, random_state=0)
        other, _ = carve_validation(shuffled, scenario, seed=7)
        pd.testing.assert_frame_equal(other.sort_index(), train.sort_index())


def test_fractions_count_in_whole_ids_and_leave_some(planted):
    ids = np.arange(10)
    ratings = pd.DataFrame({'user': 0, 'item': ids, 'rating': 1.0})
    users, items = pd.DataFrame({'user': [0]}), pd.DataFrame({'item': ids})
    tables = RatingTables(users, items, ratings)
    # 10 * 0.29 / 2.9 and the like fall just short of a whole number.
    for tenths in range(1, 8):
        result = split(tables, 'item_cold', test=tenths * 0.1, validation=0.5)
        assert len(result.test) == tenths
    few = planted.with_ratings(planted.ratings.iloc[:20])
    with pytest.raises(ValueError, match=r"'test'.*0\.999"):
        split(few, 'user_cold', test=0.999)


def test_given_parts_make_the_same_split(planted):
    for scenario in SCENARIOS:
        drawn = split(planted, scenario, seed=3)
        given = given_split(drawn.fit, drawn.test, scenario, seed=3)
        for part in PARTS:
            pd.testing.assert_frame_equal(getattr(given, part), getattr(drawn, part))
        with pytest.raises(ValueError, match="'test' and 'fit'"):
            given_split(drawn.fit, drawn.fit.head(1), scenario)


def test_leaks_are_found(planted):
    for scenario in SCENARIOS:
        good = split(planted, scenario)
        spoilt = {part: {part: good.fit.iloc[:0]} for part in PARTS}
        spoilt |= {"'fit'.*'train'": {'fit': good.validation}}
        spoilt |= {'scenario': {'scenario': 'cold'}}
        for held_out, seen in (('validation', 'train'), ('test', 'fit')):
            both = getattr(good, seen), getattr(good, held_out).head(1)
            spoilt[f"'{held_out}' and '{seen}'"] = {seen: pd.concat(both)}
        for key in COLD_SIDES[scenario]:
            # One rating that no part holds, of a cold id.
            for held_out, seen in (('validation', 'train'), ('test', 'fit')):
                leak = good.validation.head(1).assign(user=-1, item=-1)
                leak[key] = getattr(good, held_out)[key].iloc[0]
                leaking = {seen: pd.concat([getattr(good, seen), leak])}
                spoilt[f"'{seen}'.*{key} of '{held_out}'"] = leaking
        for message, parts in spoilt.items():
            with pytest.raises(ValueError, match=message):
                check_strict(dataclasses.replace(good, **parts))


# Sizes and pairs of the parts that published figures were measured on.
@pytest.mark.realdata
@pytest.mark.parametrize(
    ('scenario', 'seed', 'sizes', 'test_digest'),
    [
        ('item_cold', 0, (71_200, 7_668, 78_868, 21_132), 'ae9ca5b1c2e6814a'),
        ('item_cold', 1, (None, None, 80_909, 19_091), 'bc84c2c3243aaaba'),
        ('item_cold', 2, (None, None, 80_362, 19_638), '31999c88ed92c3ea'),
        ('user_cold', 0, (71_813, 6_989, 78_802, 21_198), '872c53947d298ceb'),
        ('user_cold', 1, (None, None, 79_673, 20_327), '8e543c4521d2d2b4'),
        ('user_cold', 2, (None, None, 78_993, 21_007), '5be9ad8aefb65f7b'),
        ('both_cold', 0, (39_929, 2_262, 61_397, 4_639), '36473268d9305cd7'),
        ('both_cold', 1, (None, None, 64_085, 3_959), '71dc652d083f9218'),
        ('both_cold', 2, (None, None, 62_036, 4_443), 'c4c8c439d80090d0'),
        ('warm', 0, (72_000, 8_000, 80_000, 20_000), 'aa33b085c983c52b'),
        ('warm', 1, (72_000, 8_000, 80_000, 20_000), 'bdc9862a1891aa4f'),
        ('warm', 2, (72_000, 8_000, 80_000, 20_000), '9ebefebe493859d6'),
    ],
)
def test_ml100k(ml100k, scenario, seed, sizes, test_digest):
    result = split(ml100k, scenario, seed=seed)
    for part, size in zip(('train', 'validation', 'fit', 'test'), sizes, strict=True):
        assert size in (None, len(getattr(result, part)))
    assert digest(result.test) == test_digest
    pd.testing.assert_frame_equal(result.test, ml100k.ratings.loc[result.test.index])
