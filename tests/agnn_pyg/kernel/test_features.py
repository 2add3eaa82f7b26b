import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.kernel import features as module
from agnn_pyg.kernel.features import MAX_FEATURES, KernelFeatures

FILMS = pd.DataFrame({'genre': [['war'], ['war', 'sea'], ['sea'], [], ['war']]})
FILMS['land'] = ['FR', 'FR', 'JP', 'JP', None]


def encode(frame, **options):
    encoder = AttributeEncoder(list(frame.columns), **options)
    return encoder.fit_transform(frame), encoder


def fit(frame, num_knots=8):
    """The feature maps of a table, fitted on all of its rows."""
    bags, encoder = encode(frame, num_knots=num_knots)
    return KernelFeatures().fit(bags, encoder.column_encoders).transform(bags)


def kernel(maps, name):
    x = maps.x[:, maps.component == maps.names.index(name)]
    return x @ x.t()


def cosine(values):
    bags = [
        set(v) if isinstance(v, list) else {v} if isinstance(v, str) else set()
        for v in values
    ]
    return torch.tensor(
        [[len(a & b) / max(1, (len(a) * len(b)) ** 0.5) for b in bags] for a in bags]
    )


def random_films(count=60):
    rng = np.random.default_rng(0)
    genres = np.array(['war', 'love', 'sea', 'moon', 'law'])
    sizes = rng.integers(0, 4, count)
    return pd.DataFrame(
        {
            'genre': [list(rng.choice(genres, n, replace=False)) for n in sizes],
            'land': rng.choice(['FR', 'JP', 'US', None], count),
            'year': rng.integers(1950, 2000, count).astype(float),
        }
    )


def wide(num_columns, num_values, multi=False, num_nodes=600):
    """A table of columns in which all values occur."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame()
    for k in range(num_columns):
        value = (rng.permutation(num_nodes) % num_values).astype(str)
        pairs = [[*pair] for pair in zip(value, value[::-1], strict=True)]
        frame[f'c{k}'] = pairs if multi else value
    return frame


def test_kernels_are_cosines_and_their_products():
    maps = fit(FILMS)
    genre, land = cosine(FILMS['genre']), cosine(FILMS['land'])
    expected = {'genre': genre, 'land': land, 'genre × land': genre * land}
    expected |= {'genre × genre': genre**2}
    assert maps.names == ('constant', *expected)
    assert (kernel(maps, 'constant') == 1).all()
    assert torch.equal(maps.component, maps.component.sort().values)
    for name, matrix in expected.items():
        scaled = matrix / matrix.diag().mean()
        torch.testing.assert_close(kernel(maps, name), scaled)
    expected = torch.stack([kernel(maps, name)[1] for name in maps.names], dim=1)
    torch.testing.assert_close(maps.kernel(maps.x[1]), expected)  # of one node with all


def test_near_numbers_are_alike():
    maps = fit(pd.DataFrame({'year': np.linspace(1950, 2000, 51)}), num_knots=11)
    row = kernel(maps, 'year')[25]
    assert row[24:27].min() > row[35] > row[45]
    assert row[50] < 0.01 * row[25]


def test_projection_is_the_best_of_its_rank(monkeypatch):
    films = random_films()
    full = fit(films)
    monkeypatch.setattr(module, 'RANK', 8)
    reduced = fit(films)
    assert torch.bincount(reduced.component).max() == 8
    for name in full.names[1:]:
        value, vector = torch.linalg.eigh(kernel(full, name))
        best = (vector[:, -8:] * value[-8:]) @ vector[:, -8:].t()
        best /= best.diag().mean()
        assert (kernel(reduced, name) - best).norm() < 0.02 * best.norm()


def test_features_depend_on_own_attributes_only(monkeypatch):
    bags, encoder = encode(random_films())
    monkeypatch.setattr(module, 'RANK', 8)
    features = KernelFeatures()
    features.fit(bags.take(slice(40)), encoder.column_encoders)
    whole = features.transform(bags).x
    monkeypatch.setattr(module, 'BLOCK_NODES', 7)
    torch.testing.assert_close(features.transform(bags).x, whole)
    one = features.transform(bags.take(slice(50, 51))).x
    torch.testing.assert_close(one, whole[50:51])


@pytest.mark.filterwarnings("ignore:'frame' holds values that are not in the fit")
def test_what_is_unknown_has_the_mean_features_of_the_fit():
    films = random_films()
    bags, encoder = encode(films)
    features = KernelFeatures().fit(bags, encoder.column_encoders)
    strange = pd.DataFrame({'genre': [['opera'], []], 'land': ['XX', None]})
    mean = features.transform(bags).x.mean(dim=0)
    maps = features.transform(encoder.transform(strange.assign(year=np.nan)))
    torch.testing.assert_close(maps.x[0], mean)
    # Cells such as those that were missing in the fit are known to be missing.
    is_year = maps.component == maps.names.index('year')
    known = torch.where(is_year | (maps.component == 0), mean, 0.0)
    torch.testing.assert_close(maps.x[1], known)
    both = films.iloc[[0, 0]].assign(genre=[['war'], ['war', 'opera']])
    one, other = features.transform(encoder.transform(both)).x
    assert torch.equal(one, other)
    # An empty column has no component.
    without = encoder.transform(films.assign(land=None))
    features = KernelFeatures().fit(without, encoder.column_encoders)
    assert features.names == ('genre', 'year', 'genre × year', 'genre × genre')


def test_number_of_features_is_bounded():
    """All columns are kept; pairs have the room that is left, first columns first."""
    maps = fit(wide(12, 30))
    assert maps.x.size(1) == MAX_FEATURES
    assert maps.names[1:13] == tuple(f'c{k}' for k in range(12))
    assert maps.names[13:] == tuple(f'c0 × c{k}' for k in range(1, 5))
    width = torch.bincount(maps.component).tolist()
    assert width[:13] == [1] + 12 * [30]
    assert width[13:] == [64, 64, 64, MAX_FEATURES - 361 - 3 * 64]


def test_columns_divide_the_features(monkeypatch):
    for columns, max_features, width in (
        ((12, 30), 100, [1] + 9 * [8] + 3 * [9]),
        ((5, 3), 4, [1, 1, 1, 1]),
        ((3, 3), 1, [1]),
        ((3, 80, True), MAX_FEATURES, [1] + 9 * [64]),
    ):
        monkeypatch.setattr(module, 'MAX_FEATURES', max_features)
        maps = fit(wide(*columns))
        assert torch.bincount(maps.component).tolist() == width


def test_pairs_of_long_lists_take_features(monkeypatch):
    """The square of the cosines, from as few features as the lists need."""
    frame = wide(1, 4, multi=True)
    full = fit(frame)
    monkeypatch.setattr(module, 'MAX_PRODUCTS', 100)
    bags, encoder = encode(frame)
    features = KernelFeatures().fit(bags, encoder.column_encoders)
    short = features.transform(bags)
    for name in full.names:
        torch.testing.assert_close(kernel(short, name), kernel(full, name))
    again = KernelFeatures.from_state(features.state_dict())
    assert torch.equal(again.transform(bags).x, short.x)
    monkeypatch.setattr(module, 'PAIR_RANK', 2)
    assert kernel(fit(frame), 'c0 × c0').allclose(kernel(full, 'c0 × c0')) is False
