import h5py
import numpy as np
import pytest

from data.public import PUBLIC, load_public, read_public
from tests.conftest import or_skip


@pytest.fixture
def path(tmp_path):
    """Three users and five items, stored as MATLAB does: columns first."""
    rating = np.arange(1.0, 16).reshape(3, 5)
    fit = np.zeros((3, 5))
    fit[:, :4] = 1
    graph = np.zeros((3, 3))
    graph[0, 2] = graph[2, 0] = 1
    with h5py.File(tmp_path / 'douban.mat', 'w') as file:
        file['M'], file['Otraining'] = rating.T, fit.T
        file['Otest'], file['W_users'] = np.eye(3, 5, 4).T, graph.T
    return tmp_path / 'douban.mat'


def test_ratings_and_side_graphs_of_a_small_file(path):
    tables, parts = read_public(path, 'douban', seed=0)
    assert tables.users['neighbor'].tolist() == [[2], [], [0]]
    assert tables.items.columns.tolist() == ['item']
    assert parts.test.values.tolist() == [[0, 4, 5]]
    assert parts.fit['rating'].tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14]


def test_a_sparse_side_graph_is_read_alike(path):
    with h5py.File(path, 'a') as file:
        del file['W_users']
        group = file.create_group('W_users')
        group.attrs['MATLAB_sparse'] = 3
        group['data'] = np.ones(2)
        group['ir'], group['jc'] = [2, 0], [0, 1, 1, 2]
    tables, _ = read_public(path, 'douban')
    assert tables.users['neighbor'].tolist() == [[2], [], [0]]


@pytest.mark.parametrize('key', ['M', 'Otest', 'W_users'])
def test_a_missing_or_misshapen_matrix_is_refused(path, key):
    with h5py.File(path, 'a') as file:
        del file[key]
    with pytest.raises(ValueError, match=r'douban\.mat'):
        read_public(path, 'douban')
    with h5py.File(path, 'a') as file:
        file[key] = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r'douban\.mat'):
        read_public(path, 'douban')


@pytest.mark.realdata
@pytest.mark.parametrize(
    ('name', 'num_fit', 'num_test', 'mean'),
    [
        ('flixster', 23_556, 2_617, 3.762255),
        ('douban', 123_202, 13_689, 3.693208),
        ('yahoo_music', 4_802, 533, 71.906092),
    ],
)
def test_published_splits(name, num_fit, num_test, mean):
    tables, parts = or_skip(lambda: load_public(name))
    assert (len(tables.users), len(tables.items)) == (3000, 3000)
    assert (len(parts.fit), len(parts.test)) == (num_fit, num_test)
    assert tables.ratings['rating'].mean() == pytest.approx(mean)
    for side in PUBLIC[name][1]:
        assert getattr(tables, f'{side}s')['neighbor'].map(len).sum() > 2000
