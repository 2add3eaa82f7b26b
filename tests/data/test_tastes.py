import pandas as pd
import pytest

from data.tables import validate
from data.tastes import planted_tastes


def with_tastes(tables):
    return tables.ratings.merge(tables.users, on='user').merge(
        tables.items, on='item', suffixes=('', '_of_item')
    )


@pytest.mark.parametrize('seed', range(3))
def test_labels_say_whether_tastes_agree(seed):
    tables = planted_tastes(noise=0, seed=seed)
    validate(tables)
    joined = with_tastes(tables)
    agree = joined['taste'] == joined['taste_of_item']
    assert (joined['rating'] == agree).all()
    assert (joined.groupby('user')['rating'].agg(['size', 'sum']) == [24, 12]).all(
        axis=None
    )
    assert tables.users['taste'].nunique() == tables.items['taste'].nunique() == 3


def test_noise_flips_its_share_of_labels():
    joined = with_tastes(planted_tastes(num_users=400, noise=0.2))
    agree = joined['taste'] == joined['taste_of_item']
    assert (joined['rating'] != agree).mean() == pytest.approx(0.2, abs=0.02)


def test_some_items_are_more_popular_than_others():
    counts = planted_tastes().ratings['item'].value_counts()
    assert counts.max() > 3 * counts.min()


def test_a_history_is_not_sorted_by_its_labels():
    labels = planted_tastes(noise=0).ratings.groupby('user')['rating']
    assert (labels.nth(0).reset_index(drop=True)).nunique() == 2


def test_a_seed_repeats():
    one, same, other = (planted_tastes(seed=s) for s in (3, 3, 4))
    for name in ('users', 'items', 'ratings'):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(same, name))
    assert not one.ratings.equals(other.ratings)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_users': 0}, "'num_users' must be at least 1.*got 0"),
        ({'num_items': 35}, r"'num_items' must be at least 36.*got 35"),
        ({'num_tastes': 1}, "'num_tastes' must be at least 2.*got 1"),
        ({'size': 7}, "'size' must be even.*got 7"),
        ({'noise': 0.5}, "'noise' must be from 0 to below 0.5.*got 0.5"),
        ({'seed': -1}, "'seed' must not be negative.*got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        planted_tastes(**arguments)
