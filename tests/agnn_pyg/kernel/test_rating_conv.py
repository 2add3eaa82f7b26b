import pytest
import torch

from agnn_pyg.kernel.features import RatedPairs, Relations
from agnn_pyg.kernel.rating_conv import RatingConv


def relations(size, widths, seed):
    """Random relations of the given widths; relation 0 is that of all."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, sum(widths), generator=generator, dtype=torch.double)
    number = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
    x = torch.cat([torch.ones(size, 1, dtype=torch.double), x], dim=1)
    number = torch.cat([torch.zeros(1, dtype=torch.long), number + 1])
    names = ('all', *(f'r{k}' for k in range(len(widths))))
    return Relations(x, number, names)


@pytest.fixture
def problem():
    user, item = relations(4, [2, 3], 0), relations(5, [1, 2, 2], 1)
    index = torch.tensor([[0, 3, 0, 1, 2, 3], [4, 1, 0, 2, 2, 4]])
    generator = torch.Generator().manual_seed(2)
    value = torch.randn(6, generator=generator, dtype=torch.double)
    gate = torch.rand(4, 5, generator=generator, dtype=torch.double)
    gate[-1, -1] = 0
    return user, item, index, value, gate


def similarity(side, relation, one, other):
    if relation == len(side.names):
        return float(one == other)
    chosen = side.relation == relation
    return float(side.x[one, chosen] @ side.x[other, chosen])


def loop_message(user, item, index, value, gate, u, i):
    total = 0.0
    for v, j, x in zip(*index.tolist(), value.tolist(), strict=True):
        for a in range(gate.size(0)):
            for b in range(gate.size(1)):
                similar = similarity(user, a, u, v) * similarity(item, b, i, j)
                total += float(gate[a, b]) * similar * x
    return total


def message(user, item, index, value, gate):
    pairs = RatedPairs(index, len(user.x), len(item.x))
    p, q = RatingConv()(user, item, pairs, value[pairs.order], gate)
    return p @ q.t()


def test_messages_against_the_formula(problem):
    got = message(*problem)
    expected = [[loop_message(*problem, u, i) for i in range(5)] for u in range(4)]
    torch.testing.assert_close(got, got.new_tensor(expected))


def test_gate_gradient_against_messages_of_single_gates(problem):
    user, item, index, value, gate = problem
    pairs = RatedPairs(index, 4, 5)
    weight = torch.randn(4, 5, dtype=torch.double)
    asked = RatedPairs((weight == weight).nonzero().t(), 4, 5)
    conv = RatingConv()
    gradient = conv.gate_gradient(
        user,
        item,
        conv.deliver(user, item, pairs, value[pairs.order]),
        conv.deliver(user, item, asked, weight.flatten()[asked.order]),
    )
    for a, b in (gate > 0).nonzero().tolist():
        only = torch.zeros_like(gate)
        only[a, b] = 1
        expected = (weight * message(user, item, index, value, only)).sum()
        torch.testing.assert_close(gradient[a, b], expected)


def test_pairs_are_read_in_their_own_order(problem):
    user, item, index, value, gate = problem
    pairs = RatedPairs(index, 4, 5)
    whole = message(*problem)
    p, q = RatingConv()(user, item, pairs, value[pairs.order], gate)
    read = torch.empty_like(value)
    read[pairs.order] = pairs.read(p, q)
    torch.testing.assert_close(read, whole[index[0], index[1]])


def test_a_closed_gate_lets_nothing_through(problem):
    user, item, index, value, gate = problem
    assert not message(user, item, index, value, torch.zeros_like(gate)).any()


def test_pairs_of_short_integers_are_sorted_by_user():
    index = torch.tensor([[50_000, 0, 1], [2, 60_000, 60_000]], dtype=torch.int32)
    pairs = RatedPairs(index, 50_001, 60_001)
    assert pairs.order.tolist() == [1, 2, 0]
    value = torch.tensor([3.0, 1.0, 2.0])
    assert pairs.by_user(value[pairs.order])[50_000].to_dense()[2] == 3
