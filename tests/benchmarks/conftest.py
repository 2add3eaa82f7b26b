"""Small episodes that several of these files look at."""

import pytest

from data.synthetic import planted_tables
from data.tastes import planted_tastes
from tanp import split_episodes


def split(tables, **options):
    return split_episodes(
        tables.ratings, tables.users['user'], tables.items['item'], **options
    )


@pytest.fixture(scope='session')
def tastes():
    """The split of implicit feedback from three planted tastes, and its tables."""
    tables = planted_tastes()
    return split(tables, support_size=5, min_size=15, seed=0), tables


@pytest.fixture(scope='session')
def stars():
    """The split of planted ratings from 1 to 5, and its tables."""
    tables = planted_tables(num_users=90)
    return split(tables, support_size=5, min_size=15, seed=0), tables
