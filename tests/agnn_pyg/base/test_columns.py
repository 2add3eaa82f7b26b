"""Cells of any kind: read, encoded again after JSON, or refused with their row."""

import datetime
import decimal
import json
import uuid

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.base.columns import parse_column
from agnn_pyg.base.encoder import AttributeEncoder

DAYS = pd.date_range('1990-01-31', periods=5, freq='YE')
DAYS_OF_PYTHON = [day.date() for day in DAYS]
DECIMALS = [decimal.Decimal(n) for n in ('1.5', '2', '3', '4', '5')]
# Name: the type that is inferred, the rows that are missing, and the cells.
KEPT = {
    'bool': ('categorical', [], [True, False, True, True, False]),
    'boolean': ('categorical', [1], pd.array([True, None, False], 'boolean')),
    'int8': ('numeric', [], np.arange(5, dtype=np.int8)),
    'Int64': ('numeric', [1], pd.array([1, None, 3, 4, 5], 'Int64')),
    'float32': ('numeric', [], np.arange(5, dtype=np.float32)),
    'sparse': ('numeric', [1], pd.arrays.SparseArray([1.0, np.nan, 2.0])),
    'decimals': ('numeric', [4], [*DECIMALS[:4], None]),
    'objects': (
        'numeric',
        [2, 3],
        pd.Series([1, 2.5, '', None, np.int64(7)], None, 'O'),
    ),
    'string': ('categorical', [2, 4], pd.array(['a', 'b', None, 'd', ''], 'string')),
    'NumPy texts': ('categorical', [2], [np.str_('a'), 'b', None]),
    'category': ('categorical', [3], pd.Categorical([3, 4, 4, None, 3])),
    'lists': ('multi', [2, 3], [['a', 'b'], ['c'], [], None, ['a']]),
    'arrays': ('multi', [0, 2], [np.array([]), np.array([1, 2]), None, np.array([3])]),
    'sets': ('multi', [2, 3], [{'a'}, {'a', 'b'}, set(), None, {'c'}]),
    'mixed': ('categorical', [4], ['a', 1, 2.5, True, None]),
    'decimals and texts': ('categorical', [], [*DECIMALS[:4], 'free']),
    'nothing': ('categorical', [0, 1], [None, None]),
    'missing dates': ('categorical', [0, 1], pd.to_datetime([None, None])),
}
REFUSED = {
    'datetime64': DAYS,
    'datetime64 with gaps': [*DAYS[:4], pd.NaT],
    'time zone': DAYS.tz_localize('Europe/Prague'),
    'dates': DAYS_OF_PYTHON,
    'lists of dates': [[day] for day in DAYS_OF_PYTHON],
    'times': [datetime.time(hour) for hour in range(5)],
    'timedelta': pd.to_timedelta(range(5), 'D'),
    'period': pd.period_range('2020', periods=5, freq='D'),
    'categories of dates': pd.Categorical(DAYS),
    'interval': pd.arrays.IntervalArray.from_breaks(range(6)),
    'uuid': [uuid.UUID(int=n) for n in range(5)],
    'bytes': [b'a', b'b', b'c', b'd', b''],
    'complex': np.arange(5) + 1j,
    'nested': [['a', ['b']]] * 5,
    'nested arrays': [np.array([np.arange(2), np.arange(3)], dtype=object)] * 5,
}


def frame_of(cells):
    return pd.DataFrame({'x': pd.Series(cells)})


@pytest.mark.parametrize(('stype', 'missing', 'cells'), KEPT.values(), ids=KEPT)
def test_kept_and_encoded_again_after_json(stype, missing, cells):
    frame = frame_of(cells)
    column = parse_column(frame, 'x')
    assert column.stype == stype
    assert np.flatnonzero(column.is_missing).tolist() == missing
    encoder = AttributeEncoder(['x'])
    bags = encoder.fit_transform(frame)
    again = AttributeEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again.transform(frame).index.tolist() == bags.index.tolist()
    assert again.transform(frame).weight.tolist() == bags.weight.tolist()


@pytest.mark.parametrize('stype', ['categorical', 'multi', 'numeric', None])
@pytest.mark.parametrize('cells', REFUSED.values(), ids=REFUSED)
def test_refused(cells, stype):
    frame = frame_of(cells).set_axis([7, 8, 9, 10, 11])
    with pytest.raises(ValueError, match=r"'users' holds .* column 'x' in row 7 \("):
        parse_column(frame, 'x', stype, 'users')


@pytest.mark.parametrize(
    ('cells', 'row'),
    [
        (['1', 'two', '3'], r'row 1 \(.two.\)'),
        ([1, [2], 3], r'row 1 \(\[2\]\)'),
        ([1.0, 2.0, -np.inf], r'row 2 \(-inf\)'),
        ([1, -(10**400), 2], r'row 1 \(-1000'),
    ],
)
def test_what_is_not_a_number_in_a_numeric_column(cells, row):
    for frame in (frame_of(cells), frame_of(pd.Series(cells, dtype=object))):
        with pytest.raises(ValueError, match=rf"'users' holds .*'x'.*{row}"):
            parse_column(frame, 'x', 'numeric', 'users')


def test_large_codes_are_told_apart_in_a_categorical_column():
    codes = frame_of(pd.Series([2**53, 2**53 + 1, None], dtype=object))
    encoder = AttributeEncoder({'x': 'categorical'}).fit(codes)
    assert encoder.column_encoders[0].values == [2**53, 2**53 + 1]
    assert len(encoder.transform(codes).index.unique()) == 3


def test_take_reads_the_cells_of_some_rows():
    column = parse_column(frame_of([['a', 'b'], None, ['c'], ['a']]), 'x')
    some = column.take(np.array([False, True, False, True]))
    assert (some.num_rows, some.row.tolist(), some.value.tolist()) == (2, [1], ['a'])
    assert some.is_missing.tolist() == [True, False]
