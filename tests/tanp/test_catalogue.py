"""Scores of all items at once equal those of a forward pass."""

import dataclasses

import pytest
import torch

from tanp.model import NeuralProcess
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
    catalogue = model.catalogue()
    expected = model.score_all(batch)
    assert expected.std() > 0.01
    # Neither padding nor the query is read.
    blind = batch._replace(query_label=torch.full_like(batch.query_label, torch.nan))
    for one in (batch, poisoned(blind)):
        assert torch.allclose(model.score_all(one, catalogue), expected, atol=1e-9)


def test_users_of_the_model_and_new_ones(small, batch, attributes, monkeypatch):
    model = wild(small('attentive', user_ids=True, item_attributes=attributes))
    catalogue, first = model.catalogue(), batch._replace(user=torch.arange(3))
    served = model.for_users(torch.tensor([4, -1, 5]))
    expected = served.score_all(first)
    assert torch.allclose(served.score_all(first, catalogue), expected, atol=1e-9)
    # It does not depend on the last of these users, who may be one of the fit.
    other = model.for_users(torch.tensor([-1, 0])).catalogue()
    assert torch.equal(other.hidden, catalogue.hidden)
    known = model.score_all(batch, catalogue)
    assert torch.allclose(expected[[0, 2]], known[[0, 2]], atol=1e-9)
    assert not torch.allclose(expected[1], known[1], atol=1e-3)
    # New users need no forward pass over all items, whatever is known of them.
    monkeypatch.delattr(NeuralProcess, 'score_all')
    found = model.for_users(torch.full((3,), -1)).score_all(first, catalogue)
    assert torch.allclose(found[1], expected[1], atol=1e-9)
