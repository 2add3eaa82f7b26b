import numpy as np
import pandas as pd
import pytest

from data.splits import item_cold
from data.synthetic import planted_tables
from data.tables import validate


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('size', [(2, 2, 1e-9), (60, 80, 0.3), (9, 40, 0.01)])
def test_valid_and_everybody_has_two_ratings(size, seed):
    tables = planted_tables(*size, seed=seed)
    validate(tables)
    assert (len(tables.users), len(tables.items)) == size[:2]
    for key, table in (('user', tables.users), ('item', tables.items)):
        counts = tables.ratings[key].value_counts()
        assert counts.min() >= 2
        assert set(counts.index) == set(table[key])
    assert tables.ratings['rating'].between(1, 5).all()


def test_density_is_about_what_was_asked_for():
    tables = planted_tables(200, 300, density=0.3)
    assert len(tables.ratings) / 60_000 == pytest.approx(0.3, abs=0.01)
    assert len(planted_tables(5, 6, density=1).ratings) == 30


def test_a_seed_repeats():
    one, same, other = (planted_tables(seed=s) for s in (3, 3, 4))
    for name in ('users', 'items', 'ratings'):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(same, name))
    assert not one.ratings.equals(other.ratings)


def test_some_attributes_are_missing():
    items = planted_tables(num_items=400).items
    assert items['year'].isna().mean() == pytest.approx(0.1, abs=0.05)
    assert items['country'].isna().mean() == pytest.approx(0.1, abs=0.05)
    assert items['genre'].map(len).value_counts().index.isin([0, 1, 2]).all()
    assert (items['genre'].map(len) == 0).any()


def design(tables, ratings):
    """TokenBags and products of taste, for least squares; none are ids."""
    users, items = tables.positions(ratings)
    user = pd.get_dummies(tables.users[['gender', 'occupation']], dtype=float)
    genre = pd.get_dummies(tables.items['genre'].explode(), dtype=float)
    genre = genre.groupby(level=0).sum()
    genre = genre.div(genre.sum(axis=1).clip(1), axis=0).to_numpy()
    country = pd.get_dummies(tables.items['country'], dtype=float)
    year = tables.items[['year']].fillna(1985) - 1985
    one = np.c_[user, tables.users['age'] - 43, np.ones(len(user))][users]
    other = genre[items]
    products = (user.to_numpy()[users][:, :, None] * other[:, None, :]).reshape(
        len(ratings), -1
    )
    return np.c_[
        one, other, country.to_numpy()[items], year.to_numpy()[items], products
    ]


@pytest.mark.parametrize('seed', range(3))
def test_attributes_alone_rate_cold_items_to_within_the_noise(seed):
    tables = planted_tables(120, 160, noise=0.1, seed=seed)
    parts = item_cold(tables, seed=seed)
    weights, *_ = np.linalg.lstsq(
        design(tables, parts.fit), parts.fit['rating'].to_numpy(), rcond=None
    )
    truth = parts.test['rating'].to_numpy()
    error = np.sqrt(np.mean((design(tables, parts.test) @ weights - truth) ** 2))
    assert error < 0.12
    assert error < 0.3 * truth.std()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_users': 1}, "'num_users' must be at least 2.*got 1"),
        ({'num_items': 0}, "'num_items' must be at least 2.*got 0"),
        ({'density': 0}, "'density' must be above 0.*got 0"),
        ({'density': 1.5}, "'density'.*got 1.5"),
        ({'noise': -1}, "'noise'.*got -1"),
        ({'noise': float('nan')}, "'noise'.*got nan"),
        ({'seed': -1}, "'seed' must not be negative.*got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        planted_tables(**arguments)
