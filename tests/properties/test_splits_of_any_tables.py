"""Splits of tables that are too small or too thin for some: strict, or refused."""

import re

from hypothesis import given
from hypothesis import strategies as st

from data.splits import COLD_SIDES, SCENARIOS, check_strict, split
from tests.properties.strategies import rating_tables

fractions = st.floats(0.01, 0.99)


@given(
    rating_tables(), st.sampled_from(SCENARIOS), fractions, fractions, st.integers(0, 9)
)
def test_no_cold_id_is_ever_trained_on(tables, scenario, test, validation, seed):
    options = {'test': test, 'validation': validation, 'seed': seed}
    try:
        parts = split(tables, scenario, **options)
    except ValueError as error:
        assert re.search("'test'|'validation'", str(error))  # noqa: PT017
        return
    check_strict(parts)
    for side in COLD_SIDES[scenario]:
        for held_out, seen in (('test', 'fit'), ('validation', 'train')):
            cold = set(getattr(parts, held_out)[side])
            assert not cold & set(getattr(parts, seen)[side])
    again = split(tables, scenario, **options)
    for name in ('train', 'validation', 'test', 'fit'):
        part = getattr(parts, name)
        assert part.index.equals(getattr(again, name).index)
        assert part.equals(tables.ratings.loc[part.index])
