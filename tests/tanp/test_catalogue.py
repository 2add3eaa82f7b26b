"""Scores of all items at once equal those of a forward pass."""

import dataclasses

import pytest
import torch

from tanp.catalogue import Catalogue
from tests.tanp.conftest import VARIANTS, poisoned, whole


def wild(model):
    """A model in evaluation mode, far from where it starts."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model.double().eval()


@pytest.fixture
def batch(tasks):
    """Supports of users that the fit does not know; an item counts twice."""
    parts = {'num_support': torch.tensor([1, 4, 3]), 'user': torch.tensor([4, 5, 5])}
    chosen = tasks.select(torch.tensor([4, 2, 5]))
    item = chosen.item.clone()
    item[6] = item[5]
    return whole(dataclasses.replace(chosen, item=item, **parts))


@pytest.mark.parametrize('likelihood', ['bernoulli', 'gaussian'])
@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('channels', [(6, 5), (6,), (6, 5, 5, 4)])
def test_a_catalogue_is_scored_as_a_query(small, batch, variant, likelihood, channels):
    model = wild(small(variant, likelihood=likelihood, decoder_channels=channels))
    catalogue = Catalogue(model)
    expected = catalogue.plain(model, batch)
    assert expected.std() > 0.01
    assert torch.allclose(catalogue(model, batch), expected, atol=1e-9)
    # Neither padding nor the query is read.
    blind = batch._replace(query_label=torch.full_like(batch.query_label, torch.nan))
    assert torch.allclose(catalogue(model, poisoned(blind)), expected, atol=1e-9)


def test_users_of_the_model_and_new_ones(small, batch, attributes, monkeypatch):
    model = wild(small('attentive', user_ids=True, item_attributes=attributes))
    catalogue, first = Catalogue(model), batch._replace(user=torch.arange(3))
    served = model.for_users(torch.tensor([4, -1, 5]))
    expected = catalogue.plain(served, first)
    assert torch.allclose(catalogue(served, first), expected, atol=1e-9)
    known = catalogue(model, batch)
    assert torch.allclose(expected[[0, 2]], known[[0, 2]], atol=1e-9)
    assert not torch.allclose(expected[1], known[1], atol=1e-3)
    # New users need no forward pass over all items, whatever is known of them.
    monkeypatch.delattr(Catalogue, 'plain')
    new = model.for_users(torch.full((3,), -1))
    assert torch.allclose(catalogue(new, first)[1], expected[1], atol=1e-9)
