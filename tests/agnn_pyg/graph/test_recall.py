import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Data

from agnn_pyg import attribute_graph
from agnn_pyg.graph.recall import candidate_recall


@pytest.fixture
def attributes():
    rng = np.random.default_rng(0)
    return scipy.sparse.csr_matrix(rng.random((40, 6)))


def test_whole_candidate_sets_have_recall_one(attributes):
    assert (
        candidate_recall(attribute_graph(attributes, candidate_fraction=1), attributes)
        == 1
    )
    ties = scipy.sparse.csr_matrix(np.eye(4)[np.arange(40) % 4])
    assert (
        candidate_recall(attribute_graph(ties, candidate_fraction=0.1), ties, k=4) == 1
    )


def test_missing_candidates_lower_the_recall(attributes):
    graph = attribute_graph(attributes, candidate_fraction=0.25)  # ten each
    assert graph.num_edges == 400
    best = graph.edge_weight.view(40, 10).argsort(dim=1, descending=True)
    for lost, recall in ((best[:, :3], 0.7), (best[:, 4:], 0.4)):
        kept = torch.ones(40, 10, dtype=torch.bool).scatter_(1, lost, False).flatten()
        less = graph.clone()
        less.edge_index = graph.edge_index[:, kept]
        assert candidate_recall(less, attributes) == pytest.approx(recall)


def test_ratings_are_compared_too(attributes):
    ratings = scipy.sparse.csr_matrix(np.random.default_rng(1).random((40, 5)))
    graph = attribute_graph(attributes, ratings, candidate_fraction=0.25)
    assert candidate_recall(graph, attributes, ratings) == 1
    assert candidate_recall(graph, attributes) < 0.9


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'k': 0}, "'k'.*0"),
        ({'num_nodes': 0}, "'num_nodes'.*0"),
    ],
)
def test_bad_arguments(attributes, options, match):
    with pytest.raises(ValueError, match=match):
        candidate_recall(attribute_graph(attributes), attributes, **options)


def test_a_graph_of_other_nodes(attributes):
    graph = attribute_graph(attributes[:30])
    with pytest.raises(ValueError, match=r"'graph'.*40.*30"):
        candidate_recall(graph, attributes)


def test_candidates_without_anything_in_common_are_not_found():
    pairs = scipy.sparse.csr_matrix(np.eye(20)[np.arange(40) // 2])
    target = torch.arange(40).repeat_interleave(3)
    source = (target + torch.tensor([2, 4, 6]).repeat(40)) % 40
    graph = Data(edge_index=torch.stack([source, target]), num_nodes=40)
    assert candidate_recall(graph, pairs) == 0
