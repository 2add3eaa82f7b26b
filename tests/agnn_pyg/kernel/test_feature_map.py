import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg import AttributeEncoder, attribute_relations
from agnn_pyg.kernel import feature_map as module
from agnn_pyg.kernel.feature_map import RelationMap


@pytest.fixture
def films():
    rng = np.random.default_rng(0)
    genres = np.array(['war', 'love', 'sea', 'moon', 'law'])
    frame = pd.DataFrame(
        {
            'genre': [
                list(rng.choice(genres, n, replace=False))
                for n in rng.integers(0, 4, 60)
            ],
            'land': rng.choice(['FR', 'JP', 'US', None], 60),
            'year': rng.integers(1950, 2000, 60).astype(float),
        }
    )
    encoder = AttributeEncoder(list(frame.columns), num_knots=4)
    return frame, encoder, encoder.fit_transform(frame)


def similarity(relations, name):
    x = relations.x[:, relations.relation == relations.names.index(name)]
    return x @ x.t()


@pytest.mark.parametrize('rank', [8, 100])
def test_the_nodes_it_was_fitted_on_are_as_alike_as_ever(films, rank):
    """Up to the directions that are left out of a relation of too many values."""
    _, encoder, attributes = films
    expected = attribute_relations(encoder, attributes, rank)
    made = RelationMap(encoder, attributes, rank)(attributes)
    assert made.names == expected.names
    assert torch.equal(made.relation, expected.relation)
    tolerance = 1e-5 if rank == 100 else 0.05
    for name in made.names:
        found, wanted = similarity(made, name), similarity(expected, name)
        assert (found - wanted).norm() < tolerance * wanted.norm()


def test_a_node_is_the_same_whoever_else_there_is(films, monkeypatch):
    _, encoder, attributes = films
    made = RelationMap(encoder, attributes.take(slice(40)), rank=8)
    whole = made(attributes).x
    monkeypatch.setattr(module, 'BLOCK_NODES', 7)
    torch.testing.assert_close(made(attributes).x, whole)
    torch.testing.assert_close(made(attributes.take(slice(50, 51))).x, whole[50:51])


def test_values_that_nobody_fitted_has_make_a_node_like_nobody(films):
    frame, encoder, attributes = films
    made = RelationMap(encoder, attributes)
    strange = pd.DataFrame({'genre': [['opera'], []], 'land': ['XX', None]})
    strange['year'] = np.nan
    x = made(encoder.transform(strange)).x
    assert (x[:, 0] == 1).all()
    assert not x[:, 1:].any()
    # A film of one known genre and a new one is as the known one alone.
    some = frame.iloc[[0, 0]].assign(genre=[['war'], ['war', 'opera']])
    one, other = made(encoder.transform(some)).x
    assert torch.equal(one, other)


def test_a_column_that_no_fitted_node_has_is_no_relation(films):
    frame, encoder, attributes = films
    without = encoder.transform(frame.assign(land=None))
    names = RelationMap(encoder, without)(attributes).names
    assert names == ('all', 'genre', 'year', 'genre × year', 'genre × genre')


def test_round_trip(films):
    _, encoder, attributes = films
    made = RelationMap(encoder, attributes, rank=8)
    again = RelationMap.from_dict(encoder, made.to_dict(), made.tensors())
    assert torch.equal(again(attributes).x, made(attributes).x)
