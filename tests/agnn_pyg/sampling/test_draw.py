import math
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
import scipy.stats
import torch

from agnn_pyg.base.randomness import mix, uniform
from agnn_pyg.sampling import draw as pool_module
from agnn_pyg.sampling.draw import CandidatePool

# Node 0 has five candidates, 1 none, 2 two, 3 one of weight 0 among three.
EDGE_INDEX = torch.tensor(
    [[4, 1, 2, 3, 5, 0, 5, 0, 1, 2], [0, 0, 0, 0, 0, 2, 2, 3, 3, 3]]
)
WEIGHT = torch.tensor([1.0, 2, 3, 4, 5, 1, 1, 1, 0, 3])
EPOCHS = 2500


@pytest.fixture
def pool():
    return CandidatePool(EDGE_INDEX, WEIGHT, num_nodes=6)


def drawn(pool, node, size, seed=0, epoch=0):
    """The sources drawn for one node, in the order of the draw."""
    slot = pool.draw(torch.tensor([node]), size, seed, epoch)[0]
    return pool.source[slot[slot >= 0]].tolist()


def test_draws_are_slots_of_the_nodes_own_edges(pool, device):
    pool = CandidatePool(EDGE_INDEX.to(device), WEIGHT.to(device), num_nodes=6)
    node = torch.tensor([3, 0, 2, 1, 0], device=device)
    for epoch in range(20):
        slot = pool.draw(node, 3, seed=1, epoch=epoch)
        assert slot.size() == (5, 3)
        row, column = (slot >= 0).nonzero(as_tuple=True)
        edge = EDGE_INDEX.to(device)[:, pool.perm[slot[row, column]]]
        assert torch.equal(edge[1], node[row])
        assert torch.equal(edge[0], pool.source[slot[row, column]])


def test_order_of_edges_is_free():
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    pool = CandidatePool(EDGE_INDEX[:, order], WEIGHT[order], num_nodes=6)
    assert torch.equal(EDGE_INDEX[:, order][0, pool.perm], pool.source)
    for node, candidates in ((0, {1, 2, 3, 4, 5}), (2, {0, 5}), (3, {0, 2})):
        assert set(drawn(pool, node, 5)) == candidates


def test_draws_are_without_replacement(pool):
    for epoch in range(50):
        found = drawn(pool, 0, 4, epoch=epoch)
        assert len(set(found)) == len(found) == 4


def test_single_draws_are_proportional_to_weight(pool):
    count = Counter(drawn(pool, 0, 1, epoch=e)[0] for e in range(EPOCHS))
    weight = {4: 1, 1: 2, 2: 3, 3: 4, 5: 5}
    expected = [EPOCHS * w / 15 for w in weight.values()]
    observed = [count[node] for node in weight]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_pairs_follow_sequential_draws_without_replacement(pool):
    weight = {4: 1, 1: 2, 2: 3, 3: 4, 5: 5}
    chance = Counter()
    for a, b in permutations(weight, 2):
        chance[frozenset((a, b))] += weight[a] / 15 * weight[b] / (15 - weight[a])
    assert sum(chance.values()) == pytest.approx(1)
    count = Counter(frozenset(drawn(pool, 0, 2, epoch=e)) for e in range(EPOCHS))
    pairs = [frozenset(pair) for pair in combinations(weight, 2)]
    expected = [EPOCHS * chance[pair] for pair in pairs]
    observed = [count[pair] for pair in pairs]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_without_weights_draws_are_uniform():
    pool = CandidatePool(EDGE_INDEX, None, num_nodes=6)
    count = Counter(drawn(pool, 0, 1, epoch=e)[0] for e in range(EPOCHS))
    assert set(count) == {1, 2, 3, 4, 5}
    assert scipy.stats.chisquare(list(count.values())).pvalue > 1e-3


def test_weight_zero_is_never_drawn(pool):
    for epoch in range(200):
        assert set(drawn(pool, 3, 3, epoch=epoch)) == {0, 2}
        assert drawn(pool, 3, 1, epoch=epoch) != [1]


def test_a_small_pool_is_padded(pool):
    slot = pool.draw(torch.tensor([2, 1, 3, 0]), 7, seed=0)
    assert slot.size() == (4, 7)
    assert (slot >= 0).sum(1).tolist() == [2, 0, 2, 5]
    # What was drawn comes first.
    assert torch.equal((slot >= 0).long(), (slot >= 0).long().sort(1).values.flip(1))
    assert (slot[slot < 0] == -1).all()


def test_empty_pools_and_empty_draws():
    empty = torch.empty(2, 0, dtype=torch.long)
    for weight in (None, torch.empty(0)):
        pool = CandidatePool(empty, weight, num_nodes=3)
        assert pool.num_nodes == 3
        assert pool.draw(torch.arange(3), 2, seed=0).tolist() == [[-1, -1]] * 3
    pool = CandidatePool(EDGE_INDEX, WEIGHT, num_nodes=6)
    assert pool.draw(torch.empty(0, dtype=torch.long), 2, seed=0).size() == (0, 2)
    assert pool.draw(torch.tensor([0, 1]), 0, seed=0).size() == (2, 0)
    pool = CandidatePool(empty, None, num_nodes=0)
    assert pool.draw(torch.empty(0, dtype=torch.long), 2, seed=0).size() == (0, 2)


def test_a_nodes_draw_does_not_depend_on_who_else_is_asked_for(pool, monkeypatch):
    every = pool.draw(torch.arange(6), 3, seed=5, epoch=2)
    some = torch.tensor([3, 0, 3, 2])
    assert torch.equal(pool.draw(some, 3, seed=5, epoch=2), every[some])
    for node in range(6):
        alone = pool.draw(torch.tensor([node]), 3, seed=5, epoch=2)
        assert torch.equal(alone[0], every[node])
    monkeypatch.setattr(pool_module, 'BLOCK_ENTRIES', 7)
    assert torch.equal(pool.draw(torch.arange(6), 3, seed=5, epoch=2), every)


def test_a_smaller_draw_is_the_start_of_a_larger(pool):
    for epoch in range(10):
        assert drawn(pool, 0, 2, epoch=epoch) == drawn(pool, 0, 4, epoch=epoch)[:2]


def test_seed_and_epoch_repeat_and_the_global_generator_is_not_touched(pool):
    state = torch.get_rng_state()
    one, same = (pool.draw(torch.arange(6), 3, seed=3, epoch=4) for _ in range(2))
    assert torch.equal(one, same)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize('step', ['epoch', 'seed', 'both'])
def test_seeds_and_epochs_are_independent(pool, step):
    # Two draws of five candidates each: 25 cells of a contingency table.
    second = {'epoch': (0, 1), 'seed': (1, 0), 'both': (1, -1)}[step]
    table = torch.zeros(5, 5)
    for number in range(EPOCHS):
        one = drawn(pool, 0, 1, seed=number, epoch=number + 1)[0]
        other = drawn(
            pool, 0, 1, seed=number + second[0], epoch=number + 1 + second[1]
        )[0]
        table[one - 1, other - 1] += 1
    assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 1e-3


def test_nodes_draw_independently():
    source, target = (
        torch.arange(4).repeat(2),
        torch.tensor([0, 1]).repeat_interleave(4),
    )
    pool = CandidatePool(torch.stack([source, target]), None, num_nodes=4)
    table = torch.zeros(4, 4)
    for epoch in range(EPOCHS):
        a, b = pool.source[pool.draw(torch.tensor([0, 1]), 1, 0, epoch)[:, 0]]
        table[a, b] += 1
    assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 1e-3


def test_uniform_numbers_are_uniform():
    numbers = uniform(torch.arange(100_000), key=mix(0))
    assert numbers.dtype == torch.double
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert scipy.stats.kstest(numbers.numpy(), 'uniform').pvalue > 1e-3
    # Neighbouring counters do not correlate.
    assert abs(scipy.stats.pearsonr(numbers[1:], numbers[:-1]).statistic) < 0.02


def test_mix_takes_any_integer_apart():
    numbers = [0, 1, -1, 2**63 - 1, -(2**63), 2**64, 12345678901234567890123]
    mixed = [mix(number) for number in numbers]
    assert all(-(2**63) <= number < 2**63 for number in mixed)
    # 2**64 is 0 again.
    assert len(set(mixed)) == len(numbers) - 1


@pytest.mark.parametrize(
    ('weight', 'match'),
    [
        ([1.0], r'one weight an edge, \[2\] \(got \[1\]\)'),
        ([[1.0], [1.0]], r'one weight an edge, \[2\] \(got \[2, 1\]\)'),
        ([1.0, -1.0], 'finite and not negative'),
        ([1.0, math.nan], 'finite and not negative'),
        ([1.0, math.inf], 'finite and not negative'),
    ],
)
def test_bad_weights(weight, match):
    edge_index = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match=match):
        CandidatePool(edge_index, torch.tensor(weight), num_nodes=2)


def test_hubs_cost_others_nothing(monkeypatch):
    """Rows of a draw are as wide as pools of their kind, and not as the widest."""
    target = torch.cat(
        [torch.arange(200).repeat_interleave(3), torch.zeros(5000).long()]
    )
    source = torch.arange(len(target)) % 200
    pool = CandidatePool(torch.stack([source, target]), None, 201)
    widths = []
    draw = pool._draw

    def seen(node, size, widest, key):
        widths.append((len(node), widest))
        return draw(node, size, widest, key)

    monkeypatch.setattr(pool, '_draw', seen)
    every = torch.arange(201).flip(0)
    drawn = pool.draw(every, 4, seed=1)
    assert widths == [(199, 3), (1, 5003)]
    # Node 200 has no candidates, node 0 more than enough.
    assert drawn[0].tolist() == [-1] * 4
    assert (drawn[1:-1] >= 0).sum(1).eq(3).all()
    assert torch.equal(drawn[-1:], pool.draw(every[-1:], 4, seed=1))
    for node, row in zip(every.tolist(), drawn, strict=True):
        assert target[pool.perm[row[row >= 0]]].eq(node).all()


def test_more_than_any_pool_holds():
    pool = CandidatePool(torch.tensor([[1, 2, 0], [0, 0, 1]]), None, 3)
    drawn = pool.draw(torch.arange(3), 50_000, seed=0)
    assert drawn.size() == (3, 50_000)
    assert (drawn >= 0).sum(1).tolist() == [2, 1, 0]


def test_seeds_and_epochs_of_numpy():
    pool = CandidatePool(torch.tensor([[1, 2, 3], [0, 0, 0]]), None, 4)
    node = torch.zeros(1, dtype=torch.long)
    drawn = pool.draw(node, 2, np.int64(3), np.int64(2))
    assert torch.equal(drawn, pool.draw(node, 2, 3, 2))
