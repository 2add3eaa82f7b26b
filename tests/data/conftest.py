"""Tables that several of these files look at."""

import pandas as pd
import pytest

from data.tables import RatingTables


@pytest.fixture
def frames():
    """Valid arguments of RatingTables, to be spoilt by a test."""
    return {
        'users': pd.DataFrame({'user': [7, 3, 5], 'age': [20, 30, None]}),
        'items': pd.DataFrame({'item': ['b', 'a'], 'genre': [['x', 'y'], []]}),
        'ratings': pd.DataFrame(
            {
                'user': [3, 7, 3],
                'item': ['a', 'b', 'b'],
                'rating': [4, 2.5, 1],
                'timestamp': [10, 11, 12],
            },
            index=[30, 10, 20],
        ),
    }


@pytest.fixture
def tables(frames):
    return RatingTables(**frames)
