import json
import zipfile

import pytest

from data.lastfm import read_lastfm

MEMBERS = {'interaction_dict_x': {'7': ['30', '4'], '2': ['4', '5', '30']}}
MEMBERS |= {'interaction_dict_y': {'7': [1, 0], '2': [0, 1, 1]}}
MEMBERS |= {'user_list': ['2', '9', '7'], 'item_list': ['30', '4', '5']}


def test_a_small_archive_keeps_the_order_of_the_source(tmp_path):
    path = tmp_path / 'toy.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('data/lastfm_20/training_dict_x.pkl', b'never read')
        for name, content in MEMBERS.items():
            archive.writestr(f'data/lastfm_20/{name}.json', json.dumps(content))
    tables = read_lastfm(path)
    assert tables.users['user'].tolist() == [2, 9, 7]
    assert tables.items['item'].tolist() == [30, 4, 5]
    rows = [[2, 4, 0], [2, 5, 1], [2, 30, 1], [7, 30, 1], [7, 4, 0]]
    assert tables.ratings[['user', 'item', 'rating']].values.tolist() == rows
    assert tables.ratings['rating'].dtype == float


@pytest.mark.realdata
def test_lastfm(lastfm):
    assert repr(lastfm) == 'RatingTables(users=1,872, items=3,846, ratings=42,346)'
    assert lastfm.users['user'].head(3).tolist() == [1101, 532, 205]
    assert lastfm.items['item'].head(3).tolist() == [2269, 1101, 2590]
    assert lastfm.ratings['rating'].sum() == 21_173
    size = lastfm.ratings.groupby('user').size()
    assert (size >= 30).sum() == 354
    assert size.max() == 56
