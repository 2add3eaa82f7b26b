import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch

from agnn_pyg import attribute_graph
from agnn_pyg.base.linalg import unit_rows
from agnn_pyg.graph import sparse_knn as sparse_knn
from agnn_pyg.graph.duplicates import group
from agnn_pyg.graph.proximity import num_candidates, proximity


def bags(num_nodes, vocabularies, seed, empty=()):
    """A multi-hot matrix: of each vocabulary one token, low ones more often."""
    rng = np.random.default_rng(seed)
    parts = []
    for size in vocabularies:
        chance = 1 / np.arange(1, size + 1)
        token = rng.choice(size, num_nodes, p=chance / chance.sum())
        parts.append(np.eye(size)[token])
    matrix = np.concatenate(parts, axis=1)
    matrix[list(empty)] = 0
    return scipy.sparse.csr_matrix(matrix)


def some_ratings(num_nodes, num_items, seed):
    """Ratings of two thirds of the nodes."""
    rng = np.random.default_rng(seed)
    rated = rng.random((num_nodes, num_items)) < 0.3
    rated &= rng.random((num_nodes, 1)) < 0.67
    return scipy.sparse.csr_matrix(rated * rng.uniform(1, 5, rated.shape))


def cosines(matrix):
    matrix = matrix.toarray()
    length = np.linalg.norm(matrix, axis=1)
    matrix = matrix / np.where(length > 0, length, 1)[:, None]
    return matrix @ matrix.T


def weights_by_the_formula(attributes, ratings):
    """Weights of all pairs, one node at a time, from AGNN's definition."""
    num_nodes = attributes.shape[0]
    parts = [(cosines(attributes), np.ones(num_nodes, dtype=bool))]
    if ratings is not None:
        parts.append((cosines(ratings), np.diff(ratings.indptr) > 0))
    weights = np.zeros((num_nodes, num_nodes))
    for i in range(num_nodes):
        others = np.arange(num_nodes) != i
        score = np.zeros(num_nodes)
        for cosine, known in parts:
            among = others & known
            if known[i] and cosine[i, among].std() > 1e-9:
                values = cosine[i, among]
                score[among] += (values - values.mean()) / values.std()
        weights[i, others] = score[others] - score[others].min()
    return weights


def candidates_of(graph, node):
    inside = graph.edge_index[1] == node
    return graph.edge_index[0, inside].numpy(), graph.edge_weight[inside].numpy()


def assert_best_candidates(graph, weights, size, proportional=False):
    """Up to ties; weights of a node may be off by a factor."""
    assert torch.equal(graph.edge_index[1], graph.edge_index[1].sort().values)
    for node, expected in enumerate(weights):
        source, weight = candidates_of(graph, node)
        assert len(set(source)) == len(source)
        assert node not in source
        best = np.sort(expected[expected > 1e-9])[::-1][:size]
        if proportional and len(best):
            weight = weight * (expected[source].max() / weight.max())
        np.testing.assert_allclose(np.sort(weight)[::-1], best, rtol=1e-4)
        np.testing.assert_allclose(weight, expected[source], rtol=1e-4)


@pytest.mark.parametrize('with_ratings', [False, True])
def test_grouped_nodes_have_the_candidates_of_a_dense_search(with_ratings, monkeypatch):
    monkeypatch.setattr('agnn_pyg.graph.build.DENSE_NODES', 0)
    monkeypatch.setattr(sparse_knn, 'BLOCK_ENTRIES', 300)
    monkeypatch.setattr('agnn_pyg.graph.duplicates.BLOCK_EDGES', 50)
    attributes = bags(120, (3, 2, 4), seed=0, empty=[5, 6])
    ratings = some_ratings(120, 6, seed=1) if with_ratings else None
    assert len(group(attributes).first) == 25
    graph = attribute_graph(attributes, ratings, candidate_fraction=0.1)
    expected = weights_by_the_formula(attributes, ratings)
    assert_best_candidates(graph, expected, size=12)


def test_rows_are_compared_by_value():
    # The same row: out of order, in two parts, and with a zero that is stored.
    data = [1.0, 2, 2, 1, 1.5, 0.5, 1, 0]
    indices = [0, 3, 3, 0, 3, 3, 0, 1]
    matrix = scipy.sparse.csr_matrix((data, indices, [0, 2, 4, 8]), shape=(3, 4))
    assert group(matrix).count.tolist() == [3]
    assert matrix.nnz == 8  # the argument is left alone


def test_an_exact_search_finds_the_best_by_attributes():
    attributes = bags(200, (60, 40, 90), seed=0, empty=[3])
    graph = attribute_graph(attributes, method='exact', candidate_fraction=0.05)
    expected = weights_by_the_formula(attributes, None)
    assert_best_candidates(graph, expected, size=10, proportional=True)


def test_an_exact_search_weighs_ratings(monkeypatch):
    attributes, ratings = bags(150, (30, 50), 0), some_ratings(150, 60, seed=1)
    seen = []
    space_of = sparse_knn._Space
    monkeypatch.setattr(
        sparse_knn, '_Space', lambda *args: seen.append(space_of(*args)) or seen[-1]
    )
    graph = attribute_graph(
        attributes, ratings, method='exact', candidate_fraction=0.05
    )
    (space,) = seen
    rated = np.diff(ratings.indptr) > 0
    both = rated[:, None] & rated
    of = group(scipy.sparse.hstack([attributes, ratings], format='csr')).of
    assert (space.rated[of] == rated).all()
    close = cosines(attributes) * space.scale[of, :1]
    liking = cosines(ratings)
    np.fill_diagonal(liking, 0)
    mean = liking[:, rated].sum(1) / (rated.sum() - 1)
    expected = close + both * liking * space.scale[of, 1:]
    related = expected > 1e-9
    expected += (rated[:, None] & ~rated) * (mean * space.scale[of, 1])[:, None]
    expected[~related] = 0
    np.fill_diagonal(expected, 0)
    assert_best_candidates(graph, expected, size=7)


@pytest.mark.slow
def test_an_approximate_search_finds_nine_of_ten():
    attributes = bags(2500, (18, 700, 900, 1200, 1500), seed=0)
    graph = attribute_graph(attributes, method='approximate', seed=1)
    assert torch.get_num_threads() == 1  # as before
    again = attribute_graph(attributes, method='approximate', seed=1)
    assert torch.equal(graph.edge_index, again.edge_index)
    # The nine of ten closest that all pairs have, at ten nodes.
    nodes = np.random.default_rng(0).permutation(2500)[:100]
    weight = proximity(nodes, unit_rows(attributes))
    tenth = np.sort(weight, axis=1)[:, -10]
    held = [
        (weight[k, candidates_of(graph, node)[0]] >= tenth[k] - 1e-9).sum().clip(max=10)
        for k, node in enumerate(nodes)
    ]
    assert np.mean(held) >= 9
    # Weights are those of an exact search.
    exact = attribute_graph(attributes, method='exact', seed=1)
    for node in (0, 1234, 2499):
        weight = dict(zip(*candidates_of(exact, node), strict=True))
        for source, other in zip(*candidates_of(graph, node), strict=True):
            assert weight.get(source, other) == other


def test_the_method_follows_the_size(monkeypatch):
    attributes = bags(300, (40, 40, 40), seed=0)
    called = []
    for name in ('_all_pairs', '_exact', '_approximate'):
        monkeypatch.setattr(sparse_knn, name, lambda *a, n=name: called.append(n) or ())
    monkeypatch.setattr('agnn_pyg.graph.build.DENSE_NODES', 100)
    attribute_graph(attributes, candidate_fraction=0.02)
    monkeypatch.setattr(sparse_knn, 'DENSE_NODES', 100)
    attribute_graph(attributes, candidate_fraction=0.02)
    monkeypatch.setattr(sparse_knn, 'EXACT_PRODUCTS', 100)
    attribute_graph(attributes, candidate_fraction=0.02)
    attribute_graph(attributes, candidate_fraction=0.02, method='exact')
    assert called == ['_all_pairs', '_exact', '_approximate', '_exact']
    # All pairs of few profiles are compared, whatever the method.
    attribute_graph(attributes[:40], candidate_fraction=0.02, method='approximate')
    assert called[-1] == '_all_pairs'


def test_memory_is_bounded_by_the_edges():
    attributes = bags(40_000, (2, 7, 21), seed=0)
    tracemalloc.start()
    graph = attribute_graph(attributes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 5 million edges of 20 bytes; ties alone would be hundreds of millions.
    assert graph.num_edges == pytest.approx(5_000_000, rel=0.01)
    assert peak < 350e6


@pytest.mark.parametrize(
    ('others', 'size'),
    [(5, 1), (999, 50), (9_999, 500), (19_999, 250), (99_999, 50), (999_999, 30)],
)
def test_sizes_of_candidate_sets(others, size):
    assert num_candidates(others, 0.05, max_candidates=500) == size
    assert num_candidates(others, 0.05, max_candidates=20) == min(size, 20)


@pytest.mark.parametrize(
    ('library', 'method'),
    [('sparse_dot_topn', 'exact'), ('pynndescent', 'approximate')],
)
def test_a_missing_library_is_named(library, method, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    attributes = bags(200, (90, 90), seed=0)
    name = library.replace('_', '-')
    with pytest.raises(ValueError, match=rf'{name}.*coldstart-pyg\[scale\]'):
        attribute_graph(attributes, method=method)
