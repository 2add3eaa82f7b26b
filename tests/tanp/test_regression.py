import pytest
import torch
import torch.nn.functional as F

from tanp.nn import SupportRegression


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return SupportRegression(2, processes=3).double()


@pytest.fixture
def task():
    """Kernels of 4 query and 3 support items, two tasks, as inner products."""
    torch.manual_seed(1)
    x = torch.randn(2, 2, 7, 5, dtype=torch.double)
    kernel = (x @ x.mT).permute(0, 2, 3, 1) / 5
    surprise = torch.tensor([[1.0, -1.0, 0.5], [0.5, 1.0, 1.0]]).double()
    mask = torch.tensor([[True, True, True], [True, False, True]])
    return kernel[:, :4, 4:], kernel[:, 4:, 4:], surprise, mask


def test_regression_against_the_formula(layer, task):
    """One task, process and query item at a time, without the padding."""
    kernel, among, surprise, mask = task
    found = layer(*task)
    weight = F.softplus(layer.weight)
    noise = F.softplus(layer.noise) + 0.02
    for b in range(2):
        some = mask[b].nonzero().flatten()
        for p in range(3):
            *w, constant = weight[p]
            k = sum(w[e] * among[b, some][:, some, e] for e in range(2))
            k = k + 0.2 * constant + noise[p] * torch.eye(len(some))
            value = torch.linalg.inv(k) @ surprise[b, some]
            for q in range(4):
                row = sum(w[e] * kernel[b, q, some, e] for e in range(2))
                expected = (row + 0.2 * constant) @ value
                torch.testing.assert_close(found[b, q, p], expected)


def test_padding_cannot_leak(layer, task):
    kernel, among, surprise, mask = (value.clone() for value in task)
    expected = layer(*task)
    surprise[1, 1] = torch.nan
    # What lies in the padding are likenesses of some item, which are finite.
    among[1, 1], among[1, :, 1], kernel[1, :, 1] = 7.0, 7.0, 7.0
    assert torch.equal(layer(kernel, among, surprise, mask), expected)


def test_gradients(layer, task):
    kernel, among, surprise, mask = task
    parameters = tuple(layer.parameters())

    def regress(kernel, surprise, *_):
        return layer(kernel, among, surprise, mask)

    inputs = kernel.requires_grad_(), surprise.requires_grad_(), *parameters
    assert torch.autograd.gradcheck(regress, inputs)


def test_one_taste_told_twice_counts_as_little_more_than_once(layer):
    """Sums of kernels would double."""
    one = torch.ones(1, 1, 1, 2, dtype=torch.double)
    said = torch.ones(1, 2, dtype=torch.double)
    with torch.no_grad():
        layer.noise.fill_(-5)
        once = layer(one, one, said[:, :1], said[:, :1] > 0)
        two = one.expand(1, 2, 2, 2)
        twice = layer(two[:, :1], two, said, said > 0)
    assert (once < twice).all()
    assert (twice < 1.05 * once).all()


def test_an_empty_support_says_nothing(layer):
    nothing = torch.zeros(2, 0, dtype=torch.double)
    kernel = torch.zeros(2, 5, 0, 2, dtype=torch.double)
    among = torch.zeros(2, 0, 0, 2, dtype=torch.double)
    found = layer(kernel, among, nothing, nothing > 0)
    assert torch.equal(found, torch.zeros(2, 5, 3, dtype=torch.double))
