"""Measures the cost of attribute graphs by the size of tables."""

import pytest
import scipy.sparse
import torch

from agnn_pyg import attribute_graph
from agnn_pyg.base.encoder import TokenBags
from benchmarks.perf.conftest import timed
from data.zipf import FILMS, PEOPLE, zipf_bags, zipf_ratings

COLUMNS = {'films': FILMS, 'people': PEOPLE}
NODES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
CASES = [(table, nodes, False) for table in COLUMNS for nodes in NODES]
CASES += [('films', nodes, True) for nodes in NODES if nodes <= 100_000]


def cost(table, nodes, is_rated):
    """CPU seconds, peak memory and edges of a graph."""
    bags, num_tokens = zipf_bags(nodes, COLUMNS[table])
    ratings = None
    if is_rated:  # five users per film, and twenty ratings per user
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
    """Builds each graph once in its own process; some take minutes."""
    once('graph', cost, table, nodes, is_rated)
