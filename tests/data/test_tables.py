import dataclasses

import numpy as np
import pandas as pd
import pytest

from data.tables import RatingTables, validate


def test_positions_are_row_numbers_of_the_tables(tables):
    users, items = tables.positions()
    assert users.tolist() == [1, 0, 1]
    assert items.tolist() == [1, 0, 0]
    assert users.dtype == items.dtype == np.int64


def test_positions_of_pairs_that_nobody_has_rated(tables):
    pairs = pd.DataFrame({'user': [5, 7], 'item': ['b', 'a']})
    users, items = tables.positions(pairs)
    assert (users.tolist(), items.tolist()) == ([2, 0], [0, 1])
    users, items = tables.positions(pairs.iloc[:0])
    assert len(users) == len(items) == 0


def test_positions_names_unknown_ids(tables):
    pairs = pd.DataFrame({'user': [5, 9], 'item': ['b', 'a']})
    with pytest.raises(ValueError, match=r"1 user id\(s\) that 'users' .*\(9\)"):
        tables.positions(pairs)
    with pytest.raises(ValueError, match=r"lacks the column.*'item'"):
        tables.positions(pairs[['user']])


def test_with_ratings_leaves_the_original_alone(tables):
    other = tables.with_ratings(tables.ratings.iloc[:1])
    assert len(other.ratings) == 1
    assert len(tables.ratings) == 3
    assert other.users is tables.users
    with pytest.raises(ValueError, match='no rows'):
        tables.with_ratings(tables.ratings.iloc[:0])


def test_is_frozen_and_prints_its_sizes(tables):
    assert repr(tables) == 'RatingTables(users=3, items=2, ratings=3)'
    with pytest.raises(dataclasses.FrozenInstanceError):
        tables.users = tables.items


def test_attributes_are_optional(frames):
    frames['users'] = frames['users'][['user']]
    frames['items'] = frames['items'][['item']]
    assert RatingTables(**frames).users.columns.tolist() == ['user']


def test_nullable_dtypes_are_fine(frames):
    frames['users'] = frames['users'].convert_dtypes()
    frames['ratings'] = frames['ratings'].convert_dtypes()
    users, _ = RatingTables(**frames).positions()
    assert users.tolist() == [1, 0, 1]


def test_validate_sees_later_edits(tables):
    validate(tables)
    tables.users['user'] = [7, 7, 5]
    with pytest.raises(ValueError, match='repeats'):
        validate(tables)


@pytest.mark.parametrize(
    ('name', 'column', 'values', 'message'),
    [
        ('users', 'user', [7, 3, 3], r"'users' repeats 1 id.*'user' \(3\)"),
        ('items', 'item', ['a', None], r"'items' misses the id.*\(index 1\)"),
        ('users', 'user', [7, np.nan, 5], "'users' misses the id.*'user'"),
        ('ratings', 'user', [3, np.nan, 3], r"'ratings' misses.*\(index 10\)"),
        ('ratings', 'user', [3, 8, 9], r'2 user id.*\(8, 9\).*drop their ratings'),
        ('ratings', 'item', ['a', 'b', 'c'], r"1 item id.*\('c'\): add them"),
        ('ratings', 'user', ['3', '7', '3'], r"one type \(now int64 in 'users'"),
        ('ratings', 'user', [3, '7', 3], "mixes types of ids in column 'user'"),
        ('items', 'item', [['b'], ['a']], "mixes types of ids in column 'item'"),
        ('ratings', 'rating', list('abc'), r"'rating'.*numeric.*'a', 'b', 'c'"),
        ('ratings', 'rating', [True, False, True], "'rating'.*numeric.*bool"),
        ('ratings', 'rating', [1, np.nan, 3], r'NaN or infinite.*\(index 10\)'),
        ('ratings', 'rating', [1, 2, -np.inf], r'NaN or infinite.*\(index 20\)'),
        ('ratings', 'item', ['a', 'b', 'a'], r"repeated.*\(3, 'a'\).*aggregate"),
    ],
)
def test_bad_cells(frames, name, column, values, message):
    values = pd.Series(values, index=frames[name].index)
    frames[name] = frames[name].assign(**{column: values})
    with pytest.raises(ValueError, match=message):
        RatingTables(**frames)


@pytest.mark.parametrize(
    ('name', 'column'),
    [
        ('users', 'user'),
        ('items', 'item'),
        ('ratings', 'user'),
        ('ratings', 'item'),
        ('ratings', 'rating'),
    ],
)
def test_missing_columns_and_rows(frames, name, column):
    whole = frames[name]
    frames[name] = whole.rename(columns={column: 'ID'})
    with pytest.raises(ValueError, match=f"'{name}' lacks .*'{column}'.*'ID'"):
        RatingTables(**frames)
    frames[name] = whole.iloc[:0]
    with pytest.raises(ValueError, match=f"'{name}' has no rows"):
        RatingTables(**frames)
    frames[name] = pd.concat([whole, whole[[column]]], axis=1)
    with pytest.raises(ValueError, match=f"several columns .*'{column}'"):
        RatingTables(**frames)
    frames[name] = whole.to_dict()
    with pytest.raises(ValueError, match=f"'{name}' must be a pandas .*dict"):
        RatingTables(**frames)


def test_long_lists_of_ids_are_cut_short(frames):
    frames['ratings'] = pd.DataFrame(
        {'user': range(100, 1200), 'item': 'a', 'rating': 1}
    )
    with pytest.raises(ValueError, match=r'\(100, .* 104 and 1,095 more\)'):
        RatingTables(**frames)
