from functools import partial

import pytest
import torch

from agnn_pyg.prediction import predict
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.full_graph import FullGraphLoader
from tests.agnn_pyg.sampling.test_full_graph import link_loader

RATES = ('user', 'rates', 'item')


@pytest.fixture(params=[None, RATES])
def model(tiny_model, request):
    return tiny_model(dropout=0.5, rated=request.param)


@pytest.fixture
def loader(tiny_graph, tiny_pairs):
    """Makes batches with few edges of each node."""
    return partial(link_loader, tiny_graph, *tiny_pairs, [2], batch_size=9)


def test_predictions_are_repeatable_means_over_draws(model, loader, device):
    model, loader, singles = model.to(device), loader(), []
    for epoch in range(3):
        loader.link_sampler.set_epoch(epoch)
        with torch.no_grad():
            batches = (RatingBatch.from_data(batch).to(device) for batch in loader)
            parts = [model(*batch[:-1]).cpu() for batch in batches]
        singles.append(torch.cat(parts))
    assert not torch.equal(singles[0], singles[1])
    model.train()
    loader.link_sampler.set_epoch(5)
    found = predict(model, loader, 3)
    assert torch.allclose(found, torch.stack(singles).double().mean(0), atol=1e-6)
    assert model.training
    torch.manual_seed(1)
    assert torch.equal(predict(model, loader, 3), found)
    assert found.device.type == 'cpu'
    assert not found.requires_grad
    low, high = found.quantile(0.3).item(), found.quantile(0.6).item()
    clamped = predict(model, loader, 3, rating_range=(low, high))
    assert torch.equal(clamped, found.clamp(low, high))
    assert predict(model, []).tolist() == []


def test_failures_restore_the_mode_and_unfit_arguments_are_refused(model, loader):
    model.train()
    with pytest.raises(ZeroDivisionError):
        predict(model, (1 / 0 for _ in range(1)))
    assert all(module.training for module in model.modules())
    with pytest.raises(ValueError, match=r"'num_neighbor_samples'.*0"):
        predict(model, loader(), 0)
    with pytest.raises(ValueError, match=r"'rating_range'.*\(5, 1\)"):
        predict(model, loader(), rating_range=(5, 1))
    with pytest.raises(ValueError, match=r"'loader'.*FullGraphLoader"):
        predict(model, object.__new__(FullGraphLoader))
    with pytest.raises(ValueError, match=r"'loader'.*shuffle"):
        predict(model, loader(shuffle=True))
