import math

import numpy as np
import pytest
import scipy.stats
import torch

from agnn_pyg.base.randomness import salted
from agnn_pyg.sampling.draw import CandidatePool
from agnn_pyg.sampling.loader import RatingLoader

SIDES = ('user', 'item')


def pairs_of(batch):
    """The pairs of a batch as rows of the tables."""
    row, col = batch.edge_label_index
    return torch.stack([batch.user.n_id[row], batch.item.n_id[col]])


def edges_of(nodes):
    """Edges neighbour -> target as rows of the table."""
    return sorted(map(tuple, nodes.n_id[nodes.edge_index].t().tolist()))


def contents(loader):
    """All that a loader gives, as plain lists."""
    return [
        [
            pairs_of(batch).tolist(),
            *(
                [nodes.n_id.tolist(), nodes.cold.tolist(), nodes.edge_index.tolist()]
                for nodes in (batch.user, batch.item)
            ),
        ]
        for batch in loader
    ]


@pytest.mark.parametrize('shuffle', [False, True])
@pytest.mark.parametrize('batch_size', [1, 7, 1000])
def test_every_pair_appears_once_with_its_label(
    tiny_graph, tiny_pairs, shuffle, batch_size
):
    index, rating = tiny_pairs
    loader = RatingLoader(
        tiny_graph,
        index,
        torch.arange(len(rating)),
        batch_size=batch_size,
        shuffle=shuffle,
    )
    batches = list(loader)
    assert len(batches) == len(loader) == math.ceil(len(rating) / batch_size)
    sizes = [len(batch.edge_label) for batch in batches]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    position = torch.cat([batch.edge_label for batch in batches])
    assert torch.equal(position.sort().values, torch.arange(len(rating)))
    assert torch.equal(position, position.sort().values) == (not shuffle)
    found = torch.cat([pairs_of(batch) for batch in batches], dim=1)
    assert torch.equal(found, index[:, position])


def test_targets_come_first_and_no_node_twice(tiny_graph, tiny_pairs):
    loader = RatingLoader(
        tiny_graph, *tiny_pairs, batch_size=9, num_neighbors=3, cold_rate=(0.5, 0.5)
    )
    for batch in loader:
        for nodes, index in zip(batch[:2], batch.edge_label_index, strict=True):
            assert len(nodes.n_id.unique()) == len(nodes.n_id)
            targets = set(index.tolist())
            assert targets == set(range(nodes.num_targets))
            assert nodes.edge_index[1].max() < nodes.num_targets
            # Whoever is no target is a neighbour.
            others = set(range(nodes.num_targets, len(nodes.n_id)))
            assert others <= set(nodes.edge_index[0].tolist())


def test_attributes_and_coldness_follow_the_nodes(tiny_graph, tiny_attributes):
    index = torch.tensor([[0, 10, 3, 11], [13, 2, 2, 14]])
    (batch,) = RatingLoader(tiny_graph, index)
    assert batch.edge_label is None
    for side, nodes in zip(SIDES, batch[:2], strict=True):
        attributes = tiny_attributes[side]
        assert torch.equal(nodes.attr, attributes.index[nodes.n_id])
        assert torch.equal(nodes.attr_weight, attributes.weight[nodes.n_id])
        assert torch.equal(nodes.cold, tiny_graph[side].cold[nodes.n_id])


@pytest.mark.parametrize('epoch', [0, 3])
def test_neighbors_are_the_draws_of_the_epoch(tiny_graph, tiny_pairs, epoch):
    loader = RatingLoader(
        tiny_graph, *tiny_pairs, batch_size=9, num_neighbors=3, seed=2
    )
    loader.set_epoch(epoch)
    for batch in loader:
        for side, nodes in zip(SIDES, batch[:2], strict=True):
            expected = drawn(
                tiny_graph, side, 'similar', nodes.n_id[: nodes.num_targets], 3, epoch
            )
            assert edges_of(nodes) == expected
            assert len(expected) == 3 * nodes.num_targets


def test_only_nodes_of_pairs_draw(tiny_graph, tiny_pairs, monkeypatch):
    """To rate one pair in a large graph is not to draw for all who are in it."""
    few, asked, draw = torch.tensor([[3, 3], [2, 13]]), [], CandidatePool.draw

    def counted(pool, node, *args):
        asked.append(node.tolist())
        return draw(pool, node, *args)

    monkeypatch.setattr(CandidatePool, 'draw', counted)
    (batch,) = RatingLoader(tiny_graph, few, num_neighbors=3, seed=2)
    assert asked == [[3], [2, 13]]
    # They draw what they do in the company of others.
    together = torch.cat([few, tiny_pairs[0]], dim=1)
    (other,) = RatingLoader(tiny_graph, together, num_neighbors=3, seed=2)
    for one, many in zip(batch[:2], other[:2], strict=True):
        assert set(edges_of(one)) <= set(edges_of(many))


def drawn(graph, side, relation, node, size, epoch=0, seed=2):
    edges = graph[side, relation, side]
    pool = CandidatePool(edges.edge_index, edges.edge_weight, graph[side].num_nodes)
    slot = pool.draw(node, size, salted(seed, side, relation, side), epoch)
    row, column = (slot >= 0).nonzero(as_tuple=True)
    source = pool.source[slot[row, column]]
    return sorted(zip(source.tolist(), node[row].tolist(), strict=True))


def test_treated_nodes_draw_from_the_attribute_graph(tiny_graph, tiny_pairs):
    loader = RatingLoader(
        tiny_graph, *tiny_pairs, num_neighbors=3, cold_rate=(0.5, 0.5), seed=2
    )
    for epoch in range(5):
        loader.set_epoch(epoch)
        (batch,) = loader
        for side, nodes in zip(SIDES, batch[:2], strict=True):
            target = nodes.n_id[: nodes.num_targets]
            treated = nodes.cold[: nodes.num_targets] & ~tiny_graph[side].cold[target]
            assert 0 < treated.sum() < len(target)
            assert edges_of(nodes) == sorted(
                drawn(tiny_graph, side, 'alike', target[treated], 3, epoch)
                + drawn(tiny_graph, side, 'similar', target[~treated], 3, epoch)
            )


def test_only_targets_are_treated_as_cold(tiny_graph, tiny_pairs):
    loader = RatingLoader(tiny_graph, *tiny_pairs, batch_size=4, cold_rate=(1, 1))
    for batch in loader:
        for side, nodes in zip(SIDES, batch[:2], strict=True):
            assert nodes.cold[: nodes.num_targets].all()
            others = nodes.n_id[nodes.num_targets :]
            assert torch.equal(
                nodes.cold[nodes.num_targets :], tiny_graph[side].cold[others]
            )


@pytest.mark.parametrize('rates', [(0.3, 0.0), (0.0, 0.7), (0.2, 0.5), (0.0, 0.0)])
def test_share_treated_as_cold(tiny_graph, tiny_pairs, rates):
    loader = RatingLoader(tiny_graph, *tiny_pairs, batch_size=16, cold_rate=rates)
    cold, count = [0, 0], [0, 0]
    for epoch in range(60):
        loader.set_epoch(epoch)
        for batch in loader:
            for side, nodes in enumerate(batch[:2]):
                cold[side] += int(nodes.cold[: nodes.num_targets].sum())
                count[side] += nodes.num_targets
    for side, rate in enumerate(rates):
        # Four deviations of a binomial share.
        slack = 4 * math.sqrt(rate * (1 - rate) / count[side])
        assert cold[side] / count[side] == pytest.approx(rate, abs=slack)


def test_users_and_items_are_treated_independently(tiny_graph):
    # User k and item k meet in a batch; their lots must not be one.
    index = torch.arange(10).expand(2, 10)
    loader = RatingLoader(tiny_graph, index, cold_rate=(0.5, 0.5))
    table = torch.zeros(2, 2)
    for epoch in range(60):
        loader.set_epoch(epoch)
        (batch,) = loader
        for user, item in zip(batch.user.cold[:10], batch.item.cold[:10], strict=True):
            table[int(user), int(item)] += 1
    assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 1e-3


def test_treatment_does_not_leak_into_the_graph(tiny_graph, tiny_pairs):
    before = {side: tiny_graph[side].cold.clone() for side in SIDES}
    list(RatingLoader(tiny_graph, *tiny_pairs, cold_rate=(1, 1)))
    for side in SIDES:
        assert torch.equal(tiny_graph[side].cold, before[side])


def test_no_neighbors(tiny_graph, tiny_pairs):
    loader = RatingLoader(tiny_graph, *tiny_pairs, num_neighbors=0, cold_rate=(0.5, 0))
    for batch in loader:
        for nodes in batch[:2]:
            assert nodes.edge_index.size() == (2, 0)
            assert len(nodes.n_id) == nodes.num_targets


def test_a_batch_of_one_pair(tiny_graph):
    (batch,) = RatingLoader(tiny_graph, torch.tensor([[4], [13]]), num_neighbors=2)
    assert pairs_of(batch).tolist() == [[4], [13]]
    assert batch.edge_label_index.tolist() == [[0], [0]]
    assert [nodes.num_targets for nodes in batch[:2]] == [1, 1]


def test_a_pair_may_repeat(tiny_graph):
    index = torch.tensor([[4, 4, 2], [13, 13, 13]])
    (batch,) = RatingLoader(tiny_graph, index)
    assert torch.equal(pairs_of(batch), index)
    assert batch.user.num_targets == 2


def test_an_epoch_repeats_and_another_differs(tiny_graph, tiny_pairs):
    loader = RatingLoader(
        tiny_graph,
        *tiny_pairs,
        batch_size=8,
        num_neighbors=2,
        shuffle=True,
        cold_rate=(0.3, 0.3),
    )
    first = contents(loader)
    assert contents(loader) == first
    loader.set_epoch(1)
    second = contents(loader)
    assert second != first
    loader.set_epoch(0)
    assert contents(loader) == first
    other = RatingLoader(
        tiny_graph,
        *tiny_pairs,
        batch_size=8,
        num_neighbors=2,
        shuffle=True,
        cold_rate=(0.3, 0.3),
        seed=1,
    )
    assert contents(other) not in (first, second)


def test_nodes_are_the_same_looked_for_or_sorted(tiny_graph, tiny_pairs, monkeypatch):
    found = []
    for few in (0, 10**9):
        monkeypatch.setattr('agnn_pyg.sampling.blocks.FEW', few)
        options = {'batch_size': 7, 'num_neighbors': 3, 'cold_rate': (0.3, 0.3)}
        found.append(contents(RatingLoader(tiny_graph, *tiny_pairs, **options)))
    assert found[0] == found[1]


def test_two_iterators_do_not_disturb_each_other(tiny_graph, tiny_pairs):
    loader = RatingLoader(tiny_graph, *tiny_pairs, batch_size=8, shuffle=True)
    expected = contents(loader)
    one, other = iter(loader), iter(loader)
    both = [(next(one), next(other)) for _ in expected]
    assert contents(a for a, _ in both) == contents(b for _, b in both) == expected


def test_iterating_leaves_the_global_generator_alone(tiny_graph, tiny_pairs):
    state = torch.get_rng_state()
    list(RatingLoader(tiny_graph, *tiny_pairs, shuffle=True, cold_rate=(0.5, 0.5)))
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_move_to_a_device(tiny_graph, tiny_pairs, device):
    index, rating = tiny_pairs
    for labels in (rating, None):
        (batch,) = RatingLoader(tiny_graph, index, labels)
        moved = batch.to(device)
        for nodes in moved[:2]:
            assert all(part.device.type == device.type for part in nodes[:-1])
        assert moved.edge_label_index.device.type == device.type
        assert (moved.edge_label is None) == (labels is None)
        assert type(moved) is type(batch)


@pytest.mark.parametrize(
    ('index', 'kwargs', 'match'),
    [
        ([[0, 12], [0, 0]], {}, 'user 12, but the graph has users 0 to 11'),
        ([[0, 0], [0, 15]], {}, 'item 15, but the graph has items 0 to 14'),
        ([[0, 0], [-1, 0]], {}, "'index' points to item -1"),
        ([0, 0], {}, r"'index' must be of dtype int64 and size \[2, pairs\]"),
        ([[0, 0]], {}, r'size \[2, pairs\] .*\[1, 2\]'),
        ([[0.0], [0.0]], {}, r'\(got torch.float32, \[2, 1\]\)'),
        ([[0], [0]], {'rating': torch.ones(2)}, r'one value a pair, 1 \(got 2\)'),
        ([[0], [0]], {'batch_size': 0}, r"'batch_size' must be at least 1 \(got 0\)"),
        ([[0], [0]], {'num_neighbors': -1}, r"'num_neighbors' must not .*\(got -1\)"),
        ([[0], [0]], {'cold_rate': (0.5, 1.5)}, "'cold_rate' must be two shares"),
        ([[0], [0]], {'cold_rate': (0.5,)}, "'cold_rate' must be two shares"),
        ([[0], [0]], {'seed': -1}, r"'seed' must be .*at least 0 \(got -1\)"),
        ([[0], [0]], {'seed': 0.5}, r"'seed' must be a whole number.* \(got 0.5\)"),
    ],
)
def test_bad_input(tiny_graph, index, kwargs, match):
    with pytest.raises(ValueError, match=match):
        RatingLoader(tiny_graph, torch.tensor(index), **kwargs)


def test_epochs_are_check_seed(tiny_graph, tiny_pairs):
    loader = RatingLoader(tiny_graph, *tiny_pairs)
    with pytest.raises(ValueError, match=r"'epoch' must be .*at least 0 \(got -1\)"):
        loader.set_epoch(-1)
    assert loader.epoch == 0


def test_seeds_of_short_integers_do_not_overflow(tiny_graph, tiny_pairs):
    found = []
    for seed in (3, np.int8(3)):
        loader = RatingLoader(tiny_graph, *tiny_pairs, seed=seed, shuffle=True)
        found.append(torch.cat([batch.edge_label for batch in loader]))
    assert torch.equal(*found)


def test_no_pairs(tiny_graph):
    with pytest.raises(ValueError, match='no pairs'):
        RatingLoader(tiny_graph, torch.empty(2, 0, dtype=torch.long))
