"""What holds of every split, whatever the tables: sought by hypothesis."""

from functools import cache

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from data.splits import SCENARIOS, carve_validation, split
from data.synthetic import planted_tables
from data.tables import RatingTables

seeds = st.integers(0, 4_000_000)
# Large and dense enough that no part of users and items is without a rating.
fractions = st.floats(0.3, 0.5)
tables = st.builds(
    cache(planted_tables),
    num_users=st.sampled_from([25, 33]),
    num_items=st.sampled_from([25, 31]),
    density=st.sampled_from([0.7, 1]),
    seed=st.integers(0, 2),
)


def ids(frame, *keys):
    return set(frame[list(keys)].itertuples(index=False, name=None))


@given(tables, st.sampled_from(SCENARIOS), fractions, fractions, seeds)
def test_invariants(tables, scenario, test, validation, seed):
    parts = split(tables, scenario, test=test, validation=validation, seed=seed)
    train, held_out, tested, fit = (
        ids(frame, 'user', 'item')
        for frame in (parts.train, parts.validation, parts.test, parts.fit)
    )
    assert train
    assert held_out
    assert tested
    assert not train & held_out
    assert not fit & tested
    assert train | held_out <= fit
    if scenario != 'both_cold':
        assert train | held_out == fit
        assert len(fit | tested) == len(tables.ratings)
    for key in ('item', 'user'):
        if scenario in (f'{key}_cold', 'both_cold'):
            assert not ids(parts.test, key) & ids(parts.fit, key)
            assert not ids(parts.validation, key) & ids(parts.train, key)
    for frame in (parts.train, parts.validation, parts.test, parts.fit):
        pd.testing.assert_frame_equal(frame, tables.ratings.loc[frame.index])
        assert frame.index.is_monotonic_increasing


@given(tables, st.sampled_from(SCENARIOS), seeds)
def test_ids_are_names_only(tables, scenario, seed):
    """Text for numbers, in the same order, makes no difference."""
    named = RatingTables(
        *(
            frame.astype({key: str for key in ('user', 'item') if key in frame})
            for frame in (tables.users, tables.items, tables.ratings)
        )
    )
    one = split(tables, scenario, seed=seed)
    other = split(named, scenario, seed=seed)
    for part in ('train', 'validation', 'test', 'fit'):
        left, right = getattr(one, part), getattr(other, part)
        assert left.index.equals(right.index)


@given(tables, st.sampled_from(SCENARIOS), fractions, seeds)
def test_carving_again_changes_nothing(tables, scenario, fraction, seed):
    parts = split(tables, scenario, validation=fraction, seed=seed)
    train, validation = carve_validation(
        parts.fit, scenario, fraction=fraction, seed=seed
    )
    pd.testing.assert_frame_equal(train, parts.train)
    pd.testing.assert_frame_equal(validation, parts.validation)
