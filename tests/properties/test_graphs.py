"""Graphs, draws of neighbours, layers and the model that reads them."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from agnn_pyg import (
    AGNN,
    AttributeEncoder,
    RatingBatch,
    attribute_graph,
)
from agnn_pyg.graph.proximity import num_candidates
from agnn_pyg.sampling.draw import CandidateSets
from tests.conftest import rated_graph
from tests.properties.strategies import (
    attribute_frames,
    edges,
    seeds,
    sparse_matrices,
)


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
    for row, found in enumerate(slot):
        found = found[found >= 0]
        edge = sets.perm[found]
        assert len(set(edge.tolist())) == len(edge)
        assert index[1, edge].eq(row).all()
        assert weight[edge].gt(0).all()
        possible = int(((index[1] == row) & (weight > 0)).sum())
        assert len(edge) == min(size, possible)
    order = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(sets.draw(node[order], size, seed, epoch), slot[order])


def rated(frames, seed):
    """Rows of users and items with ratings of random pairs of them."""
    rng = np.random.default_rng(seed)
    sizes = [len(frame) for frame, _ in frames]
    user, item = (rng.random(sizes) < rng.random()).nonzero()
    if not len(user):
        user = item = np.zeros(1, int)
    rating = rng.integers(1, 6, len(user))
    pairs = torch.from_numpy(np.stack([user, item]))
    return pairs, torch.from_numpy(rating).float()


small = attribute_frames(min_size=2, max_size=6)
sides = st.tuples(small, small)


@pytest.mark.filterwarnings('ignore:.*(o value of|as no value in) column')
@given(sides, seeds, st.booleans())
def test_predictions_are_finite_and_follow_their_pairs(frames, seed, messages):
    encoded = [AttributeEncoder(kinds).fit_transform(frame) for frame, kinds in frames]
    index, rating = rated(frames, seed)
    rates = ('user', 'rates', 'item')
    bags = dict(zip(('user', 'item'), encoded, strict=True))
    data = rated_graph(bags, index, rating, candidate_fraction=0.5)
    torch.manual_seed(seed)
    model = AGNN.from_data(data, rates, messages, channels=4).eval()

    def predicted(pairs):
        data[rates].edge_label_index = pairs
        with torch.no_grad():
            return model(*RatingBatch.from_data(data)[:-1])

    # Pairs without a rating, whose prediction takes no rating away.
    every = torch.cartesian_prod(*(torch.arange(b.num_nodes) for b in encoded)).t()
    known = set(map(tuple, index.t().tolist()))
    known = torch.tensor([pair in known for pair in map(tuple, every.t().tolist())])
    assert torch.isfinite(predicted(every)).all()
    every = every[:, ~known]
    order = torch.randperm(every.size(1))
    first = predicted(every)
    assert first.size() == (every.size(1),)
    assert torch.allclose(predicted(every[:, order]), first[order], atol=1e-4)
