import zipfile

import numpy as np
import pytest

from data.movielens_1m import OCCUPATIONS, read_ml1m

MEMBERS = {
    'users': '1::F::1::10::48067\n2::M::56::16::0070072\n',
    'movies': '7::Toy Story (1995)::Animation|Children\'s\n9::"Caf\xe9"::Drama\n'
    '8::Heat (1999) (1995)::\n',
    'ratings': '2::9::3::978300760\n1::7::5::978302109\n',
}


@pytest.fixture
def make_archive(tmp_path):
    def make(**changes):
        path = tmp_path / 'ml-1m.zip'
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, text in (MEMBERS | changes).items():
                if text is not None:
                    archive.writestr(f'ml-1m/{name}.dat', text.encode('latin-1'))
        return path

    return make


def test_small_archive(make_archive):
    tables = read_ml1m(make_archive())
    assert tables.users.to_dict('list') == {
        'user': [1, 2],
        'gender': ['F', 'M'],
        'age': [1, 56],
        'occupation': ['K-12 student', 'self-employed'],
        'zip_code': ['48067', '0070072'],
    }
    items = tables.items
    assert items['item'].tolist() == [7, 9, 8]
    assert items['title'].tolist() == ['Toy Story', '"Café"', 'Heat (1999)']
    np.testing.assert_array_equal(items['year'], [1995, np.nan, 1995])
    assert items['genre'].tolist() == [['Animation', "Children's"], ['Drama'], []]
    assert tables.ratings.to_dict('list') == {
        'user': [2, 1],
        'item': [9, 7],
        'rating': [3, 5],
        'timestamp': [978300760, 978302109],
    }


def test_every_occupation_has_a_name():
    assert len(set(OCCUPATIONS)) == 21


@pytest.mark.parametrize('name', MEMBERS)
def test_missing_or_spoilt_member(make_archive, name):
    with pytest.raises(ValueError, match=rf"holds no 'ml-1m/{name}\.dat'"):
        read_ml1m(make_archive(**{name: None}))
    with pytest.raises(ValueError, match='has no rows'):
        read_ml1m(make_archive(**{name: ''}))
    with pytest.raises(ValueError, match=rf"'ml-1m/{name}\.dat'"):
        read_ml1m(make_archive(**{name: 'noon' + MEMBERS[name]}))
    # A field too many is refused, not dropped.
    with pytest.raises(ValueError, match=rf"'ml-1m/{name}\.dat'"):
        read_ml1m(make_archive(**{name: MEMBERS[name].replace('\n', '::more\n')}))


def test_unknown_occupation(make_archive):
    with pytest.raises(ValueError, match=r"'occupation' must .*0 to 20 \(got 21\)"):
        read_ml1m(make_archive(users=MEMBERS['users'].replace('::10::', '::21::')))


def test_damaged_archive(make_archive, tmp_path):
    path = make_archive()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r'ml-1m\.zip is damaged'):
        read_ml1m(path)
    with pytest.raises(ValueError, match="no file at 'archive'"):
        read_ml1m(tmp_path / 'nowhere.zip')


def test_a_number_beyond_all_bounds(make_archive):
    text = f'2::9::3::{"9" * 400}\n'
    with pytest.raises(ValueError, match='cannot read user, item, rating'):
        read_ml1m(make_archive(ratings=text))
