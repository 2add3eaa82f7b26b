import sys
import uuid

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.base.io import read_file, recognised, write_file

ROLES = {'user': 'user', 'item': 'item'}


@pytest.mark.parametrize(
    ('columns', 'role', 'expected'),
    [
        (['userId', 'movieId'], 'user', 'userId'),
        (['User-ID', 'ISBN'], 'item', 'ISBN'),
        (['title', 'movie_id'], 'item', 'movie_id'),
        (['stars'], 'rating', 'stars'),
        (['name'], 'user', None),
    ],
)
def test_names_of_columns(columns, role, expected):
    assert recognised(columns, role) == expected


@pytest.mark.parametrize('separator', [',', ';', '\t'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_text_files_of_all_sorts(separator, encoding, end, tmp_path):
    rows = ['userId,item,age,genres', '007,a,31,Комедия|War', '8,b,,', '9,"c#d",5,War']
    text = end.join(rows).replace(',', separator).replace('#', separator)
    (tmp_path / 'x.csv').write_bytes(text.encode(encoding))
    frame = read_file(tmp_path / 'x.csv', roles=ROLES, lists=['genres'])
    assert frame['user'].tolist() == ['007', '8', '9']
    assert frame['item'][2] == f'c{separator}d'
    assert frame['age'].isna().tolist() == [False, True, False]
    assert frame['genres'].tolist() == [['Комедия', 'War'], [], ['War']]


def test_floats_are_read_to_the_digit(tmp_path):
    written = np.random.default_rng(0).normal(size=2000).tolist()
    lines = ['user,item,price', *(f'a,b,{number!r}' for number in written)]
    (tmp_path / 'x.csv').write_text('\n'.join(lines))
    assert read_file(tmp_path / 'x.csv', roles=ROLES)['price'].tolist() == written


def test_kinds_of_ids(tmp_path):
    one = uuid.UUID(int=1)
    path = tmp_path / 'x.csv'
    pd.DataFrame({'user': ['7', None], 'item': [str(one)] * 2}).to_csv(path)
    frame = read_file(path, roles=ROLES, kinds={'user': 'int', 'item': 'uuid'})
    assert frame['user'][0] == 7
    assert frame['user'].isna().tolist() == [False, True]
    assert frame['item'].tolist() == [one, one]
    with pytest.raises(ValueError, match=r"no uuid id in column 'user'.*row 0 \('7'"):
        read_file(path, roles=ROLES, kinds={'user': 'uuid'})


def test_parquet(tmp_path):
    pytest.importorskip('pyarrow')
    frame = pd.DataFrame({'user': [7, 8], 'item': [1.0, 2.0], 'genre': [['a'], []]})
    write_file(frame, tmp_path / 'x.parquet')
    read = read_file(tmp_path / 'x.parquet', roles=ROLES)
    assert read['user'].tolist() == ['7', '8']
    assert read['item'].tolist() == ['1', '2']
    assert [list(cell) for cell in read['genre']] == [['a'], []]
    (tmp_path / 'y.parquet').write_bytes(b'not this')
    with pytest.raises(ValueError, match='is no Parquet file'):
        read_file(tmp_path / 'y.parquet', roles=ROLES)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    (tmp_path / 'x.parquet').touch()
    with pytest.raises(ImportError, match='needs the package pyarrow'):
        read_file(tmp_path / 'x.parquet', roles=ROLES)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('x.xlsx', b'', r'must end in one of .csv, .tsv'),
        ('x.csv', b'', 'is empty; give it a header line'),
        ('x.csv', b'user,name\n1,2\n', r"no column 'item'.*say --item NAME"),
        ('x.csv', b'user,item\n1,2,3\n', 'rows of different lengths'),
        ('x.csv', 'user,item\né,2\n'.encode('latin-1'), 'is not UTF-8 text'),
    ],
)
def test_files_that_cannot_be_read(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_file(tmp_path / name, roles=ROLES)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match='There is no file'):
        read_file(tmp_path / 'x.csv', roles=ROLES)


def test_written_files(tmp_path, capsys):
    frame = pd.DataFrame({'user': ['ä', 'b'], 'rating': [1.5, np.nan]})
    for name in ('x.csv', 'x.tsv'):
        write_file(frame, tmp_path / name)
        read = read_file(tmp_path / name, roles={'user': 'user'})
        pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    write_file(frame, None)
    assert capsys.readouterr().out == 'user,rating\nä,1.5\nb,\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['x.csv', 'x.tsv']
    with pytest.raises(ValueError, match='must end in one of'):
        write_file(frame, tmp_path / 'x.doc')


def test_whole_numbers_beyond_exact_floats(tmp_path):
    path, large = tmp_path / 'x.csv', [2**53 + 1, 2**53 + 2, 2**53 + 3]
    path.write_text('user,item\n' + ''.join(f'{n},{n}\n' for n in large) + ',7\n')
    frame = read_file(path, roles=ROLES, kinds={'user': 'int', 'item': 'int'})
    assert frame['user'].dropna().tolist() == large
    path.write_text('user,item\n,1\n')
    frame = read_file(path, roles=ROLES, kinds={'user': 'int'})
    assert frame['user'].isna().all()
    # Where one is written as a float, to_numeric makes floats of all.
    path.write_text(f'user,item\n4.0,1\n{large[0]},2\n')
    with pytest.raises(ValueError, match=r"no int id in column 'user'.*row 1"):
        read_file(path, roles=ROLES, kinds={'user': 'int'})


def test_columns_that_are_named_are_not_guessed(tmp_path):
    path, roles = tmp_path / 'x.csv', {'user': 'user', 'rating': 'rating'}
    path.write_text('user,rating,stars\na,1,5\n')
    frame = read_file(path, roles=roles, named={'rating': 'stars'})
    assert frame.to_dict('list') == {'user': ['a'], 'rating': [5]}
    with pytest.raises(
        ValueError, match=r"no column 'starz', did you mean 'stars'.*it"
    ):
        read_file(path, roles=roles, named={'rating': 'starz'})
    swapped = read_file(
        path, roles=ROLES | roles, named={'user': 'stars', 'item': 'user'}
    )
    assert swapped.to_dict('list') == {'item': ['a'], 'rating': [1], 'user': ['5']}


def test_texts_that_look_like_numbers(tmp_path):
    (tmp_path / 'x.csv').write_text('user,zip,size\n1,00123,7\n2,NA,8\n')
    frame = read_file(tmp_path / 'x.csv', roles={'user': 'user'}, texts=['zip', 'x'])
    assert frame['zip'][0] == '00123'
    assert frame['zip'].isna().tolist() == [False, True]
    assert frame['size'].tolist() == [7, 8]


def test_ids_that_pandas_would_take_for_missing(tmp_path):
    (tmp_path / 'x.csv').write_text('user,item,rating\nNA,null,1\n,None,NA\n')
    frame = read_file(tmp_path / 'x.csv', roles=ROLES | {'rating': 'rating'})
    assert frame['user'].tolist() == ['NA', None]
    assert frame['item'].tolist() == ['null', 'None']
    assert frame['rating'].isna().tolist() == [False, True]


def test_parquet_with_an_index(tmp_path):
    pytest.importorskip('pyarrow')
    frame = pd.DataFrame({'user': ['a', 'b'], 'item': ['c', 'd'], 'age': [3, 4]})
    path = tmp_path / 'x.parquet'
    for index in (['user'], ['user', 'item']):
        frame.set_index(index).to_parquet(path)
        pd.testing.assert_frame_equal(
            read_file(path, roles=ROLES), frame, check_dtype=False
        )
    frame.set_index(pd.Index([7, 7])).to_parquet(path)
    assert read_file(path, roles=ROLES).index.tolist() == [0, 1]


def test_floats_in_parquet_that_are_no_ids(tmp_path):
    pytest.importorskip('pyarrow')
    frame = pd.DataFrame({'user': [1.0, 2.0**53], 'item': ['a', 'b']})
    write_file(frame, tmp_path / 'x.parquet')
    with pytest.raises(
        ValueError, match=r"not exact from 2\*\*53 on, in column 'user'"
    ):
        read_file(tmp_path / 'x.parquet', roles=ROLES)


@pytest.mark.parametrize('cell', ['4.5', '1e400', '9223372036854775808', 'x'])
def test_what_is_no_whole_number(cell, tmp_path):
    (tmp_path / 'x.csv').write_text(f'user,item\n1,a\n{cell},b\n')
    with pytest.raises(ValueError, match=r"no int id in column 'user'.*row 1"):
        read_file(tmp_path / 'x.csv', roles=ROLES, kinds={'user': 'int'})


def test_a_damaged_page_of_parquet(tmp_path):
    pytest.importorskip('pyarrow')
    frame = pd.DataFrame({'user': [7, 8], 'item': [1, 2]})
    write_file(frame, tmp_path / 'x.parquet')
    content = bytearray((tmp_path / 'x.parquet').read_bytes())
    content[4:40] = bytes(36)
    (tmp_path / 'x.parquet').write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.parquet' is damaged"):
        read_file(tmp_path / 'x.parquet', roles=ROLES)
