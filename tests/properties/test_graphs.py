"""Graphs, draws of neighbors, layers and the model that reads them."""

import numpy as np
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from agnn_pyg import attribute_graph
from agnn_pyg.graph.proximity import num_candidates
from agnn_pyg.sampling.draw import CandidateSets
from tests.properties.strategies import edges, seeds, sparse_matrices


@given(sparse_matrices(), seeds, st.floats(0.01, 1), st.booleans())
def test_candidates_lie_inside_the_graph(matrix, seed, fraction, rated):
    attributes = scipy.sparse.csr_matrix(matrix)
    ratings = attributes[:, ::-1] if rated else None
    graph = attribute_graph(
        attributes, ratings, candidate_fraction=fraction, seed=seed % 10
    )
    source, target = graph.edge_index
    assert graph.num_nodes == len(matrix)
    assert graph.edge_index.numel() == 0 or source.max() < len(matrix)
    assert not (source == target).any()
    assert torch.equal(target, target.sort().values)
    assert torch.isfinite(graph.edge_weight).all()
    assert (graph.edge_weight > 0).all()
    size = num_candidates(len(matrix) - 1, fraction, 500)
    assert target.bincount(minlength=len(matrix)).le(size).all()
    pairs = set(zip(source.tolist(), target.tolist(), strict=True))
    assert len(pairs) == len(source)
    # Without attributes and ratings all are equally far.
    alone = np.flatnonzero(~matrix.any(axis=1))
    assert not np.isin(target, alone).any()


@given(edges(), st.integers(0, 5), seeds, st.integers(0, 3))
def test_draws_are_distinct_edges_of_the_node(graph, size, seed, epoch):
    num_nodes, index, weight = graph
    sets = CandidateSets(index, weight, num_nodes)
    node = torch.arange(num_nodes)
    slot = sets.draw(node, size, seed, epoch)
    assert slot.size() == (num_nodes, size)
    for row, found in enumerate(slot):
        count = int((found >= 0).sum())
        assert found[count:].eq(-1).all()  # Drawn slots come first.
        edge = sets.perm[found[:count]]
        assert len(set(edge.tolist())) == len(edge)
        assert index[1, edge].eq(row).all()
        assert weight[edge].gt(0).all()
        possible = int(((index[1] == row) & (weight > 0)).sum())
        assert len(edge) == min(size, possible)
    order = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(sets.draw(node[order], size, seed, epoch), slot[order])
