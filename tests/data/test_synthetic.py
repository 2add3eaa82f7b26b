import numpy as np
import pandas as pd
import pytest

from data.synthetic import planted_tables, planted_tastes
from data.zipf import FILMS, PEOPLE, zipf_bags, zipf_ratings


def test_everybody_has_two_ratings():
    for seed in range(3):
        for size in [(2, 2, 1e-9), (60, 80, 0.3), (9, 40, 0.01)]:
            tables = planted_tables(*size, seed=seed)
            assert (len(tables.users), len(tables.items)) == size[:2]
            for key, table in (('user', tables.users), ('item', tables.items)):
                counts = tables.ratings[key].value_counts()
                assert counts.min() >= 2
                assert set(counts.index) == set(table[key])
            assert tables.ratings['rating'].between(1, 5).all()


def test_a_seed_repeats():
    for plant in [planted_tables, planted_tastes]:
        one, same, other = (plant(seed=s) for s in (3, 3, 4))
        for name in ('users', 'items', 'ratings'):
            pd.testing.assert_frame_equal(getattr(one, name), getattr(same, name))
        assert not one.ratings.equals(other.ratings)


def with_tastes(tables):
    return tables.ratings.merge(tables.users, on='user').merge(
        tables.items, on='item', suffixes=('', '_of_item')
    )


def test_labels_say_whether_tastes_agree():
    tables = planted_tastes(noise=0)
    joined = with_tastes(tables)
    assert (joined['rating'] == (joined['taste'] == joined['taste_of_item'])).all()
    sizes = joined.groupby('user')['rating'].agg(['size', 'sum'])
    assert (sizes == [24, 12]).all(axis=None)
    assert tables.users['taste'].nunique() == tables.items['taste'].nunique() == 3
    counts = tables.ratings['item'].value_counts()
    assert counts.max() > 3 * counts.min()
    assert tables.ratings.groupby('user')['rating'].nth(0).nunique() == 2
    joined = with_tastes(planted_tastes(num_users=400, noise=0.2))
    flipped = joined['rating'] != (joined['taste'] == joined['taste_of_item'])
    assert flipped.mean() == pytest.approx(0.2, abs=0.02)


def test_zipf_ratings_are_distinct_pairs_and_follow_from_attributes():
    users, items = zipf_bags(400, PEOPLE)[0], zipf_bags(600, FILMS, seed=1)[0]
    (user, item), rating = zipf_ratings(users, items, 9000, seed=2)
    again, _ = zipf_ratings(users, items, 9000, seed=2)
    assert np.array_equal(again, [user, item])
    assert 7500 < len(rating) <= 9000
    assert len(np.unique(user * 600 + item)) == len(rating)
    assert 1 <= rating.min() <= rating.max() <= 5
    # Ratings of one user vary less than those of all.
    mean = np.bincount(user, rating) / np.bincount(user)
    assert mean[user].var() > 0.1 * rating.var()
