"""What batches of rated pairs cost: the library's loader beside PyG's."""

import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg import AddAttributeKNN, ProximitySampler, RatingLoader
from data.zipf import FILMS, PEOPLE, zipf_bags, zipf_ratings

RATED = ('user', 'rates', 'item')


@pytest.fixture(scope='module')
def graph():
    """A graph of the size of MovieLens-100K."""
    users, items = zipf_bags(943, PEOPLE)[0], zipf_bags(1682, FILMS, seed=1)[0]
    pairs, rating = zipf_ratings(users, items, 100_000, seed=2)
    data = HeteroData()
    data['user'].x, data['item'].x = torch.from_numpy(users), torch.from_numpy(items)
    data[RATED].edge_index = torch.from_numpy(pairs)
    data[RATED].rating = torch.from_numpy(rating).float()
    return AddAttributeKNN(rated=RATED)(data)


@pytest.mark.parametrize('batch_size', [128, 1024])
def test_loaders(batch_size, graph, record, in_turn):
    """An epoch's first 10,000 pairs by either loader, in turn."""
    index = graph[RATED].edge_index[:, :10_000]
    label = graph[RATED].rating[:10_000]
    ours = RatingLoader(graph, index, label, batch_size=batch_size)
    sampler = ProximitySampler(graph, [10])
    theirs = LinkNeighborLoader(
        graph,
        num_neighbors=[10],
        neighbor_sampler=sampler,
        edge_label_index=(RATED, index),
        edge_label=label,
        batch_size=batch_size,
    )
    loaders = {'RatingLoader': ours, 'LinkNeighborLoader': theirs}
    calls = {name: lambda x=x: [None for _ in x] for name, x in loaders.items()}
    for name, seconds in in_turn(calls, rounds=3).items():
        measures = {'batch_ms': 1e3 * seconds / len(loaders[name])}
        record('loader', {'loader': name, 'batch': batch_size}, **measures)
