import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch

from agnn_pyg import attribute_graph
from agnn_pyg.graph import sparse_knn as nearest
from agnn_pyg.graph.cold_nodes import attached_edges
from agnn_pyg.graph.duplicates import group
from agnn_pyg.graph.proximity import normalize, pool_size
from agnn_pyg.graph.recall import pool_recall


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


def pool_weights(graph, node):
    inside = graph.edge_index[1] == node
    return graph.edge_index[0, inside].numpy(), graph.edge_weight[inside].numpy()


def assert_pools_are_the_best(graph, weights, size, proportional=False):
    """Up to ties; weights of a node may be off by a factor."""
    assert torch.equal(graph.edge_index[1], graph.edge_index[1].sort().values)
    for node, expected in enumerate(weights):
        source, weight = pool_weights(graph, node)
        assert len(set(source)) == len(source)
        assert node not in source
        best = np.sort(expected[expected > 1e-9])[::-1][:size]
        if proportional and len(best):
            weight = weight * (expected[source].max() / weight.max())
        np.testing.assert_allclose(np.sort(weight)[::-1], best, rtol=1e-4)
        np.testing.assert_allclose(weight, expected[source], rtol=1e-4)


@pytest.mark.parametrize('with_ratings', [False, True])
def test_grouped_nodes_have_the_pools_of_a_comparison_of_all(with_ratings, monkeypatch):
    monkeypatch.setattr('agnn_pyg.graph.build.DENSE_NODES', 0)
    monkeypatch.setattr(nearest, 'BLOCK_ENTRIES', 300)
    attributes = bags(120, (3, 2, 4), seed=0, empty=[5, 6])
    ratings = some_ratings(120, 6, seed=1) if with_ratings else None
    assert len(group(attributes).first) == 25
    graph = attribute_graph(attributes, ratings, pool=0.1)
    expected = weights_by_the_formula(attributes, ratings)
    assert_pools_are_the_best(graph, expected, size=12)


def test_an_exact_search_finds_the_best_by_attributes():
    attributes = bags(200, (60, 40, 90), seed=0, empty=[3])
    # A node that shares nothing with any other: the farthest of all.
    graph = attribute_graph(attributes, method='exact', pool=0.05)
    expected = weights_by_the_formula(attributes, None)
    assert_pools_are_the_best(graph, expected, size=10, proportional=True)


def test_an_exact_search_weighs_ratings(monkeypatch):
    attributes, ratings = bags(150, (30, 50), 0), some_ratings(150, 60, seed=1)
    seen = []
    space_of = nearest._space
    monkeypatch.setattr(
        nearest, '_space', lambda *args: seen.append(space_of(*args)) or seen[-1]
    )
    graph = attribute_graph(attributes, ratings, method='exact', pool=0.05)
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
    assert_pools_are_the_best(graph, expected, size=7)


@pytest.mark.parametrize('share', [1, 0.5])
def test_deviations_are_near_and_means_exact(share, monkeypatch):
    monkeypatch.setattr(nearest, 'SIGNS', 4096)
    rng = np.random.default_rng(0)
    attributes = bags(400, (5, 20, 70), seed=0)
    profiles = group(attributes)
    rows = normalize(attributes[profiles.first])
    mask = rng.random(len(profiles.first)) < share
    mean, scale = nearest._moments(rows, profiles, mask, rng)
    cosine, among = cosines(attributes), mask[profiles.of]
    for number in mask.nonzero()[0]:
        node = profiles.first[number]
        others = cosine[node, among & (np.arange(400) != node)]
        assert mean[number] == pytest.approx(others.mean())
        assert scale[number] * others.std() == pytest.approx(1, abs=0.08)


@pytest.mark.slow
def test_an_approximate_search_finds_nine_of_ten():
    attributes = bags(5000, (18, 700, 900, 1200, 1500), seed=0)
    graph = attribute_graph(attributes, method='approximate', seed=1)
    assert torch.get_num_threads() == 1  # as before
    again = attribute_graph(attributes, method='approximate', seed=1)
    assert torch.equal(graph.edge_index, again.edge_index)
    assert pool_recall(graph, attributes) >= 0.9
    # What is found is weighed as an exact search weighs it.
    exact = attribute_graph(attributes, method='exact', seed=1)
    for node in (0, 1234, 4999):
        weight = dict(zip(*pool_weights(exact, node), strict=True))
        for source, other in zip(*pool_weights(graph, node), strict=True):
            assert weight.get(source, other) == other


def test_the_method_follows_the_size(monkeypatch):
    attributes = bags(300, (40, 40, 40), seed=0)
    called = []
    for name in ('_all_pairs', '_exact', '_approximate'):
        monkeypatch.setattr(nearest, name, lambda *a, n=name: called.append(n) or ())
    monkeypatch.setattr('agnn_pyg.graph.build.DENSE_NODES', 100)
    attribute_graph(attributes, pool=0.02)
    monkeypatch.setattr(nearest, 'DENSE_NODES', 100)
    attribute_graph(attributes, pool=0.02)
    monkeypatch.setattr(nearest, 'EXACT_PRODUCTS', 100)
    attribute_graph(attributes, pool=0.02)
    attribute_graph(attributes, pool=0.02, method='exact')
    assert called == ['_all_pairs', '_exact', '_approximate', '_exact']
    # Few profiles are compared one and all, whatever was asked for.
    attribute_graph(attributes[:40], pool=0.02, method='approximate')
    assert called[-1] == '_all_pairs'


def test_memory_is_that_of_the_edges():
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
    [(999, 50), (9_999, 500), (19_999, 250), (99_999, 50), (999_999, 30)],
)
def test_pools_of_large_graphs_are_capped(others, size):
    assert pool_size(others, 0.05, max_pool=500) == size
    assert pool_size(others, 0.05, max_pool=20) == 20


def test_a_new_node_gets_a_pool_as_large(monkeypatch):
    attributes = bags(10_500, (3, 4), seed=0)
    edges = attached_edges(attributes[:1], attributes)
    assert edges.num_edges == pool_size(10_500, 0.05, 500) == 476


@pytest.mark.parametrize(
    ('library', 'method'),
    [('sparse_dot_topn', 'exact'), ('pynndescent', 'approximate')],
)
def test_a_missing_library_is_named(library, method, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    attributes = bags(200, (90, 90), seed=0)
    name = library.replace('_', '-')
    with pytest.raises(ValueError, match=rf'needs {name}: .*coldstart-pyg\[scale\]'):
        attribute_graph(attributes, method=method)


def test_an_unknown_method():
    with pytest.raises(ValueError, match=r"'method' must be one of .*\(got 'faiss'\)"):
        attribute_graph(bags(4, (2,), seed=0), method='faiss')
