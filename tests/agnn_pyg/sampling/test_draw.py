import math
from collections import Counter
from itertools import combinations, permutations

import pytest
import scipy.stats
import torch

from agnn_pyg.base.randomness import mix, uniform
from agnn_pyg.sampling import draw as draw_module
from agnn_pyg.sampling.draw import CandidateSets, edges_to

# Node 0 has five candidates, 1 none, 2 two, 3 one of weight 0 among three.
EDGE_INDEX = torch.tensor(
    [[4, 1, 2, 3, 5, 0, 5, 0, 1, 2], [0, 0, 0, 0, 0, 2, 2, 3, 3, 3]]
)
WEIGHT = torch.tensor([1.0, 2, 3, 4, 5, 1, 1, 1, 0, 3])
EPOCHS = 2500


@pytest.fixture
def sets():
    return CandidateSets(EDGE_INDEX, WEIGHT, num_nodes=6)


def drawn(sets, node, size, seed=0, epoch=0):
    """The sources drawn for one node, in the order of the draw."""
    slot = sets.draw(torch.tensor([node]), size, seed, epoch)[0]
    return sets.source[slot[slot >= 0]].tolist()


def test_pairs_follow_sequential_draws_without_replacement(sets):
    weight = {4: 1, 1: 2, 2: 3, 3: 4, 5: 5}
    chance = Counter()
    for a, b in permutations(weight, 2):
        chance[frozenset((a, b))] += weight[a] / 15 * weight[b] / (15 - weight[a])
    assert sum(chance.values()) == pytest.approx(1)
    count = Counter(frozenset(drawn(sets, 0, 2, epoch=e)) for e in range(EPOCHS))
    pairs = [frozenset(pair) for pair in combinations(weight, 2)]
    expected = [EPOCHS * chance[pair] for pair in pairs]
    observed = [count[pair] for pair in pairs]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_draws_for_no_nodes():
    none, empty = (torch.empty(size, dtype=torch.long) for size in (0, (2, 0)))
    sets = CandidateSets(EDGE_INDEX, WEIGHT, num_nodes=6)
    assert sets.draw(none, 2, seed=0).size() == (0, 2)
    sets = CandidateSets(empty, None, num_nodes=0)
    assert sets.draw(none, 2, seed=0).size() == (0, 2)


def test_a_draw_does_not_depend_on_other_nodes_or_the_device(sets, monkeypatch, device):
    every = sets.draw(torch.arange(6), 3, seed=5, epoch=2)
    some = torch.tensor([3, 0, 3, 2])
    assert torch.equal(sets.draw(some, 3, seed=5, epoch=2), every[some])
    for node in range(6):
        alone = sets.draw(torch.tensor([node]), 3, seed=5, epoch=2)
        assert torch.equal(alone[0], every[node])
    monkeypatch.setattr(draw_module, 'BLOCK_ENTRIES', 7)
    there = CandidateSets(EDGE_INDEX.to(device), WEIGHT.to(device), num_nodes=6)
    found = there.draw(torch.arange(6, device=device), 3, seed=5, epoch=2)
    assert found.device.type == device.type
    assert torch.equal(found.cpu(), every)
    assert torch.equal(sets.draw(torch.arange(6), 3, seed=5, epoch=2), every)


@pytest.mark.parametrize('step', ['epoch', 'seed', 'both'])
def test_seeds_and_epochs_are_independent(sets, step):
    # Two draws of five candidates each: 25 cells of a contingency table.
    seed, epoch = {'epoch': (0, 1), 'seed': (1, 0), 'both': (1, -1)}[step]
    table = torch.zeros(5, 5)
    for number in range(1, EPOCHS + 1):
        (one,) = drawn(sets, 0, 1, number, number)
        (other,) = drawn(sets, 0, 1, number + seed, number + epoch)
        table[one - 1, other - 1] += 1
    assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 1e-3


def test_uniform_numbers_are_uniform():
    numbers = uniform(torch.arange(100_000), key=mix(0))
    assert numbers.dtype == torch.double
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert scipy.stats.kstest(numbers.numpy(), 'uniform').pvalue > 1e-3
    # Neighboring counters do not correlate.
    assert abs(scipy.stats.pearsonr(numbers[1:], numbers[:-1]).statistic) < 0.02


def test_bad_weights():
    edge_index = torch.tensor([[0, 1], [1, 0]])
    for weight, match in (
        ([1.0], r"'edge_weight'.*\[2\].*\[1\]"),
        ([[1.0], [1.0]], r"'edge_weight'.*\[2\].*\[2, 1\]"),
        *(([1.0, bad], "'edge_weight'") for bad in (-1.0, math.nan, math.inf)),
    ):
        with pytest.raises(ValueError, match=match):
            CandidateSets(edge_index, torch.tensor(weight), num_nodes=2)


def test_a_hub_does_not_widen_the_rows_of_other_nodes(monkeypatch):
    target = torch.arange(200).repeat_interleave(3)
    target = torch.cat([target, torch.zeros(5000).long()])
    source = torch.arange(len(target)) % 200
    sets = CandidateSets(torch.stack([source, target]), None, 201)
    widths, draw = [], sets._draw

    def seen(node, size, widest, key):
        widths.append((len(node), widest))
        return draw(node, size, widest, key)

    monkeypatch.setattr(sets, '_draw', seen)
    every = torch.arange(201).flip(0)
    drawn = sets.draw(every, 4, seed=1)
    assert widths == [(199, 3), (1, 5003)]
    # Node 200 has no candidates, node 0 more than enough.
    assert drawn[0].tolist() == [-1] * 4
    assert (drawn[1:-1] >= 0).sum(1).eq(3).all()
    assert torch.equal(drawn[-1:], sets.draw(every[-1:], 4, seed=1))
    for node, row in zip(every.tolist(), drawn, strict=True):
        assert target[sets.perm[row[row >= 0]]].eq(node).all()


def test_rows_of_neighbors_become_edges():
    neighbor = torch.tensor([[2, 1], [-1, -1], [0, -1]])
    assert edges_to(neighbor).tolist() == [[2, 1, 0], [0, 0, 2]]
    assert edges_to(neighbor[:, :0], self_neighbor=True).size() == (2, 0)
    found = edges_to(neighbor, self_neighbor=True)
    assert found.tolist() == [[2, 0, 1, 0, 2], [0, 0, 1, 2, 2]]
