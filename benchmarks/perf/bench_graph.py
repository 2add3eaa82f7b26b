"""What attribute graphs cost as tables grow, and batches of rated pairs on them."""

import pytest
import scipy.sparse
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg import (
    AddAttributeKNN,
    FullGraphLoader,
    ProximitySampler,
    attribute_graph,
)
from agnn_pyg.base.encoder import TokenBags
from benchmarks.perf.conftest import timed
from data.zipf import FILMS, PEOPLE, zipf_bags, zipf_ratings

COLUMNS = {'films': FILMS, 'people': PEOPLE}
NODES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
CASES = [(table, nodes, False) for table in COLUMNS for nodes in NODES]
CASES += [('films', nodes, True) for nodes in NODES if nodes <= 100_000]
RATED = ('user', 'rates', 'item')


def cost(table, nodes, is_rated):
    """CPU seconds, peak memory and edges of a graph."""
    bags, num_tokens = zipf_bags(nodes, COLUMNS[table])
    ratings = None
    if is_rated:  # five users a film, and twenty ratings a user
        users, _ = zipf_bags(5 * nodes, PEOPLE, seed=1)
        pairs, rating = zipf_ratings(users, bags, 100 * nodes, seed=2)
        entries = rating, (pairs[1], pairs[0])
        ratings = scipy.sparse.csr_matrix(entries, (nodes, len(users)))
    index, is_value = torch.from_numpy(bags), torch.arange(num_tokens) > 0
    matrix = TokenBags(index, (index > 0).float(), is_value).multi_hot()
    graph, measures = timed(lambda: attribute_graph(matrix, ratings))
    name = f'{table} by attributes' + ' and ratings' * is_rated
    return {'table': name, 'nodes': nodes}, measures | {'edges': graph.num_edges}


@pytest.mark.parametrize(('table', 'nodes', 'is_rated'), CASES)
def test_graph(table, nodes, is_rated, once):
    """One graph, once, in a process of its own: some take minutes."""
    once('graph', cost, table, nodes, is_rated)


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


@pytest.mark.parametrize('batch_size', [1024, 16384])
def test_loaders(batch_size, graph, record, in_turn):
    """Steps on the whole graph beside batches of PyG's loader, in turn."""
    index, label = graph[RATED].edge_index, graph[RATED].rating
    options = {'num_neighbors': [10], 'batch_size': batch_size}
    options |= {'edge_label_index': (RATED, index), 'edge_label': label}
    sampler = ProximitySampler(graph, [10])
    loaders = {
        'FullGraphLoader': FullGraphLoader(graph, RATED, batch_size=batch_size),
        'LinkNeighborLoader': LinkNeighborLoader(
            graph, neighbor_sampler=sampler, **options
        ),
    }
    calls = {name: lambda x=x: [None for _ in x] for name, x in loaders.items()}
    for name, seconds in in_turn(calls, rounds=3).items():
        measures = {'batch_ms': 1e3 * seconds / len(loaders[name])}
        record('loader', {'loader': name, 'batch': batch_size}, **measures)
