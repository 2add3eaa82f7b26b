import numpy as np
import pandas as pd
import pytest

from data.tables import RatingTables, read_tables


@pytest.fixture
def frames():
    """Valid arguments of RatingTables, to be spoilt by a test."""
    return {
        'users': pd.DataFrame({'user': [7, 3, 5], 'age': [20, 30, None]}),
        'items': pd.DataFrame({'item': ['b', 'a'], 'genre': [['x', 'y'], []]}),
        'ratings': pd.DataFrame(
            {'user': [3, 7, 3], 'item': ['a', 'b', 'b'], 'rating': [4, 2.5, 1]},
            index=[30, 10, 20],
        ),
    }


def test_positions_are_row_numbers_of_the_tables(frames):
    tables = RatingTables(**frames)
    users, items = tables.positions()
    assert (users.tolist(), items.tolist()) == ([1, 0, 1], [1, 0, 0])
    assert users.dtype == items.dtype == np.int64
    pairs = pd.DataFrame({'user': [5, 7], 'item': ['b', 'a']})
    users, items = tables.positions(pairs)
    assert (users.tolist(), items.tolist()) == ([2, 0], [0, 1])
    assert [len(rows) for rows in tables.positions(pairs.iloc[:0])] == [0, 0]


def test_bad_cells_are_named(frames):
    for name, column, values, shown in [
        ('users', 'user', [7, 3, 3], '3'),
        ('items', 'item', ['a', None], 'row 1'),
        ('ratings', 'user', [3, 8, 9], '8'),
        ('ratings', 'rating', [1, np.nan, 3], 'row 10'),
        ('ratings', 'item', ['a', 'b', 'a'], r'second time .*row 20 \(3, .a'),
    ]:
        values = pd.Series(values, index=frames[name].index)
        spoilt = frames[name].assign(**{column: values})
        with pytest.raises(ValueError, match=rf"'{name}'.*{shown}"):
            RatingTables(**frames | {name: spoilt})


def test_three_files_become_tables(tmp_path):
    (tmp_path / 'ratings.csv').write_text('userId,item,rating\n5,b,3\n2,a,4.5\n5,a,1\n')
    (tmp_path / 'users.csv').write_text('userId,age\n2,30\n5,\n9,41\n')
    (tmp_path / 'items.tsv').write_text('item\tgenre\na\tx| y |\nb\t\n')
    names = [tmp_path / n for n in ('ratings.csv', 'users.csv', 'items.tsv')]
    tables = read_tables(*names, lists=['genre'])
    assert tables.users['user'].tolist() == ['2', '5', '9']
    assert tables.items['genre'].tolist() == [['x', 'y'], []]
    assert tables.ratings['rating'].tolist() == [3, 4.5, 1]
    alone = read_tables(names[0], named={'user': 'userId'})
    assert alone.users.to_dict('list') == {'user': ['2', '5']}
    assert alone.items.to_dict('list') == {'item': ['a', 'b']}
