import dataclasses

import pytest
import torch

from benchmarks.support import flipped, sizes_of, swapped, truncated
from tanp import Episodes


@pytest.fixture
def episodes():
    """Two tasks with two support interactions each, of three and four in all."""
    return Episodes(
        user=torch.tensor([5, 6]),
        ptr=torch.tensor([0, 3, 7]),
        item=torch.tensor([10, 11, 12, 20, 21, 22, 23]),
        label=torch.tensor([1.0, 2.0, 5.0, 4.0, 3.0, 1.0, 1.0]),
        num_support=torch.tensor([2, 2]),
        query_start=torch.tensor([2, 2]),
    )


def test_flipping_mirrors_the_support_and_nothing_else(episodes):
    got = flipped(episodes)
    assert got.label.tolist() == [5, 4, 5, 2, 3, 1, 1]
    assert got.item.equal(episodes.item)
    assert episodes.label[0] == 1
    assert flipped(got).label.equal(episodes.label)


def test_swapping_hands_supports_on_and_nothing_else(episodes):
    got = swapped(episodes)
    assert got.item.tolist() == [20, 21, 12, 10, 11, 22, 23]
    assert got.label.tolist() == [4, 3, 5, 1, 2, 1, 1]
    assert got.user.equal(episodes.user)


def test_swapping_needs_supports_of_one_size(episodes):
    ragged = dataclasses.replace(episodes, num_support=torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r'one size \(got 2 of sizes \[1, 2\]\)'):
        swapped(ragged)
    with pytest.raises(ValueError, match='got 1 of'):
        swapped(episodes.select(torch.tensor([0])))


def test_sizes_go_up_to_the_support(episodes):
    assert sizes_of(episodes) == [1, 2]
    cut = truncated(episodes)
    assert list(cut) == ['1', '2']
    assert cut['1'].num_support.tolist() == [1, 1]
    assert cut['1'].query_index().equal(episodes.query_index())
