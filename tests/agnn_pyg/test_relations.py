import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg import AttributeEncoder, attribute_relations

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
