import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Data

from agnn_pyg import attribute_graph
from agnn_pyg.graph.recall import pool_recall


@pytest.fixture
def attributes():
    rng = np.random.default_rng(0)
    return scipy.sparse.csr_matrix(rng.random((40, 6)))


def test_whole_pools_miss_nothing(attributes):
    assert pool_recall(attribute_graph(attributes, pool=1), attributes) == 1
    ties = scipy.sparse.csr_matrix(np.eye(4)[np.arange(40) % 4])
    assert pool_recall(attribute_graph(ties, pool=0.1), ties, k=4) == 1


def test_what_was_taken_away_is_missed(attributes):
    graph = attribute_graph(attributes, pool=0.25)  # ten each
    assert graph.num_edges == 400
    best = graph.edge_weight.view(40, 10).argsort(dim=1, descending=True)
    for lost, recall in ((best[:, :3], 0.7), (best[:, 4:], 0.4)):
        kept = torch.ones(40, 10, dtype=torch.bool).scatter_(1, lost, False).flatten()
        less = graph.clone()
        less.edge_index = graph.edge_index[:, kept]
        assert pool_recall(less, attributes) == pytest.approx(recall)


def test_a_node_alone_has_nothing_to_miss():
    alone = scipy.sparse.csr_matrix(np.eye(3))
    graph = attribute_graph(alone)
    assert graph.num_edges == 0
    assert pool_recall(graph, alone) == 1


def test_ratings_count(attributes):
    ratings = scipy.sparse.csr_matrix(np.random.default_rng(1).random((40, 5)))
    graph = attribute_graph(attributes, ratings, pool=0.25)
    assert pool_recall(graph, attributes, ratings) == 1
    assert pool_recall(graph, attributes) < 0.9


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'k': 0}, r"'k' must be at least 1 \(got 0\)"),
        ({'num_nodes': 0}, r"'num_nodes' must be at least 1 \(got 0\)"),
    ],
)
def test_bad_arguments(attributes, options, match):
    with pytest.raises(ValueError, match=match):
        pool_recall(attribute_graph(attributes), attributes, **options)


def test_a_graph_of_other_nodes(attributes):
    graph = attribute_graph(attributes[:30])
    with pytest.raises(ValueError, match=r"'graph' must be of the 40 nodes .*got 30"):
        pool_recall(graph, attributes)


def test_candidates_without_anything_in_common_are_not_found():
    pairs = scipy.sparse.csr_matrix(np.eye(20)[np.arange(40) // 2])
    target = torch.arange(40).repeat_interleave(3)
    source = (target + torch.tensor([2, 4, 6]).repeat(40)) % 40
    graph = Data(edge_index=torch.stack([source, target]), num_nodes=40)
    assert pool_recall(graph, pairs) == 0


def test_edges_may_be_in_any_order(attributes):
    graph = attribute_graph(attributes, pool=0.25)
    mixed = graph.clone()
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    mixed.edge_index = graph.edge_index[:, order]
    assert pool_recall(mixed, attributes, k=5) == pool_recall(graph, attributes, k=5)
