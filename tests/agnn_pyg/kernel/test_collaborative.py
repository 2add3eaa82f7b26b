import pytest
import torch
import torch.nn.functional as F

from agnn_pyg.damped_biases import damped_biases
from agnn_pyg.kernel.collaborative import append_collaborative, co_rating_features
from agnn_pyg.kernel.factorization import factor_rows, latent_factors
from agnn_pyg.kernel.features import FeatureMaps

RATED = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 2, 3]])


def constant_maps(*sizes):
    component = torch.zeros(1, dtype=torch.long)
    return [FeatureMaps(torch.ones(n, 1), component, ('constant',)) for n in sizes]


def test_users_of_the_same_items_are_alike():
    user, item = co_rating_features(RATED, 4, 5, num_factors=3)
    assert user.size() == (4, 3)
    similar = user @ user.t()
    assert similar[0, 1] == pytest.approx(float(similar[0, 0]), abs=1e-5)
    assert similar[0, 2] == pytest.approx(0, abs=1e-5)
    # User 3 and item 4 have no ratings.
    assert not user[3].any()
    assert not item[4].any()


def test_equal_ratings_have_no_factors():
    rating = torch.full((6,), 3.0)
    _, rest = damped_biases(RATED, rating - rating.mean(), (4, 5), 10.0, 5)
    assert not rest.any()
    assert not any(x.any() for x in latent_factors(RATED, rest, (4, 5)))
    rows = factor_rows(RATED, rating - rating.mean(), (4, 5), 2)
    assert [x[0].tolist() for x in rows] == [[0, 1, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize('cold', [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize('num_factors', [0, 3])
def test_cold_sides_go_without(num_factors, cold):
    parts = *constant_maps(4, 5), RATED, torch.arange(6.0)
    made = append_collaborative(*parts, num_factors, 2, cold)
    for maps, is_cold in zip(made, cold, strict=True):
        n = 0 if is_cold else num_factors
        more = ('co-rating', 'residual', 'factors') if n else ()
        assert maps.names == ('constant', *more)
        assert maps.component.tolist() == [0] + [1] * n + [2] * n + [3] * min(n, 2)


@pytest.mark.parametrize('learned', [False, True])
def test_factors_are_those_of_a_loop(learned):
    """A ridge regression of each node, with the uncertainty of the other side.

    If variances are learned, two more columns hold biases, and ones that are fixed.
    """
    torch.manual_seed(0)
    size = 61, 51
    there = torch.rand(size) < 0.5
    there[60], there[:, 50] = False, False  # the last user and item have no ratings
    rated, (p, q) = there.nonzero().t(), (torch.randn(n, 3).double() for n in size)
    rest = (p @ q.t() + 0.3 * torch.randn(size)) * there
    (b, c), left = damped_biases(rated, rest[there], size, 10.0, 5)
    start = torch.zeros_like(rest).masked_scatter(there, left) if learned else rest
    _, value, right = torch.linalg.svd(start)
    mean = [torch.zeros(61, 3).double(), (right.t()[:, :51] * value.sqrt())[:, :3]]
    penalty, free = (value[0] / 4).repeat(2, 3), 2 * [range(3)]
    if learned:
        more = (b, torch.ones(61)), (torch.ones(51), c)
        mean = [
            torch.cat([torch.stack(z, 1), m], 1)
            for z, m in zip(more, mean, strict=True)
        ]
        penalty, free = F.pad(penalty, (2, 0), value=10.0), ([0, 2, 3, 4], range(1, 5))
    spread = [torch.zeros(len(m), *2 * m.shape[1:]).double() for m in mean]
    variance = start[there].square().mean()
    for sweep in range(15 if learned else 5):
        for k, (left, mask) in enumerate(((rest, there), (rest.t(), there.t()))):
            for node in range(len(left)):
                z, s = mean[1 - k][mask[node]], spread[1 - k][mask[node]]
                gram, y = z.t() @ z + s.sum(0), z.t() @ left[node][mask[node]]
                y = y - gram[:, 1 - k] if learned else y
                inverse = (gram + penalty[k].diag())[free[k]][:, free[k]].inverse()
                mean[k][node, free[k]] = inverse @ y[free[k]]
                row = torch.tensor(free[k])[:, None]
                spread[k][node, row, free[k]] = variance * inverse
            moments = [
                x[:, :, None] * x[:, None] + s
                for x, s in zip(mean, spread, strict=True)
            ]
            if learned and sweep >= 2:
                penalty[k] = variance / moments[k].diagonal(dim1=1, dim2=2).mean(0)
        if learned:
            squares = rest.square() - 2 * rest * (mean[0] @ mean[1].t())
            variance = (squares + torch.einsum('uab,iab->ui', *moments))[there].mean()
    make = factor_rows if learned else latent_factors
    found = make(rated, rest[there].float(), size, 3)
    product = (mean[0] @ mean[1].t()).float()
    torch.testing.assert_close(found[0] @ found[1].t(), product, atol=1e-3, rtol=0)
    # Signs of singular vectors are free.
    for x, expected in zip(found, mean, strict=True):
        scale = expected.square().sum(1).mean().sqrt()
        x, expected = x / scale, expected / scale
        gram = (expected @ expected.t()).float()
        torch.testing.assert_close(x.float() @ x.t().float(), gram, atol=1e-3, rtol=0)
        assert not x[-1, 2 * learned :].any()


def test_residuals_are_what_damped_biases_leave():
    torch.manual_seed(0)
    rated = (torch.rand(9, 7) < 0.6).nonzero().t()
    rating = torch.rand(rated.size(1)) * 4 + rated[0] * 0.3
    rest = torch.zeros(9, 7).double()
    rest[tuple(rated)] = (rating - rating.mean()).double()
    there = torch.zeros(9, 7).double()
    there[tuple(rated)] = 1
    user, item = torch.zeros(9, 1).double(), torch.zeros(1, 7).double()
    for _ in range(5):
        item = ((rest - user) * there).sum(0, True) / (there.sum(0, True) + 10)
        user = ((rest - item) * there).sum(1, True) / (there.sum(1, True) + 10)
    left = (rest - user - item) * there
    _, found = damped_biases(rated, rating - rating.mean(), (9, 7), 10.0, 5)
    torch.testing.assert_close(found.double(), left[tuple(rated)], atol=1e-5, rtol=0)

    scale = (there.sum(1, True) + 10).sqrt() * (there.sum(0, True) + 10).sqrt()
    left, value, _ = torch.linalg.svd(left / scale)
    expected = torch.nn.functional.normalize(left[:, :6] * value[:6], dim=1)
    maps, _ = append_collaborative(*constant_maps(9, 7), rated, rating, 6, 2)
    found = maps.x[:, maps.component == 2].double()
    assert torch.allclose(found @ found.t(), expected @ expected.t(), atol=1e-3)
