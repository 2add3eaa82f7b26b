"""Splits of any tables, also of some too small or too thin: strict, or refused."""

import re

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from data.splits import SCENARIOS, check_strict, split
from data.tables import RatingTables
from tests.properties.strategies import rating_tables

PARTS = ('train', 'validation', 'test', 'fit')
fractions = st.floats(0.01, 0.99)


@given(
    rating_tables(), st.sampled_from(SCENARIOS), fractions, fractions, st.integers(0, 9)
)
def test_invariants(tables, scenario, test, validation, seed):
    options = {'test': test, 'validation': validation, 'seed': seed}
    try:
        parts = split(tables, scenario, **options)
    except ValueError as error:
        few = "'(test|validation)' must be a fraction that leaves"
        assert re.match(few, str(error))  # noqa: PT017
        return
    check_strict(parts)
    frames = {name: getattr(parts, name) for name in PARTS}
    train, held_out, tested, fit = (set(frame.index) for frame in frames.values())
    if scenario != 'both_cold':
        assert train | held_out == fit
        assert len(fit | tested) == len(tables.ratings)
    # Other names of ids make no difference where they have the same order.
    is_number = tables.users['user'].dtype.kind == 'i'
    name = '{:03}'.format if is_number else 'x{}'.format
    named = (
        frame.assign(
            **{key: frame[key].map(name) for key in ('user', 'item') if key in frame}
        )
        for frame in (tables.users, tables.items, tables.ratings)
    )
    again = split(RatingTables(*named), scenario, **options)
    for name, frame in frames.items():
        assert len(frame)
        place = tables.ratings.index.get_indexer(frame.index)
        assert (place[1:] > place[:-1]).all()
        pd.testing.assert_frame_equal(frame, tables.ratings.loc[frame.index])
        assert frame.index.equals(getattr(again, name).index)
