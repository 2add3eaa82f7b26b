"""Parses the cells of an attribute column into values of one semantic type (stype)."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from numbers import Real
from unicodedata import normalize

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

from agnn_pyg.base.checks import TableColumn, check_columns, is_nothing
from agnn_pyg.base.io import MISSING

# The only attribute of users or items that have no attributes: equal for all of them.
CONSTANT = '(constant)'
FLOATS = (float, np.floating)
NUMBERS = (int, np.integer, *FLOATS)
VALUES = (*NUMBERS, str, np.bool_)  # types that JSON can store
LISTS = (list, tuple, set, frozenset, np.ndarray)
SEPARATED = re.compile(r'[|;,/]')
WORD = re.compile(r'\b\w\w+\b')
ISO_DATE = re.compile(r'\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?')
# Most values: all except this fraction, and more than this many distinct ones.
FEW, MANY = 0.1, 20
# What to do if a cell does not have the type of its column.
_REMEDIES = {
    'date': 'use dates or texts like 1999-12-31 (of a year, 1999-01-01), empty these '
    'cells, or change the type',
    'numeric': 'use numbers such as 12.5, empty these cells, or change the type',
    'text': 'convert them to texts, or change the type',
    'vector': 'use lists of numbers, or change the type',
}


class CellTypeError(ValueError):
    """A cell is no number, text or date, and no list of numbers, texts or dates."""


@dataclass(frozen=True)
class ParsedColumn:
    """The V values of an attribute column; a cell with a list has several values."""

    column: str
    stype: str  # see AttributeEncoder
    num_rows: int
    row: np.ndarray  # row number of each value, ascending
    value: np.ndarray  # objects or finite numbers [V], or vectors [V, D]
    name: str = 'frame'  # name of the table in error texts

    @property
    def is_missing(self) -> np.ndarray:
        """A mask of the rows without a value."""
        missing = np.ones(self.num_rows, bool)
        missing[self.row] = False
        return missing

    def take(self, mask: np.ndarray) -> ParsedColumn:
        """The column restricted to the rows of a mask."""
        kept = mask[self.row]
        place = np.cumsum(mask)
        row, value = place[self.row[kept]] - 1, self.value[kept]
        return replace(self, num_rows=int(mask.sum()), row=row, value=value)


def parse_column(
    frame: pd.DataFrame, column: str, stype: str | None = None, name: str = 'frame'
) -> ParsedColumn:
    """Parses an attribute column of the table :obj:`name`; infers its stype if None.

    ``ValueError`` names the first row whose cell does not have the type. It is a
    :class:`CellTypeError` if a value has a type that a saved model cannot store.
    """
    if column == CONSTANT:
        return constant_column(len(frame))
    check_columns(frame, name, [column])
    cells = frame[column]
    table = TableColumn(frame, column, name)
    if is_numeric_dtype(cells) and not is_complex_dtype(cells):
        stype = stype or ('categorical' if is_bool_dtype(cells) else 'numeric')
        if stype == 'numeric':
            return _numbers(table, stype, cells.to_numpy(np.float64, na_value=np.nan))
    row, value, in_list = _explode(cells)
    inferred = stype is None
    stype = stype or _infer(cells, row, value, in_list)
    allowed = {'date': (str, datetime.date), 'text': str}.get(stype, VALUES)
    remedy = 'convert it to a number, a text or a list of these, or drop the column'
    table.refuse(
        row[np.array([not isinstance(v, allowed) for v in value], bool)],
        f'holds a value that does not suit the type {stype} in',
        _REMEDIES.get(stype, remedy),
        CellTypeError,
    )
    if stype == 'vector':
        return _vectors(table, row, value, in_list)
    if stype in ('numeric', 'date'):
        number = _days(value) if stype == 'date' else floats(value)
        bad = np.isnan(number) | in_list
        may_miss = inferred | (np.array([*map(is_nothing, value)], bool) & ~in_list)
        wanted = 'a date' if stype == 'date' else 'a number'
        problem = f'holds a value that is not {wanted} in'
        table.refuse(row[bad & ~may_miss], problem, _REMEDIES[stype])
        problem = f'holds a value that is not {wanted}, read as missing, in'
        remedy = "correct them, or change the type to 'categorical'"
        table.remark(row[bad], problem, remedy)
        every = np.full(len(frame), np.nan)
        every[row[~bad]] = number[~bad]
        return _numbers(table, stype, every)
    if stype == 'text':
        words = [WORD.findall(text.lower()) for text in value]
        row = np.repeat(row, [*map(len, words)])
        value = np.array([*chain.from_iterable(words)], object)
    else:
        is_text = np.array([isinstance(v, str) for v in value], bool)
        table.remark(
            row[is_text & ~is_text.all()],
            'mixes texts with other values, and each is read as a category, in',
            'convert all to texts, .astype(str), or empty these cells',
        )
        # The word 'none' is often a value, such as of people without an occupation.
        marks = [v for v in pd.unique(value) if is_nothing(v) and v != 'none']
        table.remark(
            row[pd.Series(value).isin([*marks, *MISSING])],
            'has texts that look like empty cells but are read as a category in',
            'if they are, empty these cells, by .where(cells.notna()) if .astype(str) '
            'made them',
        )
        loose = np.flatnonzero(is_text & ~in_list & in_list.any())
        is_joined = np.array([bool(SEPARATED.search(v)) for v in value[loose]], bool)
        table.remark(
            row[loose[is_joined]],
            'has texts with separators, read as single values, among lists in',
            'split them with agnn_pyg.base.io.as_lists or --lists',
        )
    return ParsedColumn(column, stype, len(frame), row, value, name)


def constant_column(num_rows: int) -> ParsedColumn:
    """A column with the same value in all rows."""
    value = np.full(num_rows, 'all', object)
    return ParsedColumn(CONSTANT, 'categorical', num_rows, np.arange(num_rows), value)


def _numbers(table: TableColumn, stype: str, number: np.ndarray) -> ParsedColumn:
    """A column with one number per row; NaN is missing."""
    table.refuse(
        np.isinf(number),
        'holds infinite or too large numbers in',
        'empty these cells, or clip them',
    )
    row = np.flatnonzero(~np.isnan(number))
    value = number[row]
    return ParsedColumn(table.column, stype, len(number), row, value, table.name)


def _vectors(
    table: TableColumn, row: np.ndarray, value: np.ndarray, in_list: np.ndarray
) -> ParsedColumn:
    """A column of lists of numbers, all of the same length."""
    size = np.bincount(row, minlength=len(table.frame))
    width = np.bincount(size[row]).argmax() if len(row) else 1  # the most frequent
    number = floats(value)
    table.refuse(
        row[~(np.isfinite(number) & in_list & (size[row] == width))],
        f'holds a cell that is not a list of {width} finite numbers in',
        "correct it, use one column per number, or give it the type 'multi'",
    )
    value, row = number.reshape(-1, width), np.flatnonzero(size)
    return ParsedColumn(table.column, 'vector', len(size), row, value, table.name)


def _explode(cells: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row number and cleaned value of each entry, and whether it comes from a list."""
    in_list = np.array([isinstance(cell, LISTS) for cell in cells], bool)
    lists = [[*cell] if isinstance(cell, LISTS) else [cell] for cell in cells]
    values = pd.Series(lists, dtype=object).explode().dropna()
    value = [normalize('NFC', v.strip()) if isinstance(v, str) else v for v in values]
    value = [float(v) if isinstance(v, Decimal) else v for v in value]
    is_empty = np.array([isinstance(v, str) and not v for v in value], bool)
    row = values.index.to_numpy(np.int64)[~is_empty]
    return row, np.fromiter(value, object, len(value))[~is_empty], in_list[row]


def _infer(
    cells: pd.Series, row: np.ndarray, value: np.ndarray, in_list: np.ndarray
) -> str:
    """The stype of an object column, inferred from its values."""
    types = {*map(type, value)}

    def are(*classes: type) -> bool:
        return bool(types) and all(issubclass(t, classes) for t in types)

    if in_list.any():
        # Lists of one float are no vectors, and whole numbers may be codes.
        is_vector = are(*NUMBERS) and any(issubclass(t, FLOATS) for t in types)
        is_vector &= np.bincount(row).max() > 1
        return 'vector' if is_vector and in_list.all() else 'multi'
    if are(datetime.date, str):
        is_day = [not isinstance(v, str) or bool(ISO_DATE.fullmatch(v)) for v in value]
        if _mostly(np.array(is_day), value):
            return 'date'
    if bool in types or not are(str, *NUMBERS) or cells.dtype.name == 'category':
        return 'categorical'
    # Numbers, perhaps mixed with texts. A text such as '007' is a code, not a number.
    is_number = ~np.isnan(floats(value))
    numbers = value[is_number]
    mostly = not is_number.all() and _mostly(is_number, value)
    # Texts with few distinct numbers are categories.
    mostly &= not are(str) or len({*numbers}) > MANY
    mostly &= not any(re.match(r'0\d', str(number)) for number in numbers)
    # Texts of whole numbers may be codes, but texts of decimals are numbers.
    is_decimal = is_number.all() and len({*numbers}) > MANY
    is_decimal = is_decimal and any('.' in str(number) for number in numbers)
    return 'numeric' if mostly or is_decimal or are(*NUMBERS) else 'categorical'


def _mostly(is_part: np.ndarray, value: np.ndarray) -> bool:
    """Whether most values are in a mask, with few others or one repeated word."""
    others = value[~is_part]
    if all(map(is_nothing, others)):
        return bool(is_part.any())
    is_word = 2 * len(others) < len(value) and len({*others}) == 1 < len(others)
    is_few = len(others) <= FEW * len(value)
    return (is_word or is_few) and len({*value[is_part]}) > MANY


def floats(value: np.ndarray) -> np.ndarray:
    """The values as floats; NaN if a value is no number."""
    # Python integers may be too large for a float; pandas cannot read all objects.
    readable = (Real, Decimal, str, np.bool_)
    value = [v if isinstance(v, readable) else None for v in value]
    value = [np.inf if isinstance(v, int) and abs(v) >= 2**1023 else v for v in value]
    return pd.to_numeric(pd.Series(value, dtype=object), errors='coerce').to_numpy('f8')


def _days(value: np.ndarray) -> np.ndarray:
    """Dates and ISO texts as days since 1970; NaN for other texts."""
    dates = pd.to_datetime([*value], errors='coerce', utc=True, format='ISO8601')
    # Nanoseconds would overflow in the year 2262.
    days = dates.tz_localize(None).to_numpy('datetime64[us]') - np.datetime64(0, 'D')
    return days / np.timedelta64(1, 'D')
