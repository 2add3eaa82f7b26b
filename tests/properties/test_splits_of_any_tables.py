"""Splits of tables that are too small or too thin for some: strict, or refused."""

import re

from hypothesis import given
from hypothesis import strategies as st

from data.splits import MODES, check_strict, split
from data.strict import COLD_SIDES
from tests.properties.strategies import rating_tables

fractions = st.floats(0.01, 0.99)


@given(rating_tables(), st.sampled_from(MODES), fractions, fractions, st.integers(0, 9))
def test_no_cold_id_is_ever_trained_on(tables, mode, test, validation, seed):
    options = {'test': test, 'validation': validation, 'seed': seed}
    try:
        parts = split(tables, mode, **options)
    except ValueError as error:
        assert re.search("'test'|'validation'", str(error))  # noqa: PT017
        return
    check_strict(parts)
    for side in COLD_SIDES[mode]:
        for held_out, seen in (('test', 'fit'), ('validation', 'train')):
            cold = set(getattr(parts, held_out)[side])
            assert not cold & set(getattr(parts, seen)[side])
    again = split(tables, mode, **options)
    for name in ('train', 'validation', 'test', 'fit'):
        part = getattr(parts, name)
        assert part.index.equals(getattr(again, name).index)
        assert part.equals(tables.ratings.loc[part.index])
