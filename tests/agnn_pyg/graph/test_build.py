import math

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.graph.build import attribute_graph, rating_graph


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


def cosine(a, b):
    norms = math.sqrt(sum(a * a)) * math.sqrt(sum(b * b))
    return sum(a * b) / norms if norms else 0.0


def zscores(values):
    """Z-scores of a dictionary's values, by the population's deviation."""
    if not values:
        return {}
    mean = sum(values.values()) / len(values)
    scale = math.sqrt(sum((v - mean) ** 2 for v in values.values()) / len(values))
    if scale < 1e-9:
        return dict.fromkeys(values, 0.0)
    return {key: (v - mean) / scale for key, v in values.items()}


def reference_weights(attributes, ratings=None):
    """Weights of all other nodes, node by node, from the formula."""
    attributes = attributes.toarray()
    num_nodes = len(attributes)
    ratings = np.zeros((num_nodes, 1)) if ratings is None else ratings.toarray()
    rated = ratings.any(axis=1)
    weights = []
    for i in range(num_nodes):
        others = [j for j in range(num_nodes) if j != i]
        score = zscores({j: cosine(attributes[i], attributes[j]) for j in others})
        known = [j for j in others if rated[i] and rated[j]]
        extra = zscores({j: cosine(ratings[i], ratings[j]) for j in known})
        for j in known:
            score[j] += extra[j]
        lowest = min(score.values())
        weights.append({j: s - lowest for j, s in score.items()})
    return weights


def pools(graph):
    """The pool of each node as a dictionary from candidate to weight."""
    found = [{} for _ in range(graph.num_nodes)]
    edges = zip(graph.edge_index.t().tolist(), graph.edge_weight.tolist(), strict=True)
    for (source, target), weight in edges:
        found[target][source] = weight
    return found


def assert_same_graph(one, other):
    assert torch.equal(one.edge_index, other.edge_index)
    assert torch.equal(one.edge_weight, other.edge_weight)


@pytest.mark.parametrize('with_ratings', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_pools_match_a_loop_over_the_formula(with_ratings, seed):
    attributes = random_matrix((17, 9), 0.5, seed, empty_rows=[4])
    ratings = None
    if with_ratings:
        ratings = random_matrix((17, 11), 0.4, seed + 100, empty_rows=[0, 4, 9])
    graph = attribute_graph(attributes, ratings, pool=0.3)
    for node, weights in enumerate(reference_weights(attributes, ratings)):
        # Ties may fall either way, the weights that are kept may not.
        best = sorted((w for w in weights.values() if w > 1e-9), reverse=True)[:5]
        pool = pools(graph)[node]
        assert sorted(pool.values(), reverse=True) == pytest.approx(best, abs=1e-5)
        for candidate, weight in pool.items():
            assert weight == pytest.approx(weights[candidate], abs=1e-5)


def test_edges_are_sorted_by_target_without_loops_and_positive():
    ratings = random_matrix((40, 11), 0.4, 1)
    graph = attribute_graph(random_matrix((40, 9), 0.5, 0), ratings, pool=0.2)
    source, target = graph.edge_index
    assert graph.num_nodes == 40
    assert torch.equal(target, target.sort().values)
    assert not (source == target).any()
    assert (graph.edge_weight > 0).all()
    assert graph.edge_weight.dtype == torch.float
    assert len(set(map(tuple, graph.edge_index.t().tolist()))) == len(source)


def test_edges_point_from_candidate_to_node():
    # Node 0 shares something with all, the others with node 0 only.
    attributes = multi_hot([[0, 1, 2], [0], [1], [2], [0, 3]], 4)
    graph = attribute_graph(attributes, pool=0.25)
    assert set(pools(graph)[2]) == {0}
    assert set(pools(graph)[3]) == {0}
    assert graph.edge_index[:, graph.edge_index[1] == 2].tolist() == [[0], [2]]


@pytest.mark.parametrize(
    ('pool', 'max_pool', 'size'),
    [(1.0, 500, 20), (0.5, 500, 10), (0.01, 500, 1), (0.5, 3, 3), (1.0, 1, 1)],
)
def test_pool_sizes(pool, max_pool, size):
    # Dense and random: no ties but the farthest node, which is left out.
    attributes = random_matrix((21, 9), 1, 0)
    graph = attribute_graph(attributes, pool=pool, max_pool=max_pool)
    counts = torch.bincount(graph.edge_index[1], minlength=21)
    assert counts.tolist() == [min(size, 19)] * 21


@pytest.mark.parametrize('block_size', [1, 7, 29, 30, 64])
def test_block_size_changes_nothing(block_size):
    rng = np.random.default_rng(0)
    attributes = multi_hot([rng.choice(6, 2, replace=False) for _ in range(30)], 6)
    ratings = random_matrix((30, 11), 0.3, 5, empty_rows=[2, 29])
    expected = attribute_graph(attributes, ratings, pool=0.2)
    actual = attribute_graph(attributes, ratings, pool=0.2, block_size=block_size)
    assert_same_graph(actual, expected)


def test_ties_at_the_edge_of_a_pool_are_broken_evenly():
    # Of node 0's ten others, six are equally close and one fits.
    rows = [[0, 1], *[[0]] * 6, *[[2]] * 4]
    attributes = multi_hot(rows, 3)
    chosen = np.zeros(11)
    for seed in range(600):
        graph = attribute_graph(attributes, pool=0.1, seed=seed)
        chosen[list(pools(graph)[0])] += 1
    assert chosen[1:7].sum() == chosen.sum() == 600
    assert scipy.stats.chisquare(chosen[1:7]).pvalue > 1e-3


def test_ties_are_broken_alike_under_one_seed():
    attributes = multi_hot([[0, 1], *[[0]] * 6, *[[2]] * 4], 3)
    one, same, *others = (
        attribute_graph(attributes, pool=0.2, seed=seed) for seed in (7, 7, 0, 1, 2)
    )
    assert_same_graph(one, same)
    assert any(not torch.equal(one.edge_index, o.edge_index) for o in others)


def test_a_pool_prefers_what_is_above_the_tie():
    # Node 1 shares both tokens with node 0, nodes 2 to 5 one of them.
    attributes = multi_hot([[0, 1], [0, 1], *[[0]] * 4, *[[2]] * 5], 3)
    for seed in range(20):
        pool = pools(attribute_graph(attributes, pool=0.2, seed=seed))[0]
        assert 1 in pool
        assert len(pool) == 2


def test_a_node_without_ratings_is_placed_by_attributes_alone():
    attributes = random_matrix((20, 9), 0.5, 0)
    ratings = random_matrix((20, 8), 0.5, 1, empty_rows=[0, 5])
    plain = pools(attribute_graph(attributes, pool=0.3))
    rated = pools(attribute_graph(attributes, ratings, pool=0.3))
    for node in range(20):
        assert (plain[node] == rated[node]) == (node in (0, 5))


def test_ratings_of_others_do_not_move_a_node_without_any():
    attributes = random_matrix((20, 9), 0.5, 0)
    found = [
        pools(attribute_graph(attributes, random_matrix((20, 8), 0.5, s, [3])))[3]
        for s in (1, 2)
    ]
    assert found[0] == found[1]


def test_a_node_of_which_nothing_is_known_has_no_candidates():
    attributes = random_matrix((12, 6), 0.6, 0, empty_rows=[5])
    ratings = random_matrix((12, 8), 0.6, 1, empty_rows=[5])
    for graph in (
        attribute_graph(attributes, pool=1),
        attribute_graph(attributes, ratings, pool=1),
    ):
        assert pools(graph)[5] == {}
        assert torch.isfinite(graph.edge_weight).all()


def test_nodes_that_share_nothing_have_no_candidates():
    graph = attribute_graph(multi_hot([[0], [1], [2], [3]], 4), pool=1)
    assert graph.edge_index.size() == (2, 0)
    assert graph.edge_weight.size() == (0,)
    assert graph.num_nodes == 4


def test_identical_nodes_are_each_others_candidates():
    graph = attribute_graph(multi_hot([[0, 1]] * 5, 2), pool=1)
    assert pools(graph) == [{j: 1 for j in range(5) if j != i} for i in range(5)]
    graph = attribute_graph(multi_hot([[0]] * 2, 1), pool=0.05)
    assert pools(graph) == [{1: 1}, {0: 1}]


def test_an_identical_node_is_the_first_candidate():
    attributes = multi_hot([[0, 1], [0, 2], [0, 1], [1, 2], [2, 3], [3]], 4)
    found = pools(attribute_graph(attributes, pool=0.2))
    assert set(found[0]) == {2}
    assert set(found[2]) == {0}


def test_scaling_the_ratings_of_a_node_changes_nothing():
    attributes = random_matrix((12, 6), 0.6, 0)
    ratings = random_matrix((12, 8), 0.6, 1)
    scaled = scipy.sparse.diags(np.arange(1.0, 13)) @ ratings
    assert_same_graph(
        attribute_graph(attributes, ratings), attribute_graph(attributes, scaled)
    )


def test_inputs_are_left_alone():
    attributes, ratings = random_matrix((9, 6), 0.6, 0), random_matrix((9, 8), 0.6, 1)
    before = attributes.copy(), ratings.copy()
    attribute_graph(attributes, ratings, pool=0.5)
    assert (attributes != before[0]).nnz == (ratings != before[1]).nnz == 0


def test_encoded_attributes_are_compared_by_their_values(tiny_attributes):
    for attributes in tiny_attributes.values():
        assert_same_graph(
            attribute_graph(attributes, pool=0.4),
            attribute_graph(attributes.multi_hot(), pool=0.4),
        )


def test_rating_graph_holds_both_sides(tiny_graph, tiny_attributes, tiny_pairs):
    assert tiny_graph.node_types == ['user', 'item']
    assert tiny_graph['user'].cold.nonzero().flatten().tolist() == [10, 11]
    assert tiny_graph['item'].cold.nonzero().flatten().tolist() == [13, 14]
    for side, attributes in tiny_attributes.items():
        assert tiny_graph[side].num_nodes == attributes.num_nodes
        assert torch.equal(tiny_graph[side].attr, attributes.index)
        assert torch.equal(tiny_graph[side].attr_weight, attributes.weight)
    rates = tiny_graph['user', 'rates', 'item']
    assert torch.equal(rates.edge_index, tiny_pairs[0])
    assert torch.equal(rates.rating, tiny_pairs[1])
    assert tiny_graph.validate()


def test_relations_of_a_rating_graph_are_attribute_graphs(
    tiny_graph, tiny_attributes, tiny_pairs
):
    (user, item), rating = tiny_pairs
    matrix = np.zeros((12, 15))
    matrix[user, item] = rating
    for side, ratings in (('user', matrix), ('item', matrix.T)):
        attributes = tiny_attributes[side]
        ratings = scipy.sparse.csr_matrix(ratings)
        alike = attribute_graph(attributes, pool=0.5)
        similar = attribute_graph(attributes, ratings, pool=0.5)
        assert_same_graph(tiny_graph[side, 'alike', side], alike)
        assert_same_graph(tiny_graph[side, 'similar', side], similar)


def test_ratings_that_are_not_passed_leave_no_trace(tiny_attributes, tiny_pairs):
    # A cold node has the same pool whatever the training ratings of others.
    index, rating = tiny_pairs
    sides = tiny_attributes['user'], tiny_attributes['item']
    one, other = (
        rating_graph(*sides, index, r, pool=0.5) for r in (rating, rating.flip(0))
    )
    for side, cold in (('user', 10), ('item', 14)):
        found = [pools_of(graph, side) for graph in (one, other)]
        assert found[0][cold] == found[1][cold]
        assert found[0] != found[1]


def pools_of(graph, side):
    edges = graph[side, 'similar', side]
    edges.num_nodes = graph[side].num_nodes
    return pools(edges)


def test_preference_can_be_left_out(tiny_attributes, tiny_pairs):
    graph = rating_graph(
        tiny_attributes['user'], tiny_attributes['item'], *tiny_pairs, preference=False
    )
    for side in ('user', 'item'):
        assert_same_graph(graph[side, 'similar', side], graph[side, 'alike', side])


def test_nodes_may_be_compared_by_other_attributes(tiny_attributes, tiny_pairs):
    index = torch.ones(15, 1, dtype=torch.long)
    same = TokenBags(index, torch.ones(15, 1), torch.tensor([False, True]))
    graph = rating_graph(
        tiny_attributes['user'],
        tiny_attributes['item'],
        *tiny_pairs,
        item_proximity=same,
        pool=1,
    )
    assert torch.equal(graph['item'].attr, tiny_attributes['item'].index)
    assert graph['item', 'alike', 'item'].edge_index.size(1) == 15 * 14


@pytest.mark.parametrize('num_nodes', [0, 1])
def test_too_few_nodes(num_nodes):
    with pytest.raises(ValueError, match=rf'graph of {num_nodes} node.*at least two'):
        attribute_graph(multi_hot([[0]] * num_nodes, 2))


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'pool': 0}, r"'pool' must be a share in \(0, 1\] \(got 0\)"),
        ({'pool': 1.5}, r"'pool' .*\(got 1.5\)"),
        ({'pool': math.nan}, r"'pool' .*\(got nan\)"),
        ({'max_pool': 0}, r"'max_pool' must be at least 1 \(got 0\)"),
        ({'seed': -1}, r"'seed' must be .*at least 0 \(got -1\)"),
        ({'ratings': random_matrix((4, 3), 1, 0)}, r'one row a node: 3 \(got 4\)'),
        ({'ratings': random_matrix((3, 3), 1, 0) * np.nan}, "'ratings' holds NaN"),
    ],
)
def test_attribute_graph_refuses(kwargs, match):
    with pytest.raises(ValueError, match=match):
        attribute_graph(multi_hot([[0]] * 3, 1), **kwargs)


@pytest.mark.parametrize(
    ('rated', 'rating', 'match'),
    [
        ([[0, 12], [0, 0]], [1.0, 2.0], 'user 12, but the user table has rows 0 to 11'),
        ([[0, 0], [15, 0]], [1.0, 2.0], 'item 15, but the item table has rows 0 to 14'),
        ([[0, -1], [0, 0]], [1.0, 2.0], "'rated' points to user -1"),
        ([[0, 1], [0, 0]], [1.0], r"'rated' must have size \[2, 1\].*\[2, 2\]"),
        ([0, 1], [1.0, 2.0], r"'rated' must have size \[2, 2\].*\[2\]"),
        ([[0, 1], [0, 0]], [1.0, math.nan], "'rating' holds NaN or infinite"),
        ([[0, 1], [0, 0]], [1.0, math.inf], "'rating' holds NaN or infinite"),
        ([[], []], [], "'rating' is empty"),
    ],
)
def test_rating_graph_refuses(tiny_attributes, rated, rating, match):
    sides = tiny_attributes['user'], tiny_attributes['item']
    rated, rating = torch.tensor(rated), torch.tensor(rating)
    with pytest.raises(ValueError, match=match):
        rating_graph(*sides, rated if rated.numel() else rated.long(), rating)


def test_repeated_pairs_are_refused(tiny_attributes):
    rated = torch.tensor([[0, 3, 3], [1, 2, 2]])
    with pytest.raises(ValueError, match='user 3 and item 2 more than once'):
        rating_graph(
            tiny_attributes['user'], tiny_attributes['item'], rated, torch.ones(3)
        )


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_attributes_that_are_no_numbers_are_refused(value):
    attributes = multi_hot([[0], [0, 1], [1]], 2)
    attributes.data[0] = value
    with pytest.raises(ValueError, match="'attributes' holds NaN or infinite"):
        attribute_graph(attributes)
