import pytest
import torch
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg.sampling.loader import RatingLoader
from agnn_pyg.sampling.nodes import NodeSource
from agnn_pyg.sampling.sampler import ProximitySampler
from agnn_pyg.scoring import embed_nodes, predict, score_all

SIDES = ('user', 'item')
OPTIONS = {'batch_size': 7, 'num_neighbors': 3, 'seed': 5}


@pytest.fixture
def model(tiny_model):
    return tiny_model(dropout=0.5)


@pytest.fixture
def loader(tiny_graph, tiny_pairs):
    return RatingLoader(tiny_graph, *tiny_pairs, batch_size=9, num_neighbors=2)


def test_predictions_are_repeatable_means_over_draws(model, loader, device):
    model = model.to(device)
    singles = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        with torch.no_grad():
            parts = [model(*batch.to(device)[:-1]).cpu() for batch in loader]
        singles.append(torch.cat(parts))
    assert not torch.equal(singles[0], singles[1])
    model.train()
    loader.set_epoch(5)
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


def link_loader(graph, index, **kwargs):
    kinds = [(side, 'rating_knn', side) for side in SIDES]
    sampler = ProximitySampler(graph, {kind: [2] for kind in kinds})
    rates = 'user', 'rates', 'item'
    return LinkNeighborLoader(
        graph,
        [2],
        edge_label_index=(rates, index),
        neighbor_sampler=sampler,
        batch_size=9,
        **kwargs,
    )


def test_either_loader_gives_the_same_predictions(
    model, loader, tiny_graph, tiny_pairs
):
    other = link_loader(tiny_graph, tiny_pairs[0])
    assert torch.equal(predict(model, loader, 3), predict(model, other, 3))


def test_a_failure_restores_the_mode(model, loader):
    def fail(*args):
        raise RuntimeError('broken')

    model.train()
    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match='broken'):
        predict(model, loader)
    assert all(module.training for module in model.modules())


def test_unfit_arguments_are_refused(model, loader, tiny_graph, tiny_pairs):
    with pytest.raises(ValueError, match=r"'num_neighbor_samples'.*0"):
        predict(model, loader, 0)
    for shuffled in (
        RatingLoader(tiny_graph, tiny_pairs[0], shuffle=True),
        link_loader(tiny_graph, tiny_pairs[0], shuffle=True),
    ):
        with pytest.raises(ValueError, match=r"'loader'.*shuffle"):
            predict(model, shuffled)


@pytest.mark.parametrize('hidden', [0, 6])
@pytest.mark.parametrize('numel', [2**17, 6, 40])
def test_all_pairs_are_scored_as_one_by_one(
    hidden, numel, tiny_model, tiny_graph, monkeypatch, device
):
    monkeypatch.setattr('agnn_pyg.scoring.BLOCK_NUMEL', numel)
    model = tiny_model(hidden_channels=hidden).to(device)
    users, items = torch.tensor([11, 0, 4]), torch.tensor([3, 14, 2, 9, 7])
    nodes = {side: NodeSource.from_data(tiny_graph, side) for side in SIDES}
    ends = embed_nodes(model, nodes, users, items, num_neighbor_samples=3, **OPTIONS)
    found = torch.cat([*score_all(model, *ends, block_size=2)])
    assert found.size() == (3, 5)
    pairs = torch.cartesian_prod(users, items).t().contiguous()
    expected = predict(model, RatingLoader(nodes, pairs, **OPTIONS), 3).view(3, 5)
    assert torch.allclose(found.cpu().double(), expected, atol=1e-5)
