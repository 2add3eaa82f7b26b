import zipfile

import numpy as np
import pandas as pd
import pytest

from data.movielens import read_ml100k

FOLDER = 'recbole/dataset_example/ml-100k/ml-100k.'
MEMBERS = {
    'inter': 'user_id:token\titem_id:token\trating:float\ttimestamp:float\n'
    '2\t9\t3\t881250949\n1\t4\t5\t881250950\n',
    'user': 'user_id:token\tage:token\tgender:token\toccupation:token\t'
    'zip_code:token\n2\t24\tM\tnone\t00501\n1\t53\tF\tother\tT8H1N\n',
    'item': 'item_id:token\tmovie_title:token_seq\trelease_year:token\t'
    'class:token_seq\n9\t"Toy\t1995\tDrama War\n4\tunkonwn\tunkonwn\tunknown\n'
    '6\tLand\tV\tDrama\n',
    'link': 'item_id:token\tentity_id:token\n9\tm.9\n4\tm.4\n',
    'kg': 'head_id:token\trelation_id:token\ttail_id:token\n'
    'm.9\tfilm.film.actor\tm.z\nm.4\tfilm.film.directed_by\tm.d\n'
    'm.9\tfilm.film.actor\tm.b\nm.9\tfilm.film.actor\tm.z\n'
    'm.9\tfilm.film.sequel\tm.4\nm.7\tfilm.film.actor\tm.b\n',
}


@pytest.fixture
def make_wheel(tmp_path):
    def make(**changes):
        path = tmp_path / 'toy.whl'
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, text in (MEMBERS | changes).items():
                if text is not None:
                    archive.writestr(FOLDER + name, text)
        return path

    return make


def test_small_wheel(make_wheel):
    tables = read_ml100k(make_wheel())
    assert tables.users.to_dict('list') == {
        'user': [1, 2],
        'age': [53, 24],
        'gender': ['F', 'M'],
        'occupation': ['other', 'none'],
        'zip_code': ['T8H1N', '00501'],
    }
    items = tables.items
    assert items['item'].tolist() == [4, 6, 9]
    assert items['title'].tolist() == ['unkonwn', 'Land', '"Toy']
    np.testing.assert_array_equal(items['year'], [np.nan, np.nan, 1995])
    assert items['genre'].tolist() == [[], ['Drama'], ['Drama', 'War']]
    assert items['star'].tolist() == [[], [], ['m.z', 'm.b']]
    assert items['director'].tolist() == [['m.d'], [], []]
    for name in ('writer', 'country', 'language', 'company'):
        assert items[name].tolist() == [[], [], []]
    assert items['company'][0] is not items['company'][1]
    assert tables.ratings['user'].tolist() == [2, 1]


@pytest.mark.parametrize('name', MEMBERS)
def test_missing_member_or_column(make_wheel, name):
    with pytest.raises(ValueError, match=rf"holds no '.*ml-100k\.{name}'"):
        read_ml100k(make_wheel(**{name: None}))
    spoilt = MEMBERS[name].replace(':token', ':tok', 1)
    with pytest.raises(ValueError, match=rf"of '.*ml-100k\.{name}' .*_id:token"):
        read_ml100k(make_wheel(**{name: spoilt}))
    with pytest.raises(ValueError, match=rf"of '.*ml-100k\.{name}'"):
        read_ml100k(make_wheel(**{name: ''}))


def test_unreadable_cell(make_wheel):
    spoilt = MEMBERS['inter'].replace('881250950', 'noon')
    with pytest.raises(ValueError, match=r'(?s)ml-100k\.inter.*noon'):
        read_ml100k(make_wheel(inter=spoilt))


def test_damaged_wheel(make_wheel, tmp_path):
    path = make_wheel(inter=MEMBERS['inter'] + '2\t4\t1\t88125\n' * 999)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'toy\.whl is damaged'):
        read_ml100k(path)
    start = content.index(b'ml-100k.inter') + len('ml-100k.inter')
    content[start + 5 : start + 15] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'damaged|cannot read'):
        read_ml100k(path)
    with pytest.raises(ValueError, match="no file at 'wheel'"):
        read_ml100k(tmp_path / 'nowhere.whl')


@pytest.mark.realdata
def test_ml100k_users_and_ratings(ml100k):
    assert repr(ml100k) == 'RatingTables(users=943, items=1,682, ratings=100,000)'
    assert ml100k.users['user'].tolist() == list(range(1, 944))
    assert ml100k.items['item'].tolist() == list(range(1, 1683))
    assert ml100k.users['occupation'].nunique() == 21
    assert ml100k.users['gender'].value_counts().to_dict() == {'M': 670, 'F': 273}
    assert ml100k.users['zip_code'].str.len().eq(5).all()

    ratings = ml100k.ratings
    assert ratings.index.equals(pd.RangeIndex(100_000))
    assert ratings.iloc[0].tolist() == [196, 242, 3, 881250949]
    assert ratings.iloc[-1].tolist() == [12, 203, 3, 879959583]
    assert ratings['rating'].dtype == float
    counts = ratings['rating'].value_counts().sort_index()
    assert counts.tolist() == [6_110, 11_370, 27_145, 34_174, 21_201]


@pytest.mark.realdata
def test_ml100k_films(ml100k):
    items = ml100k.items.set_index('item')
    assert items.loc[1, 'title'] == 'Toy Story'
    assert items.loc[1, 'genre'] == ['Animation', "Children's", 'Comedy']
    assert items.loc[1, 'director'] == ['m.04jspq']
    assert items.index[items['year'].isna()].tolist() == [267, 1412]
    assert items.index[items['genre'].map(len) == 0].tolist() == [267, 1373]

    lists = items.drop(columns=['title', 'year'])
    assert lists.map(lambda cell: len(cell) == len(set(cell))).all(axis=None)
    covered = lists.map(len).gt(0).sum().to_dict()
    distinct = {name: lists[name].explode().nunique() for name in lists}
    assert covered == {
        'genre': 1680,
        'director': 1590,
        'writer': 1336,
        'star': 1565,
        'country': 1593,
        'language': 1588,
        'company': 880,
    }
    assert distinct == {
        'genre': 18,
        'director': 1131,
        'writer': 1759,
        'star': 27262,
        'country': 68,
        'language': 92,
        'company': 251,
    }


def test_a_year_that_is_none(make_wheel):
    text = MEMBERS['item'].replace('1995', '19x5')
    with pytest.raises(ValueError, match="'release_year' must hold years"):
        read_ml100k(make_wheel(item=text))
