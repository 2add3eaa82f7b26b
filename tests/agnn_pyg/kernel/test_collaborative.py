import pytest
import torch

from agnn_pyg.kernel.collaborative import (
    append_collaborative,
    co_rating_features,
    residual_features,
)
from agnn_pyg.kernel.features import FeatureMaps

RATED = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 2, 3]])


def test_users_of_the_same_items_are_alike():
    user, item = co_rating_features(RATED, 4, 5, num_factors=3)
    assert user.size() == (4, 3)
    similar = user @ user.t()
    assert similar[0, 1] == pytest.approx(float(similar[0, 0]), abs=1e-5)
    assert similar[0, 2] == pytest.approx(0, abs=1e-5)
    # User 3 and item 4 have no ratings.
    assert not user[3].any()
    assert not item[4].any()


def test_equal_ratings_have_no_residuals():
    user, item = residual_features(RATED, torch.full((6,), 3.0), 4, 5, num_factors=3)
    assert not user.any()
    assert not item.any()


@pytest.mark.parametrize('cold', [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize('num_factors', [0, 3])
def test_cold_sides_go_without(num_factors, cold):
    sides = [
        FeatureMaps(torch.ones(n, 1), torch.zeros(1, dtype=torch.long), ('constant',))
        for n in (4, 5)
    ]
    made = append_collaborative(*sides, RATED, torch.arange(6.0), num_factors, cold)
    for maps, is_cold in zip(made, cold, strict=True):
        n = 0 if is_cold else num_factors
        more = ('co-rating', 'residual') if n else ()
        assert maps.names == ('constant', *more)
        assert maps.component.tolist() == [0] + [1] * n + [2] * n


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
    scale = (there.sum(1, True) + 10).sqrt() * (there.sum(0, True) + 10).sqrt()
    left, value, _ = torch.linalg.svd((rest - user - item) * there / scale)
    expected = torch.nn.functional.normalize(left[:, :6] * value[:6], dim=1)
    found = residual_features(rated, rating, 9, 7, num_factors=6)[0].double()
    assert torch.allclose(found @ found.t(), expected @ expected.t(), atol=1e-3)
