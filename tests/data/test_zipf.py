import itertools

import numpy as np
import pytest

from data.zipf import FILMS, PEOPLE, Field, zipf_bags, zipf_ratings


def test_bags_hold_values_of_every_field_once():
    bags, num_tokens = zipf_bags(2000, FILMS, seed=3)
    assert bags.max() < num_tokens == 1 + 18 + 300 + 500 + 800 + 40
    for row in bags:
        assert len(np.unique(row[row > 0])) == (row > 0).sum()
    ends = np.cumsum([1, 18, 300, 500, 800, 40])
    for low, high in itertools.pairwise(ends):
        assert ((bags >= low) & (bags < high)).any(axis=1).all()
    assert (bags > 0).sum(axis=1).mean() == pytest.approx(9.2, abs=0.3)


def test_people_have_294_profiles_at_most():
    bags, _ = zipf_bags(20_000, PEOPLE)
    assert bags.shape == (20_000, 3)
    assert 250 < len(np.unique(bags, axis=0)) <= 294


def test_values_fall_as_a_power():
    bags, _ = zipf_bags(100_000, (Field(50, 1, 1.0),))
    count = np.bincount(bags.ravel())[1:]
    assert count[0] / count[9] == pytest.approx(10, rel=0.1)


def test_ratings_are_distinct_pairs_and_follow_from_attributes():
    users, items = zipf_bags(400, PEOPLE)[0], zipf_bags(600, FILMS, seed=1)[0]
    (user, item), rating = zipf_ratings(users, items, 9000, seed=2)
    assert 7500 < len(rating) <= 9000
    assert len(np.unique(user * 600 + item)) == len(rating)
    assert user.max() < 400
    assert item.max() < 600
    assert rating.min() >= 1
    assert rating.max() <= 5
    # A user's ratings are alike: they vary less than those of all.
    mean = np.bincount(user, rating) / np.bincount(user)
    assert mean[user].var() > 0.1 * rating.var()


def test_seeds_repeat():
    users, items = zipf_bags(50, PEOPLE)[0], zipf_bags(60, FILMS)[0]
    one, same, other = (zipf_ratings(users, items, 200, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one[0], same[0])
    assert np.array_equal(one[1], same[1])
    assert not np.array_equal(one[0], other[0])


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"'num_rows' must be at least 1 \(got 0\)"):
        zipf_bags(0, PEOPLE)
    bags = zipf_bags(10, PEOPLE)[0]
    for number in (0, 11):
        with pytest.raises(ValueError, match=rf"'num_ratings' .* 10 \(got {number}\)"):
            zipf_ratings(bags, bags, number)
