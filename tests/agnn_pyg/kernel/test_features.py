import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg import AttributeEncoder, attribute_relations
from agnn_pyg.kernel.feature_map import RelationMap
from agnn_pyg.kernel.features import MAX_FEATURES

FILMS = pd.DataFrame(
    {
        'genre': [['war'], ['war', 'sea'], ['sea'], [], ['war']],
        'land': ['FR', 'FR', 'JP', 'JP', None],
    }
)


@pytest.fixture
def films():
    encoder = AttributeEncoder(list(FILMS.columns))
    return attribute_relations(encoder, encoder.fit_transform(FILMS))


def similarity(relations, name):
    x = relations.x[:, relations.relation == relations.names.index(name)]
    return x @ x.t()


def cosine(values):
    bags = [
        set(v) if isinstance(v, list) else {v} if isinstance(v, str) else set()
        for v in values
    ]
    return torch.tensor(
        [[len(a & b) / max(1, (len(a) * len(b)) ** 0.5) for b in bags] for a in bags]
    )


def normed(matrix):
    return matrix / matrix.diag().mean()


def test_a_columns_relation_is_the_cosine(films):
    for name in FILMS:
        expected = normed(cosine(FILMS[name]))
        torch.testing.assert_close(similarity(films, name), expected)


def test_a_pairs_relation_is_the_product_of_cosines(films):
    genre, land = cosine(FILMS['genre']), cosine(FILMS['land'])
    torch.testing.assert_close(similarity(films, 'genre × land'), normed(genre * land))
    torch.testing.assert_close(similarity(films, 'genre × genre'), normed(genre**2))


def test_the_first_relation_joins_all(films):
    assert films.names[0] == 'all'
    assert (similarity(films, 'all') == 1).all()
    assert torch.equal(films.relation, films.relation.sort().values)


def test_near_numbers_are_alike():
    years = pd.DataFrame({'year': np.linspace(1950, 2000, 51)})
    encoder = AttributeEncoder(['year'], num_knots=11)
    relations = attribute_relations(encoder, encoder.fit_transform(years))
    row = similarity(relations, 'year')[25]
    assert row[24:27].min() > row[35] > row[45]
    assert row[50] < 0.01 * row[25]


def test_reduced_features_keep_the_similarities():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({'a': rng.choice(9, 80), 'b': rng.choice(8, 80)}, dtype=str)
    encoder = AttributeEncoder(['a', 'b'])
    made = [
        attribute_relations(encoder, encoder.fit_transform(frame), rank)
        for rank in (100, 40)
    ]
    full, reduced = (similarity(r, 'a × b') for r in made)
    assert torch.equal(
        made[1].x, attribute_relations(encoder, encoder.transform(frame), 40).x
    )
    assert (full - reduced).norm() < 0.3 * full.norm()


def test_nothing_is_known_of_anybody():
    frame = pd.DataFrame({'genre': [[], []], 'land': [None, None]})
    encoder = AttributeEncoder({'genre': 'multi', 'land': 'categorical'})
    relations = attribute_relations(encoder, encoder.fit_transform(frame))
    assert relations.names == ('all',)


def wide(num_columns, num_values, kind='categorical', num_nodes=120):
    """Columns in which all values occur."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame()
    for k in range(num_columns):
        value = (rng.permutation(num_nodes) % num_values).astype(str)
        column = [[*pair] for pair in zip(value, value[::-1], strict=True)]
        frame[f'c{k}'] = column if kind == 'multi' else value
    encoder = AttributeEncoder(dict.fromkeys(frame.columns, kind))
    return encoder, encoder.fit_transform(frame)


def both(encoder, attributes, **kwargs):
    made = attribute_relations(encoder, attributes, **kwargs)
    mapped = RelationMap(encoder, attributes, **kwargs)(attributes)
    assert mapped.names == made.names
    assert torch.equal(mapped.relation, made.relation)
    return made


def test_features_of_many_columns_are_bounded():
    """All columns are kept, and of the pairs those of the first columns."""
    made = both(*wide(12, 30))
    assert made.x.size(1) == MAX_FEATURES
    assert made.names[1:13] == tuple(f'c{k}' for k in range(12))
    assert made.names[13:] == tuple(f'c0 × c{k}' for k in range(1, 5))
    width = torch.bincount(made.relation).tolist()
    assert width[:13] == [1] + 12 * [30]
    assert width[13:] == [64, 64, 64, MAX_FEATURES - 361 - 3 * 64]


def test_columns_share_what_there_is_too_little_of():
    made = both(*wide(12, 30), max_features=100)
    assert made.names == ('all', *(f'c{k}' for k in range(12)))
    assert torch.bincount(made.relation).tolist() == [1] + 9 * [8] + 3 * [9]
    few = both(*wide(5, 3), max_features=4)
    assert few.names == ('all', 'c0', 'c1', 'c2')
    assert both(*wide(3, 3), max_features=1).names == ('all',)


def test_of_three_columns_nothing_is_cut_off():
    """Not even of the largest: multi-valued ones, each paired with itself, too."""
    columns = wide(3, 80, 'multi')
    made = both(*columns)
    assert made.x.size(1) == MAX_FEATURES
    assert torch.bincount(made.relation).tolist() == [1] + 9 * [64]
    unbounded = attribute_relations(*columns, max_features=10**6)
    assert torch.equal(made.x, unbounded.x)
    assert made.names == unbounded.names


@pytest.mark.parametrize('make', [attribute_relations, RelationMap])
def test_a_bound_is_positive(make):
    with pytest.raises(ValueError, match=r"'max_features' must be positive \(got 0\)"):
        make(*wide(2, 3), max_features=0)
