import numpy as np
import pytest
import scipy.sparse
import torch

from agnn_pyg.graph.build import attribute_graph, cold_candidates


def matrix(num_rows, seed=0):
    rng = np.random.default_rng(seed)
    return scipy.sparse.csr_matrix((rng.random((num_rows, 7)) < 0.4) * 1.0)


def candidates(edges, node):
    (source, target), weight = edges
    own = target == node
    return dict(zip(source[own].tolist(), weight[own].tolist(), strict=True))


def test_a_new_node_gets_the_candidates_of_a_rebuilt_graph():
    old, new = matrix(30), matrix(4, seed=1)
    options = {'candidate_fraction': 0.3}
    edges = cold_candidates(new, old, **options)
    assert torch.equal(edges[0][1], edges[0][1].sort().values)
    for node in range(4):
        whole = attribute_graph(scipy.sparse.vstack([old, new[node]]), **options)
        expected = candidates((whole.edge_index, whole.edge_weight), 30)
        found = candidates(edges, node)
        # Ties may be broken otherwise.
        assert sorted(found.values()) == pytest.approx(sorted(expected.values()))
        for source in set(found) & set(expected):
            assert found[source] == pytest.approx(expected[source])


def test_candidates_do_not_depend_on_other_new_nodes(monkeypatch):
    old, new = matrix(30), matrix(5, seed=1)
    together = cold_candidates(new, old, seed=3)
    for node in range(5):
        alone = cold_candidates(new[node], old, seed=3)
        assert candidates(alone, 0) == candidates(together, node)
    monkeypatch.setattr('agnn_pyg.graph.build.BLOCK_ENTRIES', 40)
    again = cold_candidates(new, old, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(again, together, strict=True))
    # Equal nodes have equal candidates, ties included.
    twins = cold_candidates(scipy.sparse.vstack([new[0], new[0]]), old, seed=3)
    assert candidates(twins, 0) == candidates(twins, 1)


def test_no_new_nodes_and_nothing_in_common():
    empty = cold_candidates(matrix(0), matrix(30))
    assert empty[0].size() == (2, 0)
    alone = scipy.sparse.csr_matrix((1, 7))
    assert cold_candidates(alone, matrix(30))[1].size() == (0,)


def test_bad_arguments():
    for options in ({'candidate_fraction': 0}, {'max_candidates': 0}, {'seed': -1}):
        with pytest.raises(ValueError, match=f"'{next(iter(options))}'"):
            cold_candidates(matrix(1), matrix(3), **options)
