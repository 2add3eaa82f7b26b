import numpy as np
import pandas as pd
import pytest

from data.readers import read_table, read_tables

RATINGS = 'userId,item,rating,when\n5,b,3,1\n2,a,4.5,2\n5,a,1,3\n'
USERS = 'userId,age\n2,30\n5,\n9,41\n'
ITEMS = 'item\tgenre\ttags\na\tx| y |\t7\nb\t\t7|8\n'


@pytest.fixture
def files(tmp_path):
    (tmp_path / 'ratings.csv').write_text(RATINGS)
    (tmp_path / 'users.csv').write_text(USERS)
    (tmp_path / 'items.tsv').write_text(ITEMS)
    return [tmp_path / n for n in ('ratings.csv', 'users.csv', 'items.tsv')]


def test_three_files(files):
    tables = read_tables(
        *files, columns={'userId': 'user'}, multi_valued=('genre', 'tags')
    )
    assert tables.users['user'].tolist() == [2, 5, 9]
    assert tables.items['genre'].tolist() == [['x', 'y'], []]
    assert tables.ratings['rating'].tolist() == [3, 4.5, 1]
    assert tables.ratings.columns.tolist() == ['user', 'item', 'rating', 'when']


def test_cells_of_one_number_are_split_like_cells_of_two(files):
    frame = read_table(files[2], multi_valued='tags', columns={})
    assert frame['tags'].tolist() == [['7'], ['7', '8']]
    (files[2]).write_text('item,codes\na,7\nb,\n')
    renamed = files[2].rename(files[2].with_suffix('.csv'))
    frame = read_table(renamed, columns={'codes': 'tags'}, multi_valued=['tags'])
    assert frame['tags'].tolist() == [['7'], []]


def test_without_attribute_files_tables_are_the_distinct_ids(files):
    tables = read_tables(files[0], columns={'userId': 'user'})
    assert tables.users.to_dict('list') == {'user': [2, 5]}
    assert tables.items.to_dict('list') == {'item': ['a', 'b']}


def test_other_separator_and_byte_order_mark(tmp_path):
    path = tmp_path / 'items.csv'
    path.write_text('item,genre\n1,x;y\n', encoding='utf-8-sig')
    frame = read_table(str(path), multi_valued=('genre',), separator=';')
    assert frame.to_dict('list') == {'item': [1], 'genre': [['x', 'y']]}


def test_floats_are_read_to_the_digit(tmp_path):
    written = np.random.default_rng(0).normal(size=2000).tolist()
    lines = ['user,item,rating', *(f'1,{n},{x!r}' for n, x in enumerate(written))]
    (tmp_path / 'ratings.csv').write_text('\n'.join(lines))
    assert read_table(tmp_path / 'ratings.csv')['rating'].tolist() == written


def test_parquet(tmp_path):
    pytest.importorskip('pyarrow')
    path = tmp_path / 'items.parquet'
    frame = pd.DataFrame({'item': [1, 2], 'genre': [['x'], None], 'tags': 'p|q'})
    frame.to_parquet(path)
    read = read_table(path, multi_valued=('tags',))
    assert read['genre'].tolist() == [['x'], []]
    assert read['tags'].tolist() == [['p', 'q']] * 2
    path.write_text('no such thing')
    with pytest.raises(ValueError, match='is not a Parquet file'):
        read_table(path)


def test_arrays_in_parquet_cells_become_lists(tmp_path, monkeypatch):
    cells = pd.Series([np.array(['x', 'y']), None])
    frame = pd.DataFrame({'item': [1, 2], 'genre': cells})
    monkeypatch.setattr('importlib.util.find_spec', lambda name: name)
    monkeypatch.setattr('pandas.read_parquet', lambda *_, **__: frame)
    (tmp_path / 'items.parquet').touch()
    read = read_table(tmp_path / 'items.parquet')
    assert read['genre'].tolist() == [['x', 'y'], []]


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda _: None)
    (tmp_path / 'items.parquet').touch()
    with pytest.raises(ImportError, match=r"'items\.parquet' needs .*'pyarrow'"):
        read_table(tmp_path / 'items.parquet')


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('t.csv', None, 'no file at .*t.csv'),
        ('t.csv', '', 'is empty: give it a header'),
        ('t.csv', 'user,item\n', 'holds no rows'),
        ('t.csv', 'user,item\n1,2,3\n', 'not a UTF-8 table with delimiter'),
        ('t.csv', 'user,item\n1,2\n1,2,3\n', 'not a UTF-8 table.*line 3'),
        ('t.csv', b'user\n\xff\n', 'not a UTF-8 table'),
        ('t.json', '{}', r"must be one of \.csv, \.tsv, \.parquet \(got '.json'"),
        ('t', 'user\n1\n', "got ''"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_unknown_columns_are_named_with_the_nearest(files):
    with pytest.raises(ValueError, match=r"'multi_valued' names 'genres'.*'genre'"):
        read_tables(*files, columns={'userId': 'user'}, multi_valued=('genres',))
    with pytest.raises(ValueError, match=r"'columns' names 'userid'.*'userId'"):
        read_tables(*files, columns={'userid': 'user'})
    with pytest.raises(ValueError, match='separator'):
        read_table(files[2], multi_valued=('genre',), separator='')


def test_ratings_file_is_blamed_for_its_own_columns(files):
    with pytest.raises(ValueError, match=r"'ratings' lacks .*'user'.*'userId'"):
        read_tables(files[0])
