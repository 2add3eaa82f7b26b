import pytest
import torch

from agnn_pyg.kernel import preconditioner
from agnn_pyg.kernel.kernel import PairwiseKernel, Solution
from agnn_pyg.kernel.pairs import RatedPairs
from agnn_pyg.kernel.preconditioner import UserBlocks


def component_kernel(maps, k, one, other):
    """A kernel of one side from the definition; the last one is the identity."""
    if k == len(maps.names):
        return float(one == other)
    chosen = maps.component == k
    return float(maps.x[one, chosen] @ maps.x[other, chosen])


def loop_kernel(maps, weight, pair, other):
    """The kernel of two pairs, term by term."""
    users, items = maps
    return sum(
        float(weight[a, b])
        * component_kernel(users, a, pair[0], other[0])
        * component_kernel(items, b, pair[1], other[1])
        for a in range(weight.size(0))
        for b in range(weight.size(1))
    )


@pytest.fixture
def kernel(maps):
    generator = torch.Generator().manual_seed(2)
    weight = torch.rand(4, 5, generator=generator, dtype=torch.double)
    weight[-1, -1] = 0
    index = torch.tensor([[0, 11, 0, 1, 2, 11], [4, 1, 0, 2, 2, 4]])
    return PairwiseKernel(*maps, RatedPairs(index, 12, 15), weight)


@pytest.fixture
def other_pairs():
    return RatedPairs(torch.tensor([[0, 5, 11], [4, 4, 14]]), 12, 15)


def dense(kernel, maps, at=None):
    def listed(pairs):
        return list(zip(pairs.user.tolist(), pairs.item.tolist(), strict=True))

    rows = [
        [loop_kernel(maps, kernel.weight, p, q) for q in listed(kernel.pairs)]
        for p in listed(at or kernel.pairs)
    ]
    return torch.tensor(rows, dtype=torch.double)


def product(kernel, alpha, pairs=None, at=None):
    return kernel.product(kernel.node_sums(alpha, pairs), at)


def random(size, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.double)


def test_products_against_the_definition(kernel, maps, other_pairs):
    alpha = random(6)
    matrix = dense(kernel, maps)
    torch.testing.assert_close(product(kernel, alpha), matrix @ alpha)
    cross = dense(kernel, maps, other_pairs)
    torch.testing.assert_close(product(kernel, alpha, at=other_pairs), cross @ alpha)
    beta = random(3)
    back = product(kernel, beta, pairs=other_pairs)
    torch.testing.assert_close(back, cross.t() @ beta)


def test_sides_may_be_swapped(kernel, maps):
    """With more users than items, the products take another way."""
    pairs = RatedPairs(torch.stack([kernel.pairs.item, kernel.pairs.user]), 15, 12)
    weight, alpha = kernel.weight.t().contiguous(), random(6)
    swapped = PairwiseKernel(*maps[::-1], pairs, weight)
    expected = product(kernel, alpha)[pairs.order]
    torch.testing.assert_close(product(swapped, alpha[pairs.order]), expected)


def test_weight_gradient_against_autograd(kernel, other_pairs):
    alpha, beta = random(6), random(3)
    kernel.weight.requires_grad_()
    form = beta @ product(kernel, alpha, at=other_pairs)
    (expected,) = torch.autograd.grad(form, kernel.weight)
    expected[-1, -1] = 0
    found = kernel.weight_gradient(
        kernel.node_sums(alpha), kernel.node_sums(beta, other_pairs)
    )
    torch.testing.assert_close(found, expected)


def test_conjugate_gradients_against_a_dense_solution(kernel, maps):
    target = random(6)
    matrix = dense(kernel, maps) + torch.eye(6, dtype=torch.double)
    expected = torch.linalg.solve(matrix, target)
    other, known = (
        Solution(alpha, kernel.node_sums(alpha)) for alpha in (random(6, 4), expected)
    )
    for start in (None, other):
        alpha, sums, iterations = kernel.solve_cg(target, start, tol=1e-12)
        torch.testing.assert_close(alpha, expected)
        torch.testing.assert_close(sums, kernel.node_sums(expected))
        assert 0 < iterations < 20
    assert kernel.solve_cg(target, known, tol=1e-6).iterations == 0


def test_row_numbers_of_int32_do_not_overflow():
    index = torch.tensor([[50_000, 0, 1], [2, 60_000, 60_000]], dtype=torch.int32)
    pairs = RatedPairs(index, 50_001, 60_001)
    assert pairs.order.tolist() == [1, 2, 0]


def test_preconditioner_is_exact_without_user_attributes(maps, tiny_pairs):
    """Then the kernel of two users' ratings depends on their items alone."""
    weight = torch.rand(4, 5, generator=torch.Generator().manual_seed(2)).double()
    weight[1:-1] = weight[-1, -1] = 0
    kernel = PairwiseKernel(*maps, RatedPairs(tiny_pairs[0], 12, 15), weight)
    target = random(len(kernel.pairs))
    solved = UserBlocks(kernel)(target)
    torch.testing.assert_close(solved + product(kernel, solved), target)


@pytest.mark.parametrize('limit', ['MAX_ENTRIES', 'MAX_ITEMS'])
def test_preconditioner_of_less_memory(maps, tiny_pairs, monkeypatch, limit):
    weight = torch.rand(4, 5, generator=torch.Generator().manual_seed(2)).double()
    kernel = PairwiseKernel(*maps, RatedPairs(tiny_pairs[0], 12, 15), weight)
    target, full = random(len(kernel.pairs)), UserBlocks(kernel)
    monkeypatch.setattr(preconditioner, limit, 4)
    monkeypatch.setattr(preconditioner, 'MIN_BLOCK', 2)
    small = UserBlocks(kernel)
    one, other = (
        kernel.solve_cg(target, tol=1e-12, precondition=made).alpha
        for made in (full, small)
    )
    assert not torch.allclose(full(target), small(target))
    torch.testing.assert_close(one, other)
