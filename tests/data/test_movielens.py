import zipfile

import numpy as np
import pandas as pd
import pytest

from data.movielens import (
    OCCUPATIONS,
    load_ml100k_split,
    read_ml1m,
    read_ml100k,
    read_ml100k_split,
)
from tests.conftest import or_skip

FOLDER = 'recbole/dataset_example/ml-100k/ml-100k.'
WHEEL = {
    f'{FOLDER}inter': 'user_id:token\titem_id:token\trating:float\t'
    'timestamp:float\n2\t9\t3\t881250949\n1\t4\t5\t881250950\n',
    f'{FOLDER}user': 'user_id:token\tage:token\tgender:token\toccupation:token\t'
    'zip_code:token\n2\t24\tM\tnone\t00501\n1\t53\tF\tother\tT8H1N\n',
    f'{FOLDER}item': 'item_id:token\tmovie_title:token_seq\trelease_year:token\t'
    'class:token_seq\n9\t"Toy\t1995\tDrama War\n4\tunkonwn\tunkonwn\tunknown\n'
    '6\tLand\tV\tDrama\n',
    f'{FOLDER}link': 'item_id:token\tentity_id:token\n9\tm.9\n4\tm.4\n',
    f'{FOLDER}kg': 'head_id:token\trelation_id:token\ttail_id:token\n'
    'm.9\tfilm.film.actor\tm.z\nm.4\tfilm.film.directed_by\tm.d\n'
    'm.9\tfilm.film.actor\tm.b\nm.9\tfilm.film.actor\tm.z\n'
    'm.9\tfilm.film.sequel\tm.4\nm.7\tfilm.film.actor\tm.b\n',
}
ML1M = {
    'ml-1m/users.dat': '1::F::1::10::48067\n2::M::56::16::0070072\n',
    'ml-1m/movies.dat': "7::Toy Story (1995)::Animation|Children's\n"
    '9::"Caf\xe9"::Drama\n8::Heat (1999) (1995)::\n',
    'ml-1m/ratings.dat': '2::9::3::978300760\n1::7::5::978302109\n',
}
SPLIT = {
    'ml-100k/u2.base': ''.join(f'{u}\t{u % 3}\t3\t9\n' for u in range(20)),
    'ml-100k/u2.test': '1\t7\t4\t9\n2\t8\t5\t9\n',
}


@pytest.fixture
def make_zip(tmp_path):
    def make(members, changes):
        path = tmp_path / 'toy.zip'
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, text in (members | changes).items():
                if text is not None:
                    archive.writestr(name, text.encode('latin-1'))
        return path

    return make


def csv_of(frame):
    return frame.to_csv(index=False).splitlines()


def test_tables_of_a_small_wheel(make_zip):
    tables = read_ml100k(make_zip(WHEEL, {}))
    header, first = 'user,age,gender,occupation,zip_code', '1,53,F,other,T8H1N'
    assert csv_of(tables.users) == [header, first, '2,24,M,none,00501']
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


def test_tables_of_a_small_archive(make_zip):
    tables = read_ml1m(make_zip(ML1M, {}))
    header, first = 'user,gender,age,occupation,zip_code', '1,F,1,K-12 student,48067'
    assert csv_of(tables.users) == [header, first, '2,M,56,self-employed,0070072']
    items = tables.items
    assert items['item'].tolist() == [7, 9, 8]
    assert items['title'].tolist() == ['Toy Story', '"Café"', 'Heat (1999)']
    np.testing.assert_array_equal(items['year'], [1995, np.nan, 1995])
    assert items['genre'].tolist() == [['Animation', "Children's"], ['Drama'], []]
    rows = ['2,9,3.0,978300760', '1,7,5.0,978302109']
    assert csv_of(tables.ratings) == ['user,item,rating,timestamp', *rows]
    assert len(set(OCCUPATIONS)) == 21


def test_a_published_split_of_a_small_archive(make_zip):
    path = make_zip(SPLIT, {})
    parts = read_ml100k_split(path, 2)
    test = parts.test[['user', 'item', 'rating']]
    assert test.values.tolist() == [[1, 7, 4], [2, 8, 5]]
    assert (len(parts.fit), len(parts.validation)) == (20, 2)


READERS = [
    *[(read_ml100k, WHEEL, name) for name in WHEEL],
    *[(read_ml1m, ML1M, name) for name in ML1M],
    *[(lambda path: read_ml100k_split(path, 2), SPLIT, name) for name in SPLIT],
]


def test_a_missing_or_spoilt_member_is_named(make_zip):
    for read, members, name in READERS:
        text = members[name]
        spoilt = [None, 'noon' + text]
        if read is read_ml100k:
            spoilt += ['', text.replace(':token', ':tok', 1)]
        else:  # a field too many is refused, not dropped
            spoilt += [text.replace('\n', '::more\n' if '::' in text else '\tmore\n')]
        for content in spoilt:
            with pytest.raises(ValueError, match=name.rsplit('/', 1)[1]):
                read(make_zip(members, {name: content}))


@pytest.mark.realdata
def test_u1_is_a_split_of_the_same_ratings(ml100k):
    parts = or_skip(lambda: load_ml100k_split(1))
    assert (len(parts.fit), len(parts.test)) == (80_000, 20_000)
    both = pd.concat([parts.fit, parts.test])
    key = ['user', 'item', 'rating', 'timestamp']
    assert len(both.merge(ml100k.ratings, on=key)) == 100_000
    assert parts.test.iloc[0].tolist() == [1, 6, 5, 887431973]
