"""Files to frames and back: nothing is shifted, rounded or guessed without a word."""

import gzip
import uuid
from itertools import product

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.base.io import read_columns, read_file, recognized, write_file

ROLES = {'user': 'user', 'item': 'item'}


def test_usual_names_of_columns_are_recognized():
    for columns, role, *expected in [
        (['userId', 'movieId'], 'user', 'userId'),
        (['User-ID', 'ISBN'], 'item', 'ISBN'),
        (['rating', 'stars'], 'rating', 'rating', 'stars'),
        (['title', 'movie_id'], 'item', 'movie_id'),
        (['name', 'SKU', 'price'], 'item', 'SKU'),
        (['value', 'quantity', 'score_code'], 'rating'),
        (['article_code', 'article'], 'item', 'article'),
        (['rating_id', 'Rating Number', 'stars'], 'rating', 'stars'),
        (['name'], 'user'),
        (['id', 'name'], 'item'),
    ]:
        assert recognized(columns, role) == expected


def test_an_id_is_that_of_the_table(tmp_path):
    (tmp_path / 'artists.tsv').write_text('artist\tid\tname\nX\t7\tA\n')
    frame = read_file(tmp_path / 'artists.tsv', roles={'item': 'artistID'})
    assert frame['artistID'].tolist() == ['7']
    # A name that is given is that of all tables.
    named = {'roles': {'item': 'artistID'}, 'named': {'item': 'artistID'}}
    with pytest.raises(ValueError, match=r"artists.* or rename .* to 'artistID'"):
        read_file(tmp_path / 'artists.tsv', **named)
    (tmp_path / 'plays.tsv').write_text('id\tartistID\n1\t7\n')
    with pytest.raises(ValueError, match=r'plays.*users.*--user COLUMN'):
        read_file(tmp_path / 'plays.tsv', roles=ROLES)


def test_text_files_of_all_sorts(tmp_path):
    rows = ['userId ,item,age,genres', '007,a,31,Комедия|War', '8,b,,', '9,"c#d",5,War']
    for separator, encoding, end in product(
        [',', ';', '\t'], ['utf-8', 'utf-8-sig'], ['\n', '\r\n']
    ):
        text = end.join(rows).replace(',', separator).replace('#', separator)
        (tmp_path / 'x.csv').write_bytes(text.encode(encoding))
        (tmp_path / 'x.CSV.gz').write_bytes(gzip.compress(text.encode(encoding)))
        frame = read_file(tmp_path / 'x.CSV.gz', roles=ROLES, lists=['genres'])
        plain = read_file(tmp_path / 'x.csv', roles=ROLES, lists=['genres'])
        pd.testing.assert_frame_equal(frame, plain)
        assert frame['user'].tolist() == ['007', '8', '9']
        assert frame['item'].iloc[2] == f'c{separator}d'
        assert frame['age'].isna().tolist() == [False, True, False]
        assert frame['genres'].tolist() == [['Комедия', 'War'], [], ['War']]
    # As spreadsheets of several countries write it.
    for cell, hint in (('31,5', ''), ('31.5', ''), ('31,5', 'sep=;\n')):
        (tmp_path / 'x.csv').write_text(f'{hint}user;item;age\n7;1,2,3;{cell}\n8;b;7')
        frame = read_file(tmp_path / 'x.csv', roles=ROLES)
        assert (frame['age'].tolist(), frame['item'].iloc[0]) == ([31.5, 7], '1,2,3')


def test_floats_are_read_to_the_digit(tmp_path):
    written = np.random.default_rng(0).normal(size=2000).tolist()
    lines = ['user,item,price', *(f'a,b,{number!r}' for number in written)]
    (tmp_path / 'x.csv').write_text('\n'.join(lines))
    assert read_file(tmp_path / 'x.csv', roles=ROLES)['price'].tolist() == written


def test_numbers_with_separated_thousands(tmp_path):
    for text, expected in (
        ('item;price;on\n1;12,5;6.8.2023\n2;-1.250,00;\n3;;\n', '12.5 -1250.0 nan'),
        ('item,price,on\n1,"1,250.5",6.8.2023\n2,7,\n', '1250.5 7.0'),
        ('\n\nitem;price;on\n1;1.250,00;6.8.2023\n', '1250.0'),
        ('item;price;on\n1;7.5;6.8.2023\n2;8.5;\n3;9,5;\n', '7.5 8.5 9,5'),
        ('item;price;on\n1;7,5;6.8.2023\n2; 9,5 ;\n3;-;\n', '7.5 9.5 -'),
    ):
        (tmp_path / 'x.csv').write_text(text)
        frame = read_file(tmp_path / 'x.csv', roles={'item': 'item'})
        assert [*map(str, frame['price'])] == expected.split()
        assert frame['on'].iloc[0] == '6.8.2023'
    (tmp_path / 'x.csv').write_text('item;price;km\n1;1.250;0.125\n2;980;1\n3;;1.5\n')
    with pytest.warns(UserWarning, match="'price' has .*'1.250'.* 1.25;"):
        read_file(tmp_path / 'x.csv', roles={'item': 'item'})


def test_ids_of_a_type(tmp_path):
    one, path = uuid.UUID(int=1), tmp_path / 'x.csv'
    path.write_text(f'user,item\n7,{one}\n,{one}\n7.0,{one}\n')
    dtypes = {'user': 'int', 'item': 'uuid'}
    frame = read_file(path, roles=ROLES, id_dtypes=dtypes)
    assert frame['user'].dropna().tolist() == [7, 7]
    assert frame['user'].isna().tolist() == [False, True, False]
    assert frame['item'].tolist() == [one, one, one]
    with pytest.raises(ValueError, match=r"uuid.*column 'user'.*line 2 \('7'"):
        read_file(path, roles=ROLES, id_dtypes={'user': 'uuid'})
    for cell in ['4.5', '1e400', '9223372036854775808', 'x', '1_0']:
        path.write_text(f'user,item\n1,a\n{cell},b\n')
        with pytest.raises(ValueError, match=r"int id in column 'user'.*line 3"):
            read_file(path, roles=ROLES, id_dtypes={'user': 'int'})


def test_whole_numbers_beyond_exact_floats(tmp_path):
    path, large = tmp_path / 'x.csv', [2**53 + 1, 2**53 + 2, 2**53 + 3]
    path.write_text('user,item\n' + ''.join(f'{n},{n}\n' for n in large) + ',7\n')
    dtypes = {'user': 'int', 'item': 'int'}
    frame = read_file(path, roles=ROLES, id_dtypes=dtypes)
    assert frame['user'].dropna().tolist() == large
    frame = pd.DataFrame({'user': [1.0, 2.0**53], 'item': ['a', 'b']})
    write_file(frame, tmp_path / 'x.parquet')
    with pytest.raises(ValueError, match=r"2\*\*53.*column 'user'"):
        read_file(tmp_path / 'x.parquet', roles=ROLES)


def test_ids_that_pandas_would_take_for_missing(tmp_path):
    (tmp_path / 'x.csv').write_text('user,item,rating\nNA,null,1\n,None,NA\n')
    frame = read_file(tmp_path / 'x.csv', roles=ROLES | {'rating': 'rating'})
    assert frame['user'].tolist() == ['NA', None]
    assert frame['item'].tolist() == ['null', 'None']
    assert frame['rating'].isna().tolist() == [False, True]
    # Texts that look like numbers.
    (tmp_path / 'x.csv').write_text('user,zip,size,code\n1,123,7,010\n2,NA,8,25\n')
    frame = read_file(tmp_path / 'x.csv', roles={'user': 'user'}, texts=['zip', 'x'])
    assert [*frame['zip'].dropna(), *frame['code']] == ['123', '010', '25']
    assert frame['zip'].isna().tolist() == [False, True]
    assert frame['size'].tolist() == [7, 8]


def test_named_columns_are_not_guessed(tmp_path):
    path, roles = tmp_path / 'x.csv', {'user': 'user', 'rating': 'rating'}
    path.write_text('user,rating,stars\na,1,5\n')
    frame = read_file(path, roles=roles, named={'rating': 'stars'})
    assert frame.to_dict('list') == {'user': ['a'], 'rating': [5]}
    with pytest.raises(ValueError, match=r"'starz', did you mean 'stars'"):
        read_file(path, roles=roles, named={'rating': 'starz'})
    named = {'user': 'stars', 'item': 'user'}
    swapped = read_file(path, roles=ROLES | roles, named=named)
    assert swapped.to_dict('list') == {'item': ['a'], 'rating': [1], 'user': ['5']}


# The third book has a quote that was escaped by a backslash, as Book-Crossing has it.
SHORT = '"isbn";"title";"year"\n"1";"A";"1999"\n\n"2";"B\\"";C""";"2000"\n"3";"D"\n'


def test_files_that_cannot_be_read_are_named_with_the_line(tmp_path):
    for name, content, match in [
        ('x.xlsx', b'', 'x.xlsx.*csv, .tsv'),
        ('x.csv', b'', 'is empty'),
        ('x.csv', b'user,name\n1,2\n', "no column 'item'.*--item"),
        ('x.csv', b'user,item\n1,2,3\n', '2 columns, but 3 cells in line 2'),
        ('x.csv', b'user,item,year\n1,2,3\n1,2\n', '3 columns, but 2 cells in line 3'),
        ('x.csv', b'user,item\na,b\n"c,d\ne,f\n', 'quote .* line 3 .*line 4'),
        ('x.csv', SHORT.encode(), '3 columns, but 2 cells in line 5'),
        ('x.csv', 'user,item\né,2\n'.encode('latin-1'), 'UTF-8 text in line 2.*cp1252'),
        ('x.csv', 'user,item\né,2\n'.encode('utf-16'), 'UTF-8 .*line 1.*utf-16'),
        ('x.csv', b'PAR1\x15\xc4', 'x.csv.* type .parquet'),
        ('x.csv', b'PK\x03\xff', 'x.csv.* .xlsx'),
        ('x.jsonl', b'[{"user": 1}]', 'line 1 .*array as JSON lines'),
        ('x.jsonl', '{"user": "é"}\n'.encode('latin-1'), 'UTF-8 .*line 1'),
        ('x.csv.gz', 'user,item\n\né,2'.encode('latin-1'), 'x.csv.gz.* gzip file'),
        ('x.csv.gz', gzip.compress(b'user,item\n\n\xe9,2'), 'x.csv.gz.* in line 3'),
        ('x.csv.gz', gzip.compress(SHORT.encode())[:-9], 'x.csv.gz.* gzip file'),
        ('x.parquet.gz', b'', 'must end in .*csv.gz'),
        ('x.csv', b'user,item,item\n1,2,3\n', "2 columns called 'item'"),
        ('x.csv', b'# of 2024\nuser;item\n1;2\n', '1 columns, but 2 cells in line 2'),
        ('x.csv', f'user,item\na,{"x" * 10**6}\n'.encode(), 'after line 2'),
        ('x.jsonl', b'{"user": 1}\n\n[1]\n', 'JSON object in line 3'),
        ('x.jsonl', b'{"user": 1\n', 'JSON object in line 1'),
        ('x.ndjson', b'', 'is empty'),
        ('x.parquet', b'not this', 'x.parquet.* is damaged'),
    ]:
        (tmp_path / name).write_bytes(content)
        roles = {'item': 'item'} if 'isbn' in str(content) else ROLES
        with pytest.raises(ValueError, match=match):
            read_file(tmp_path / name, roles=roles)


def test_no_file_and_no_pyarrow(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r'x\.csv'):
        read_file(tmp_path / 'x.csv', roles=ROLES)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    (tmp_path / 'x.parquet').touch()
    with pytest.raises(ImportError, match=r'x\.parquet.*pyarrow'):
        read_file(tmp_path / 'x.parquet', roles=ROLES)


def test_words_for_nothing_in_lists_are_no_values(tmp_path):
    path = tmp_path / 'movies.csv'
    words = ['(no genres listed)', 'N/A', 'unknown', 'none', 'War|Unknown', '', 'War|']
    path.write_text('item,genres\n' + ''.join(f'1,{w}\n' for w in words))
    with pytest.warns(UserWarning, match=r"movies.*'genres'") as caught:
        frame = read_file(path, roles={'item': 'item'}, lists=['genres'])
    assert frame['genres'].tolist() == [[], [], [], [], ['War'], [], ['War']]
    assert len(caught) == 1
    path.write_text('item,genres\n1,War|Nonesuch\n')
    frame = read_file(path, roles={'item': 'item'}, lists=['genres'])
    assert frame['genres'].tolist() == [['War', 'Nonesuch']]


def test_a_list_separator_that_no_cell_holds_is_named(tmp_path):
    path = tmp_path / 'movies.csv'
    path.write_text('item,genres\n1,"War, Drama"\n2,"War, Love"\n3,War\n4,War\n5,War\n')
    options = {'roles': {'item': 'item'}, 'lists': ['genres']}
    with pytest.warns(UserWarning, match=r"'\|', and 2 of 5 .*-separator ','.*JSON"):
        read_file(path, **options)
    frame = read_file(path, **options, list_separator=',')
    assert [*frame['genres']] == [['War', 'Drama'], ['War', 'Love'], *3 * [['War']]]
    path.write_text('item,genres\n1,War\n')
    assert read_file(path, **options)['genres'].tolist() == [['War']]


def test_lists_that_pandas_has_written_as_texts(tmp_path):
    lists = [['new in', "d'or"], [], ['b|c'], ['c']]
    for make in (list, np.array):
        frame = pd.DataFrame({'item': [*'wxyz'], 'tags': map(make, lists)})
        frame.to_csv(tmp_path / 'x.csv', index=False)
        read = read_file(tmp_path / 'x.csv', roles={'item': 'item'}, lists=['tags'])
        assert read['tags'].tolist() == lists
    texts = ['"[1.5, -2]"', '[a|b', '[ 0.25 -1. ]', '"[\'a 1 2\']"', "\"{'a', 'b'}\""]
    texts += ['"(\'a\',)"', '"{a,b}"', '"[np.float64(0.5), np.float64(1.0)]"']
    rows = '\n'.join(f'{n}, {text}' for n, text in enumerate(texts))
    (tmp_path / 'x.csv').write_text(f'item, tags\n{rows}\n')
    read = read_file(tmp_path / 'x.csv', roles={'item': 'item'}, lists=['tags'])
    made = [[1.5, -2], ['[a', 'b'], [0.25, -1], ['a 1 2'], ['a', 'b'], ['a']]
    assert read['tags'].tolist() == [*made, ['a', 'b'], [0.5, 1]]


def test_json_lines(tmp_path):
    path = tmp_path / 'x.jsonl'
    lines = [
        f'{{"user": {2**53 + 1}, "sku": "é7", "price": 1.5, "tags": ["a", "unknown"]}}',
        '',
        '{"user": 8, "sku": 9, "tags": "b|c", "more": {"x": 1}}',
    ]
    path.write_text('\n'.join(lines), encoding='utf-8')
    packed = tmp_path / 'x.jsonl.gz'
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_columns(packed) == read_columns(path)
    assert read_columns(path) == ['user', 'sku', 'price', 'tags', 'more']
    with pytest.warns(UserWarning, match='unknown'):
        frame = read_file(path, roles=ROLES, id_dtypes={'user': 'int'}, lists=['tags'])
    assert frame['user'].tolist() == [2**53 + 1, 8]
    assert frame['item'].tolist() == ['é7', '9']
    assert frame['price'].dtype == float
    assert frame['tags'].tolist() == [['a'], ['b', 'c']]
    assert frame['more'].tolist()[1] == {'x': 1}


def test_parquet(tmp_path):
    path = tmp_path / 'x.parquet'
    frame = pd.DataFrame({'user': [7, 8], 'item': [1.0, 2.0], 'genre': [['a'], []]})
    write_file(frame, path)
    read = read_file(path, roles=ROLES, lists=['genre'])
    assert read['user'].tolist() == ['7', '8']
    assert read['item'].tolist() == ['1', '2']
    assert [list(cell) for cell in read['genre']] == [['a'], []]
    frame = pd.DataFrame({'user': ['a', 'b'], 'item': ['c', 'd'], 'age': [3, 4]})
    for index in (['user'], ['user', 'item']):
        frame.set_index(index).to_parquet(path)
        read = read_file(path, roles=ROLES)
        pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    frame.set_index(pd.Index([7, 7])).to_parquet(path)
    assert read_file(path, roles=ROLES).index.tolist() == [0, 1]
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.parquet' is damaged"):
        read_file(path, roles=ROLES)


def test_written_files(tmp_path, capsys):
    frame = pd.DataFrame({'user': ['ä', 'b'], 'rating': [1.5, np.nan]})
    for name in ('x.csv', 'x.tsv'):
        write_file(frame, tmp_path / name)
        read = read_file(tmp_path / name, roles={'user': 'user'})
        expected = frame.set_index(pd.Index([2, 3], name='line'))
        pd.testing.assert_frame_equal(read, expected, check_dtype=False)
    write_file(frame, None)
    assert capsys.readouterr().out == 'user,rating\nä,1.5\nb,\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['x.csv', 'x.tsv']
    with pytest.raises(ValueError, match=r'x\.doc'):
        write_file(frame, tmp_path / 'x.doc')
    one = uuid.UUID(int=1)
    write_file(pd.DataFrame({'user': [one]}), tmp_path / 'x.parquet')
    assert pd.read_parquet(tmp_path / 'x.parquet')['user'][0] == str(one)
