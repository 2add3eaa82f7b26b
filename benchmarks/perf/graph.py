"""What attribute graphs cost as tables grow, and batches of rated pairs on them."""

import statistics

import scipy.sparse
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg import AddAttributeKNN, FullGraphLoader, ProximitySampler
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.graph.build import attribute_graph
from benchmarks.perf import in_turn, timed
from data.zipf import FILMS, PEOPLE, zipf_bags, zipf_ratings

COLUMNS = {'films': FILMS, 'people': PEOPLE}
NODES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
RATED = ('user', 'rates', 'item')


def growth(table, nodes, is_rated):
    """One graph, once: some take minutes."""
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
    yield {'table': name, 'nodes': nodes}, measures | {'edges': graph.num_edges}


def loaders(batch_size):
    """Steps on a whole graph of the size of MovieLens-100K, beside PyG's loader."""
    users, items = zipf_bags(943, PEOPLE)[0], zipf_bags(1682, FILMS, seed=1)[0]
    pairs, rating = map(torch.from_numpy, zipf_ratings(users, items, 100_000, seed=2))
    data, label = HeteroData(), rating.float()
    data['user'].x, data['item'].x = torch.from_numpy(users), torch.from_numpy(items)
    data[RATED].edge_index, data[RATED].rating = pairs, label
    graph = AddAttributeKNN(rated=RATED)(data)
    options = {'edge_label_index': (RATED, pairs), 'edge_label': label}
    options |= {'neighbor_sampler': ProximitySampler(graph, [10])}
    loaders = (
        FullGraphLoader(graph, RATED, batch_size=batch_size),
        LinkNeighborLoader(graph, [10], batch_size=batch_size, **options),
    )
    calls = {loader: lambda x=loader: [None for _ in x] for loader in loaders}
    for loader, seconds in in_turn(calls).items():
        batch_ms = 1e3 * statistics.median(seconds) / len(loader)
        case = {'loader': type(loader).__name__, 'batch': batch_size}
        yield case, {'batch_ms': batch_ms}


CASES = [
    *(('graph', growth, table, nodes, False) for table in COLUMNS for nodes in NODES),
    *(('graph', growth, 'films', nodes, True) for nodes in NODES[:3]),
    *(('loader', loaders, size) for size in (1024, 16384)),
]
