import pytest
import torch

from agnn_pyg.kernel.collaborative import agreed_ratings, append_rated, shared_ratings
from agnn_pyg.kernel.features import Relations

RATED = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 2, 3]])


def test_users_of_the_same_items_share_ratings():
    user, item = shared_ratings(RATED, 4, 5, rank=3)
    assert user.size() == (4, 3)
    similar = user @ user.t()
    assert similar[0, 1] == pytest.approx(float(similar[0, 0]), abs=1e-5)
    assert similar[0, 2] == pytest.approx(0, abs=1e-5)
    # Who has rated nothing, and what nobody has rated, is like nothing.
    assert not user[3].any()
    assert not item[4].any()


def test_users_who_rate_alike_agree():
    """Two users like the first two of four items, two the last two."""
    likes = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    rated = torch.cartesian_prod(torch.arange(4), torch.arange(4)).t()
    # What each gives on top to all, and what each item gets from all, says nothing.
    rating = likes.flatten() + rated[0] * 0.5 + rated[1] * 0.25
    user, item = agreed_ratings(rated, rating, 5, 4, rank=1)
    sides = torch.tensor([1.0, 1, -1, -1])
    expected = sides[:, None] * sides
    torch.testing.assert_close((item @ item.t()), expected, atol=1e-4, rtol=0)
    similar = (user @ user.t())[:4, :4]
    torch.testing.assert_close(similar, expected * similar[0, 0], atol=1e-3, rtol=0)
    assert not user[4].any()


def test_ratings_that_say_nothing_make_nobody_alike():
    user, item = agreed_ratings(RATED, torch.full((6,), 3.0), 4, 5, rank=3)
    assert not user.any()
    assert not item.any()


@pytest.mark.parametrize('rank', [(0, 0), (3, 0), (0, 3), (3, 3)])
def test_only_the_given_sides_have_them(rank):
    sides = [
        Relations(torch.ones(n, 1), torch.zeros(1, dtype=torch.long), ('all',))
        for n in (4, 5)
    ]
    made = append_rated(*sides, RATED, torch.arange(6.0), rank)
    for side, r in zip(made, rank, strict=True):
        assert side.names == (('all', 'shared', 'agreed') if r else ('all',))
        assert side.relation.tolist() == [0] + [1] * r + [2] * r
