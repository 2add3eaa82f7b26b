import math

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch

from agnn_pyg.graph.build import attribute_graph, cold_candidates
from tests.agnn_pyg.graph.test_sparse_knn import (
    assert_best_candidates,
    weights_by_the_formula,
)


def multi_hot(rows, num_tokens):
    """A matrix of ones from lists of tokens."""
    matrix = np.zeros((len(rows), num_tokens))
    for row, tokens in enumerate(rows):
        matrix[row, tokens] = 1
    return scipy.sparse.csr_matrix(matrix)


def random_matrix(shape, density, seed, empty_rows=()):
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(0.5, 5, shape) * (rng.random(shape) < density)
    matrix[list(empty_rows)] = 0
    return scipy.sparse.csr_matrix(matrix)


def binary(num_rows, seed=0):
    rng = np.random.default_rng(seed)
    return scipy.sparse.csr_matrix((rng.random((num_rows, 7)) < 0.4) * 1.0)


def candidates(edge_index, edge_weight, num_nodes):
    """The candidate set of each node as a dictionary from candidate to weight."""
    found = [{} for _ in range(num_nodes)]
    edges = zip(edge_index.t().tolist(), edge_weight.tolist(), strict=True)
    for (source, target), weight in edges:
        found[target][source] = weight
    return found


def assert_same_graph(one, other):
    assert torch.equal(one.edge_index, other.edge_index)
    assert torch.equal(one.edge_weight, other.edge_weight)


@pytest.mark.parametrize('with_ratings', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_candidates_match_a_loop_over_the_formula(with_ratings, seed):
    attributes = random_matrix((17, 9), 0.5, seed, empty_rows=[4])
    ratings = None
    if with_ratings:
        ratings = random_matrix((17, 11), 0.4, seed + 100, empty_rows=[0, 4, 9])
    expected = weights_by_the_formula(attributes, ratings)
    for options, size in (({}, 5), ({'max_candidates': 3}, 3)):
        graph = attribute_graph(attributes, ratings, candidate_fraction=0.3, **options)
        assert_best_candidates(graph, expected, size)


@pytest.mark.parametrize('block_size', [1, 7, 29, 30, 64])
def test_block_size_changes_nothing(block_size, monkeypatch):
    rng = np.random.default_rng(0)
    attributes = multi_hot([rng.choice(6, 2, replace=False) for _ in range(30)], 6)
    ratings = random_matrix((30, 11), 0.3, 5, empty_rows=[2, 29])
    expected = attribute_graph(attributes, ratings, candidate_fraction=0.2)
    monkeypatch.setattr('agnn_pyg.graph.build.BLOCK_ROWS', block_size)
    actual = attribute_graph(attributes, ratings, candidate_fraction=0.2)
    assert_same_graph(actual, expected)


@pytest.mark.parametrize(('dense_nodes', 'size'), [(10_000, 1), (0, 3)])
def test_ties_are_broken_evenly_and_repeat_under_one_seed(
    dense_nodes, size, monkeypatch
):
    """Also where nodes with equal rows are grouped."""
    monkeypatch.setattr('agnn_pyg.graph.build.DENSE_NODES', dense_nodes)
    # Of node 0's eleven others, seven in two groups are equally close.
    matrix = np.zeros((12, 2))
    matrix[:8, 0], matrix[8:, 1] = [1, 1, 2, 1, 2, 1, 1, 1], 1
    options = {'attributes': scipy.sparse.csr_matrix(matrix)}
    options |= {'candidate_fraction': size / 11}
    chosen = np.zeros(12)
    for seed in range(600):
        graph = attribute_graph(**options, seed=seed)
        chosen[graph.edge_index[0, graph.edge_index[1] == 0]] += 1
    assert chosen[1:8].sum() == chosen.sum() == 600 * size
    assert scipy.stats.chisquare(chosen[1:8]).pvalue > 1e-3
    assert_same_graph(graph, attribute_graph(**options, seed=599))


def test_identical_nodes_are_each_others_candidates():
    graph = attribute_graph(multi_hot([[0, 1]] * 5, 2), candidate_fraction=1)
    found = candidates(graph.edge_index, graph.edge_weight, 5)
    assert found == [{j: 1 for j in range(5) if j != i} for i in range(5)]
    graph = attribute_graph(multi_hot([[0]] * 2, 1), candidate_fraction=0.05)
    assert candidates(graph.edge_index, graph.edge_weight, 2) == [{1: 1}, {0: 1}]


def test_attribute_graph_refuses():
    for kwargs, match in (
        ({'attributes': multi_hot([], 2)}, "'attributes'.*0"),
        ({'attributes': multi_hot([[0]], 2)}, "'attributes'.*1"),
        ({'attributes': random_matrix((3, 3), 1, 0) * np.inf}, "'attributes'.*NaN"),
        ({'candidate_fraction': 0}, r"'candidate_fraction'.*got 0"),
        ({'candidate_fraction': math.nan}, "'candidate_fraction'.*nan"),
        ({'method': 'faiss'}, r"'method'.*'faiss'"),
        ({'max_candidates': 0}, "'max_candidates'.*0"),
        ({'seed': -1}, "'seed'.*-1"),
        ({'ratings': random_matrix((4, 3), 1, 0)}, "'ratings'.*3.*4"),
        ({'ratings': random_matrix((3, 3), 1, 0) * np.nan}, "'ratings'.*NaN"),
    ):
        with pytest.raises(ValueError, match=match):
            attribute_graph(**{'attributes': multi_hot([[0]] * 3, 1)} | kwargs)
    for options in ({'candidate_fraction': 0}, {'max_candidates': 0}, {'seed': -1}):
        with pytest.raises(ValueError, match=f"'{next(iter(options))}'"):
            cold_candidates(binary(1), binary(3), **options)


def test_a_new_node_gets_the_candidates_of_a_rebuilt_graph():
    old, new = binary(30), binary(4, seed=1)
    options = {'candidate_fraction': 0.3}
    edges = cold_candidates(new, old, **options)
    assert torch.equal(edges[0][1], edges[0][1].sort().values)
    for node, found in enumerate(candidates(*edges, 4)):
        whole = attribute_graph(scipy.sparse.vstack([old, new[node]]), **options)
        expected = candidates(whole.edge_index, whole.edge_weight, 31)[30]
        # Ties may be broken otherwise.
        assert sorted(found.values()) == pytest.approx(sorted(expected.values()))
        for source in set(found) & set(expected):
            assert found[source] == pytest.approx(expected[source])


def test_candidates_do_not_depend_on_other_new_nodes(monkeypatch):
    old, new = binary(30), binary(5, seed=1)
    together = cold_candidates(new, old, seed=3)
    for node, expected in enumerate(candidates(*together, 5)):
        alone = cold_candidates(new[node], old, seed=3)
        assert candidates(*alone, 1) == [expected]
    monkeypatch.setattr('agnn_pyg.graph.build.BLOCK_ENTRIES', 40)
    again = cold_candidates(new, old, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(again, together, strict=True))
    # Equal nodes have equal candidates, ties included.
    twins = cold_candidates(scipy.sparse.vstack([new[0], new[0]]), old, seed=3)
    one, other = candidates(*twins, 2)
    assert one == other


def test_no_new_nodes_and_nothing_in_common():
    empty = cold_candidates(binary(0), binary(30))
    assert empty[0].size() == (2, 0)
    alone = scipy.sparse.csr_matrix((1, 7))
    assert cold_candidates(alone, binary(30))[1].size() == (0,)
