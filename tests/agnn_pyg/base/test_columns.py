"""Cells of any kind: read, encoded again after JSON, or refused with their row."""

import datetime
import decimal
import json
import uuid
from itertools import product

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.base.cells import parse_column
from agnn_pyg.base.columns import STYPES
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
    'objects': ('numeric', [2, 3], pd.array([1, 2.5, '', None, np.int64(7)], 'O')),
    'string': ('categorical', [2, 4], pd.array(['a', 'b', None, 'd', ''], 'string')),
    'NumPy texts': ('categorical', [2], [np.str_('a'), 'b', None]),
    'category': ('categorical', [3], pd.Categorical([3, 4, 4, None, 3])),
    'lists': ('multi', [2, 3], [['a', 'b'], ['c'], [], None, ['a']]),
    'arrays': ('multi', [0, 2], [np.array([]), np.array([1, 2]), None, np.array([3])]),
    'sets': ('multi', [2, 3], [{'a'}, {'a', 'b'}, set(), None, {'c'}]),
    'mixed': ('categorical', [4], [False, 1, 2.5, True, None]),
    'nothing': ('categorical', [0, 1], [None, None]),
    'missing dates': ('categorical', [0, 1], pd.to_datetime([None, None])),
    'datetime64 with gaps': ('date', [4], [*DAYS[:4], pd.NaT]),
    'time zone': ('date', [], DAYS.tz_localize('Europe/Prague')),
    'dates': ('date', [], DAYS_OF_PYTHON),
    'ISO texts': ('date', [2], ['1990-01-31', '2001-12-24 17:30', '']),
    'categories of dates': ('date', [], pd.Categorical(DAYS)),
    'vectors': ('vector', [1], [[0.5, 1.5], None, np.array([2.0, 1.0])]),
}
REFUSED = {
    'dicts': [{'WiFi': 'free'}, {'WiFi': 'no'}, {'Bar': 'yes'}, {}, {}],
    'lists of dates': [[day] for day in DAYS_OF_PYTHON],
    'times': [datetime.time(hour) for hour in range(5)],
    'timedelta': pd.to_timedelta(range(5), 'D'),
    'period': pd.period_range('2020', periods=5, freq='D'),
    'interval': pd.arrays.IntervalArray.from_breaks(range(6)),
    'uuid': [uuid.UUID(int=n) for n in range(5)],
    'bytes': [b'a', b'b', b'c', b'd', b''],
    'complex': np.arange(5) + 1j,
    'nested': [['a', ['b']]] * 5,
    'nested arrays': [np.array([np.arange(2), np.arange(3)], dtype=object)] * 5,
}


WORDS = ['unknown'], ['-', 'N/A'], ['tba']


def frame_of(cells):
    return pd.DataFrame({'x': pd.Series(cells)})


@pytest.mark.filterwarnings('ignore:No value of column')
def test_kept_and_encoded_again_after_json():
    for name, (stype, missing, cells) in KEPT.items():
        frame = frame_of(cells)
        column = parse_column(frame, 'x')
        assert column.stype == stype, name
        assert np.flatnonzero(column.is_missing).tolist() == missing, name
        encoder = AttributeEncoder(['x'])
        bags = encoder.fit_transform(frame)
        again = AttributeEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
        assert again.transform(frame).index.tolist() == bags.index.tolist(), name
        assert again.transform(frame).weight.tolist() == bags.weight.tolist(), name


@pytest.mark.parametrize('stype', [*STYPES, None])
def test_refused(stype):
    for cells in REFUSED.values():
        frame = frame_of(cells).set_axis([7, 8, 9, 10, 11])
        with pytest.raises(ValueError, match=r"'users' holds .*'x' in row 7 \("):
            parse_column(frame, 'x', stype, 'users')


def test_cells_that_do_not_suit_the_type():
    for stype, cells, row in (
        ('numeric', ['1', 'two', '3'], r'row 1 \(.two.\)'),
        ('numeric', [1, [2], 3], r'row 1 \(\[2\]\)'),
        ('numeric', [1.0, 2.0, -np.inf], r'row 2 \(-inf\)'),
        ('numeric', [1, -(10**400), 2], r'row 1 \(-1000'),
        ('date', ['1999-12-31', '31.12.1999'], r'row 1 \(.31'),
        ('date', [1999.0, 2000.0], r'row 0 \(1999.0, the first of 2'),
        ('text', ['good', 7], r'row 1 \(7\)'),
        ('vector', [[0.5, 1.5], [0.5]], r'row 1 \(\[0.5\]\)'),
        ('vector', [[0.5, 1.5], [0.5, None]], r'row 1 \('),
        ('vector', [[0.5, 1.5], [0.5, 'x']], r'row 1 \('),
        ('vector', [[0.5, 1.5], [0.5, np.inf]], r'row 1 \('),
        ('vector', [0.5, 1.5], r'row 0 \(0.5'),
        # Counts are of rows, not of cells within.
        ('vector', [['a', 'b'], ['c', 'd']], r'row 0 \(.*, the first of 2\)'),
    ):
        for frame in (frame_of(cells), frame_of(pd.Series(cells, dtype=object))):
            with pytest.raises(ValueError, match=rf"'users' holds .*'x'.*{row}"):
                parse_column(frame, 'x', stype, 'users')


def test_a_few_texts_among_many_numbers_or_dates():
    years = [*map(str, range(1960, 2000)), 'DK Publishing Inc']
    with pytest.warns(UserWarning, match=r"'items' .*'x'.* row 40 \('DK Publishing"):
        column = parse_column(frame_of(years), 'x', name='items')
    assert (column.stype, column.value.tolist()) == ('numeric', [*range(1960, 2000)])
    assert column.is_missing.sum() == 1
    # Codes, and few different numbers, are texts.
    for texts in ([f'{y:05}' for y in range(40)] + ['V5A2B'], 40 * ['1', '2'] + ['x']):
        assert parse_column(frame_of(texts), 'x').stype == 'categorical'
    days = pd.date_range('1990-01-01', periods=40).strftime('%Y-%m-%d')
    with pytest.warns(UserWarning, match=r"'items' .*'x'.* row 40 \('1990-13-45"):
        column = parse_column(frame_of([*days, '1990-13-45']), 'x', name='items')
    assert column.stype == 'date'
    assert (np.diff(column.value) == 1).all()
    assert parse_column(frame_of(20 * ['1990-01-01', 'x']), 'x').stype == 'categorical'


def test_words_for_nothing_and_other_texts_in_numbers_or_dates():
    numbers, days = [*range(18, 58)], [*pd.date_range('1990-01-01', periods=40)]
    texts, dates = [*map(str, numbers)], [str(day.date()) for day in days]

    def mixed(cells, *words):
        frame = frame_of(pd.Series(cells, dtype=object))
        frame.loc[2::3, 'x'] = pd.Series(words * 13).iloc[:13].to_numpy()
        return frame

    few, first = 8 * [1, 2, 3, 4, 5], r"'x' in row 2 \('{}', the first of 13"
    for cells, words in product((numbers, texts, days, dates, few), WORDS):
        is_codes, odd = words == ['tba'] and cells == few, mixed(cells, *words)
        kind = 'date' if cells in (days, dates) else 'numeric'
        for stype in (None, kind)[: 1 + (words != ['tba'])]:
            with pytest.warns(UserWarning, match=first.format(words[0])):
                found = parse_column(odd, 'x', stype).stype
            assert found == ('categorical' if is_codes else kind)
    with pytest.warns(UserWarning, match=first.format('tba')):
        assert parse_column(mixed(numbers, 'tba', 'soon'), 'x').stype == 'categorical'
    with pytest.raises(ValueError, match=r"'x' in row 0 \(Timestamp"):
        parse_column(mixed(days, 'tba', 'soon'), 'x')


def test_dates_of_any_year_and_vectors_are_interpolated():
    for day in (datetime.date, '{:04}-{:02}-{:02}'.format):
        cells = [day(1, 1, 1), day(1970, 1, 3), day(9999, 12, 31)]
        value = parse_column(frame_of(cells), 'x').value
        assert value.tolist() == [-719162, 2, 2932896]
    days = ['1970-01-01', '1970-01-11', '1970-01-06T00:00', datetime.date(1970, 1, 3)]
    encoder = AttributeEncoder({'x': 'date'}, num_knots=2)
    bags = encoder.fit_transform(frame_of(days))
    (column,) = encoder.column_encoders
    assert column.values == [0, 10]
    assert column.text([0, 1], [0.8, 0.2]) == '1970-01-03'
    assert bags.multi_hot().toarray()[:, 1:].round(6).tolist() == [
        *([1, 0], [0, 1], [0.5, 0.5], [0.8, 0.2])
    ]
    # Four knots a dimension, at quantiles: 0, 1, 2, 3 and 30, 20, 10, 0.
    vectors = [[float(n), 10.0 * (3 - n)] for n in range(4)]
    encoder = AttributeEncoder(['x']).fit(frame_of(vectors))
    bag = encoder.transform(frame_of([[1.25, 60.0]])).multi_hot().toarray()[0, 1:]
    assert bag.tolist() == [0, 0.75, 0.25, 0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"'x' in row 0 \(\[0.5, 0.5, 1.0\]"):
        encoder.transform(frame_of([[0.5, 0.5, 1.0]]))
    with pytest.warns(UserWarning, match=r"outside .*'x' in row 1 \(\[125"):
        encoder.transform(frame_of([[1, 0.5], [125.0, 9000.0]]))
    with pytest.raises(ValueError, match=r"'x' in row 0 \(\[1, 2\]"):
        parse_column(frame_of([[1, 2], [1, 0.5, 2], [1, -0.5, 2]]), 'x')
    with pytest.raises(ValueError, match=r"'x' in row 1 \(\[1.0, nan\]"):
        parse_column(frame_of([[1.0, 2.0], [1.0, float('nan')]]), 'x')
    # Equal numbers of a dimension, and cells of which all are missing.
    constant = AttributeEncoder({'x': 'vector'}).fit(frame_of([[1.0, 2.0]] * 3))
    assert constant.transform(frame_of([[5.0, 2.0]])).weight.sum() == 2
    nothing = frame_of(pd.Series([None, []], dtype=object))
    assert not constant.transform(nothing).weight.any()


def test_a_column_of_the_fit_is_no_suggestion_for_another():
    frame = pd.DataFrame({'zone': ['a', 'b'], 'joined': ['c', 'd']})
    encoder = AttributeEncoder([*frame]).fit(frame)
    with pytest.raises(ValueError, match=r"no column 'zone' \(known: joined\)"):
        encoder.transform(frame[['joined']])


def test_accents_and_emptied_cells():
    for mark in ('nan', '-', 'unknown'):
        cells = ['Ko\u0308ln', 'K\u00f6ln', ' K\u00f6ln', 'none', mark]
        with pytest.warns(UserWarning, match=rf"'users' .*'x' in row 4 \('{mark}'\)"):
            column = parse_column(frame_of(cells), 'x', name='users')
        assert [*column.value] == [*3 * ['K\u00f6ln'], 'none', mark]


def test_texts_are_words_in_some_of_the_rows():
    texts = ['Good steel, a pan', 'good STEEL pan!', 'cheap plastic pan']
    texts += ['cheap pan', '']
    encoder = AttributeEncoder({'x': 'text'}, min_count=2).fit(frame_of(texts))
    # 'pan' is in most rows, 'a' is no word, and 'plastic' is in one row.
    assert encoder.column_encoders[0].values == ['cheap', 'good', 'steel']
    bags = encoder.transform(frame_of(['A steel-good one', 'unheard of', '']))
    assert bags.index.tolist() == [[2, 3], [0, 0], [4, 0]]


def test_large_codes_are_told_apart_in_a_categorical_column():
    codes = frame_of(pd.Series([2**53, 2**53 + 1, None], dtype=object))
    encoder = AttributeEncoder({'x': 'categorical'}).fit(codes)
    assert encoder.column_encoders[0].values == [2**53, 2**53 + 1]
    assert len(encoder.transform(codes).index.unique()) == 3


def test_values_of_other_types_than_those_of_the_fit():
    for fitted, served, match in (
        (['1', '2'], [2, 1], r'number, unlike the fit.*row 0 \(2, .*astype\(str\)'),
        (['1', '2'], [1.0, 2.0], r"number.*astype\('Int64'\)\.astype\(str\)"),
        (['1', '2'], [True, True], r'number.*row 0 \(True, .*of 2\)'),
        ([['war', 'sea'], ['love']], ['war|sea'], r'text.*row 0 \(.war\|.*as_lists'),
        ([[1, 2], [3]], [['1']], r'text.*row 0'),
    ):
        encoder = AttributeEncoder(['x']).fit(frame_of(fitted))
        with pytest.raises(ValueError, match=rf"'frame' .*{match}"):
            encoder.transform(frame_of(served))
    # Equal numbers of another type, and known values outside of a list, are the same.
    codes = AttributeEncoder({'x': 'multi'}).fit(frame_of([[1, 2], [3]]))
    assert codes.transform(frame_of([2.0, 3])).index.tolist() == [[2], [3]]
    one = AttributeEncoder(['x']).fit(frame_of(['war']))
    for cells, row in ((['sea', 'x'], '0 .* of 2'), (['war', *'abcde'], '1 .* of 5')):
        with pytest.warns(UserWarning, match=rf"'frame'.*'x'.*row {row}"):
            one.transform(frame_of(cells))
    few = AttributeEncoder(['x']).fit(frame_of(['war', 'sea']))
    with pytest.warns(UserWarning, match=r"has 'sea'.*row 2 \('SEA'\).* not affect"):
        bags = few.transform(frame_of([' war', 'a', 'SEA']))
    assert bags.index.tolist() == [[2], [0], [0]]
    rare = AttributeEncoder(['x'], min_count=2).fit(frame_of(['a', 'war', 'war']))
    with pytest.warns(UserWarning, match=r"has 'war'.*row 1 .* count as rare"):
        rare.transform(frame_of(['war', 'War']))
    few = AttributeEncoder({'x': 'multi'}).fit(frame_of([['drama'], ['part 1']]))
    with pytest.warns(UserWarning, match=r"row 2 \(\['drma"):
        few.transform(frame_of([['drama', 'part 2'], ['drums'], ['drma'], ['part 1']]))
    with pytest.warns(UserWarning, match=r"separators.* lists in .* row 2 \('b;c'\)"):
        parse_column(frame_of([['b', 'c'], 'b', 'b;c']), 'x')
    prices = AttributeEncoder(['x']).fit(frame_of([3.0, 90, 400]))
    with pytest.warns(UserWarning, match=r'row 1 \(-1'):
        prices.transform(frame_of([70, -1, 80, 90]))
    with pytest.warns(UserWarning, match=r"mixes.* in row 1 \('a', .* of 2"):
        AttributeEncoder(['x']).fit(frame_of([2.0, 'a', '2']))


def test_a_vocabulary_without_values_is_said():
    for stype, cells, match in (
        ('categorical', ['a', 'b'], "in 2 rows .*network.*'min_count'"),
        ('text', ['an a'], 'in 2 rows and at most half of'),
        (None, [''], 'in 2 rows .*fill it in'),
    ):
        with pytest.warns(UserWarning, match=f"'x'.* {match}"):
            AttributeEncoder({'x': stype}, min_count=2).fit(frame_of(cells))
