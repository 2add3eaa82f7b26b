import json
import zipfile

import pytest

from data.lastfm import load_lastfm, read_lastfm

MEMBERS = {
    'interaction_dict_x': {'7': ['30', '4'], '2': ['4', '5', '30']},
    'interaction_dict_y': {'7': [1, 0], '2': [0, 1, 1]},
    'user_list': ['2', '9', '7'],
    'item_list': ['30', '4', '5'],
}


@pytest.fixture
def make_archive(tmp_path):
    def make(**changes):
        path = tmp_path / 'toy.zip'
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('data/lastfm_20/training_dict_x.pkl', b'never read')
            for name, content in (MEMBERS | changes).items():
                if content is None:
                    continue
                text = content if isinstance(content, str) else json.dumps(content)
                archive.writestr(f'data/lastfm_20/{name}.json', text)
        return path

    return make


def test_small_archive_keeps_the_order_of_the_source(make_archive):
    tables = read_lastfm(make_archive())
    assert tables.users['user'].tolist() == [2, 9, 7]
    assert tables.items['item'].tolist() == [30, 4, 5]
    assert tables.ratings.to_dict('list') == {
        'user': [2, 2, 2, 7, 7],
        'item': [4, 5, 30, 30, 4],
        'rating': [0, 1, 1, 1, 0],
    }
    assert tables.ratings['rating'].dtype == float


@pytest.mark.parametrize('name', MEMBERS)
def test_missing_or_spoilt_member(make_archive, name):
    with pytest.raises(ValueError, match=rf"holds no '.*{name}\.json'"):
        read_lastfm(make_archive(**{name: None}))
    with pytest.raises(ValueError, match=f"'{name}' is no JSON"):
        read_lastfm(make_archive(**{name: '{"7": [1,'}))
    with pytest.raises(ValueError, match=f"'{name}' must"):
        read_lastfm(make_archive(**{name: 3}))
    with pytest.raises(ValueError, match=r'longer than 16,777,216 bytes'):
        read_lastfm(make_archive(**{name: ' ' * (16 * 2**20 + 1)}))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'interaction_dict_y': {'7': [1, 0], '2': [0, 1]}},
            'user 2 has 3 .* 2 labels',
        ),
        ({'interaction_dict_y': {'7': [1, 0], '2': [0, 1, 2]}}, r'0 and 1 \(got 2'),
        ({'interaction_dict_y': {'7': [1, 0], '2': [0, 1, 10**400]}}, '0 and 1'),
        ({'user_list': '[' + '9' * 5000 + ']'}, "'user_list' is no JSON"),
        ({'interaction_dict_y': {'7': [1, 0], '2': [0, 1, 0.5]}}, 'whole numbers'),
        ({'interaction_dict_x': {'7': ['30', '4']}}, 'name different users'),
        ({'user_list': ['2', '9']}, 'name different users'),
        ({'user_list': ['2', '9', 'x']}, "'user_list' must .* whole numbers"),
        ({'user_list': ['2', '9', '7', '9']}, "'users' repeats 1 id"),
        ({'item_list': ['30', '4']}, "1 item id.*'items' does not hold"),
    ],
)
def test_members_that_do_not_fit_together(make_archive, changes, message):
    with pytest.raises(ValueError, match=message):
        read_lastfm(make_archive(**changes))


def test_damaged_archive(make_archive, tmp_path):
    path = make_archive()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r'toy\.zip is damaged'):
        read_lastfm(path)
    with pytest.raises(ValueError, match="no file at 'archive'"):
        read_lastfm(tmp_path / 'nowhere.zip')


def test_corrupt_download_is_no_archive_of_ours(tmp_path, monkeypatch):
    # What lies in the mirror under the right name must have the right content.
    (tmp_path / 'mirror' / 'lastfm_20').mkdir(parents=True)
    (tmp_path / 'mirror' / 'lastfm_20' / 'data.zip').write_bytes(b'garbage')
    monkeypatch.setenv('COLDSTART_MIRROR', str(tmp_path / 'mirror'))
    monkeypatch.setattr('data.lastfm.ADDRESS', (tmp_path / 'data.zip').as_uri())
    with pytest.raises(RuntimeError, match=r'could not fetch data\.zip') as caught:
        load_lastfm(cache=tmp_path / 'cache')
    assert 'sha256 differs' in str(caught.value)


@pytest.mark.realdata
def test_lastfm(lastfm):
    assert repr(lastfm) == 'RatingTables(users=1,872, items=3,846, ratings=42,346)'
    assert lastfm.users['user'].head(3).tolist() == [1101, 532, 205]
    assert lastfm.items['item'].head(3).tolist() == [2269, 1101, 2590]
    assert lastfm.ratings['rating'].sum() == 21_173
    size = lastfm.ratings.groupby('user').size()
    assert (size >= 30).sum() == 354
    assert size.max() == 56
