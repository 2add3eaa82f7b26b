"""Cells of one attribute column: read as values of one type, which may be inferred."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from unicodedata import normalize

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

from agnn_pyg.base.checks import TableColumn, check_columns, is_nothing
from agnn_pyg.base.io import MISSING

# The attribute that all nodes of a side without attributes have in common.
CONSTANT = '(constant)'
FLOATS = (float, np.floating)
NUMBERS = (int, np.integer, *FLOATS)
VALUES = (*NUMBERS, str, np.bool_)  # which JSON keeps as they are
LISTS = (list, tuple, set, frozenset, np.ndarray)
SEPARATED = re.compile(r'[|;,/]')
WORD = re.compile(r'\b\w\w+\b')
ISO_DATE = re.compile(r'\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?')
# A column is numeric with so few texts among so many numbers.
FEW, MANY = 0.1, 20
# What to do where a cell does not suit the type of its column.
_REMEDIES = {
    'date': 'make dates or texts like 1999-12-31 of them, or empty cells, or change '
    'the type',
    'numeric': 'make numbers of them, such as 12.5, or empty cells, or change the type',
    'text': 'make texts of them, or change the type',
    'vector': 'make lists of numbers of them, or change the type',
}


class CellTypeError(ValueError):
    """A cell holds something else than numbers, texts, dates, or lists of these."""


@dataclass(frozen=True)
class ParsedColumn:
    """The V values in an attribute column; a list in a cell has several."""

    column: str
    stype: str  # see AttributeEncoder
    num_rows: int
    row: np.ndarray  # of each value, ascending
    value: np.ndarray  # objects, or finite numbers: [V], of vectors [V, D]
    name: str = 'frame'  # of the table in error texts

    @property
    def is_missing(self) -> np.ndarray:
        """A mask of the rows without a value."""
        missing = np.ones(self.num_rows, bool)
        missing[self.row] = False
        return missing

    def take(self, mask: np.ndarray) -> ParsedColumn:
        """The cells of the rows in a mask."""
        kept = mask[self.row]
        place = np.cumsum(mask)
        row, value = place[self.row[kept]] - 1, self.value[kept]
        return replace(self, num_rows=int(mask.sum()), row=row, value=value)


def parse_column(
    frame: pd.DataFrame, column: str, stype: str | None = None, name: str = 'frame'
) -> ParsedColumn:
    """Reads an attribute column of the table :obj:`name`, and infers its type if None.

    ``ValueError`` names the first row that does not suit the type;
    :class:`CellTypeError`, that holds what would not be the same after save and load.
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
    remedy = 'make a number, a text or a list of them, or leave the column out'
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
        problem = f'holds something else than a {stype} value in'
        table.refuse(row[bad & ~may_miss], problem, _REMEDIES[stype])
        problem = f'holds other than {stype} values, which count as missing, in'
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
            'has texts beside other values, all of which count as categories, in',
            'make texts of all, .astype(str), or empty these cells',
        )
        table.remark(
            row[pd.Series(value).isin(MISSING)],
            'has texts that seem to stand for empty cells, and count as a category, in',
            'empty them, .where(cells.notna()) after .astype(str), unless meant',
        )
        loose = np.flatnonzero(is_text & ~in_list & in_list.any())
        is_joined = np.array([bool(SEPARATED.search(v)) for v in value[loose]], bool)
        table.remark(
            row[loose[is_joined]],
            'has texts with separators, each of them one value, beside lists in',
            'make lists of all, by as_lists of agnn_pyg.base.io or --lists',
        )
    return ParsedColumn(column, stype, len(frame), row, value, name)


def constant_column(num_rows: int) -> ParsedColumn:
    """A column in which all rows are equal."""
    value = np.full(num_rows, 'all', object)
    return ParsedColumn(CONSTANT, 'categorical', num_rows, np.arange(num_rows), value)


def _numbers(table: TableColumn, stype: str, number: np.ndarray) -> ParsedColumn:
    """A column of numbers, one a row or NaN."""
    table.refuse(
        np.isinf(number),
        'holds numbers that are infinite or too large in',
        'replace them by missing values or by a bound',
    )
    row = np.flatnonzero(~np.isnan(number))
    value = number[row]
    return ParsedColumn(table.column, stype, len(number), row, value, table.name)


def _vectors(
    table: TableColumn, row: np.ndarray, value: np.ndarray, in_list: np.ndarray
) -> ParsedColumn:
    """A column of lists of numbers, all of the same length."""
    size = np.bincount(row, minlength=len(table.frame))
    width = np.bincount(size[row]).argmax() if len(row) else 1  # of most lists
    number = floats(value)
    table.refuse(
        row[~(np.isfinite(number) & in_list & (size[row] == width))],
        'holds something else than lists of finite numbers, all of a length, in',
        'correct it, or give each number a column',
    )
    value, row = number.reshape(-1, width), np.flatnonzero(size)
    return ParsedColumn(table.column, 'vector', len(size), row, value, table.name)


def _explode(cells: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers and cleaned values of all cells, and whether each is in a list."""
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
    """The type of a column of objects, by its values."""
    types = {*map(type, value)}

    def are(*classes: type) -> bool:
        return bool(types) and all(issubclass(t, classes) for t in types)

    if in_list.any():
        # A list of one float is a value rather than a vector, and whole numbers may be
        # codes.
        is_vector = are(*NUMBERS) and any(issubclass(t, FLOATS) for t in types)
        is_vector &= len(value) >= 2 * len(np.unique(row))
        return 'vector' if is_vector and in_list.all() else 'multi'
    if are(datetime.date, str):
        is_day = [not isinstance(v, str) or bool(ISO_DATE.fullmatch(v)) for v in value]
        if _mostly(np.array(is_day), value):
            return 'date'
    if bool in types or not are(str, *NUMBERS) or cells.dtype.name == 'category':
        return 'categorical'
    # Numbers, perhaps with texts among them, where 007 is no number.
    is_number = ~np.isnan(floats(value))
    numbers = value[is_number]
    mostly = not is_number.all() and _mostly(is_number, value)
    # A few different texts are categories.
    mostly &= not are(str) or len({*numbers}) > MANY
    mostly &= not any(re.match(r'0\d', str(number)) for number in numbers)
    return 'numeric' if mostly or are(*NUMBERS) else 'categorical'


def _mostly(is_part: np.ndarray, value: np.ndarray) -> bool:
    """Whether values are of a part, except for few others or words for nothing."""
    others = value[~is_part]
    if all(map(is_nothing, others)):
        return bool(is_part.any())
    is_word = 2 * len(others) < len(value) and len({*others}) == 1 < len(others)
    is_few = len(others) <= FEW * len(value)
    return (is_word or is_few) and len({*value[is_part]}) > MANY


def floats(value: np.ndarray) -> np.ndarray:
    """Numbers, and NaN for what is none."""
    # Python's integers may be larger than any float.
    value = [np.inf if isinstance(v, int) and abs(v) >= 2**1023 else v for v in value]
    return pd.to_numeric(pd.Series(value, dtype=object), errors='coerce').to_numpy('f8')


def _days(value: np.ndarray) -> np.ndarray:
    """Dates and ISO texts as days since 1970, and NaN for other texts."""
    dates = pd.to_datetime([*value], errors='coerce', utc=True, format='ISO8601')
    # Microseconds, which reach beyond the year 2262.
    days = dates.tz_localize(None).to_numpy('datetime64[us]') - np.datetime64(0, 'D')
    return days / np.timedelta64(1, 'D')
