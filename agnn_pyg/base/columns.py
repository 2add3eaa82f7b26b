"""One attribute column: its cells, its vocabulary or knots, and their tokens.

A further type of column is a subclass of :class:`ColumnEncoder` in :data:`STYPES`, and
a case of :func:`parse_column`.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

from agnn_pyg.base.checks import (
    TableColumn,
    as_text,
    check_columns,
    is_nothing,
    plain,
    warn,
)

# The attribute that all nodes of a side without attributes have in common.
CONSTANT = '(constant)'
FLOATS = (float, np.floating)
NUMBERS = (int, np.integer, *FLOATS)
VALUES = (*NUMBERS, str, np.bool_)  # which JSON keeps as they are
LISTS = (list, tuple, set, frozenset, np.ndarray)
WORD = re.compile(r'\b\w\w+\b')
ISO_DATE = re.compile(r'\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?')
# A column is numeric with so few texts among so many numbers.
FEW, MANY = 0.1, 20
# What to do where a cell does not suit the type of its column.
_REMEDIES = {
    'date': 'make dates or texts like 1999-12-31 of them, or change the type',
    'numeric': 'make numbers of them, such as 12.5, or change the type',
}
# So many times the range of the fit below or above it, numbers are far from it.
FAR = 3
# The most words of a text column, and the knots of each dimension of a vector.
MAX_WORDS, VECTOR_KNOTS = 1000, 4

# Rows, token ids and weights.
Tokens = tuple[np.ndarray, np.ndarray, np.ndarray]


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


@dataclass
class ColumnEncoder:
    """A fitted column, whose first token is :obj:`offset`.

    A token per value or knot comes first, then the one for rare values and the one for
    missing cells, if the fitted rows had any.
    """

    column: str
    stype: str
    offset: int
    values: list  # of a numeric column: its knots
    has_rare: bool
    has_missing: bool

    @classmethod
    def fit(
        cls, cells: ParsedColumn, offset: int, min_count: int, num_knots: int
    ) -> ColumnEncoder:
        """Fits a vocabulary or knots on the rows of a column."""
        if not len(cells.value) and cells.value.dtype != object:
            raise ValueError(
                f"Column '{cells.column}' holds no number to fit knots on; leave it "
                f'out of the attributes'
            )
        values, has_rare = cls.fit_values(cells, min_count, num_knots)
        if not values and cells.column != CONSTANT:
            least = f'{min_count} rows'
            if cells.stype == 'text':
                least += ' and at most half'
            # Other models may read values of any number of rows.
            warn(
                f"No value of column '{cells.column}' is in {least} of the fit; the "
                f"network embeds none; fill it in, lower 'min_count', give it another "
                f'type, or leave it out'
            )
        has_missing = bool(cells.is_missing.any())
        return cls(cells.column, cells.stype, offset, values, has_rare, has_missing)

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        """The values or knots with tokens of their own, and whether others are rare."""
        raise NotImplementedError

    def tokens(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells that are not missing, counted from 0."""
        raise NotImplementedError

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        """The value of a cell, from the tokens of its values."""
        return ', '.join(str(self.values[p]) for p in place)

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        """Raises ``ValueError`` if cells are of other types than those of the fit."""

    @property
    def num_tokens(self) -> int:
        return len(self.values) + self.has_rare + self.has_missing

    def encode(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells that are not missing, then those of the missing."""
        row, token, weight = self.tokens(cells)
        if self.has_missing:
            missing = np.flatnonzero(cells.is_missing)
            row = np.append(row, missing)
            token = np.append(token, np.full(len(missing), self.num_tokens - 1))
            weight = np.append(weight, np.ones(len(missing)))
        return row, token + self.offset, weight


class CategoricalEncoder(ColumnEncoder):
    """A token per value; a cell holds one value or, in a multi-valued column, some."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        count = _count_rows(cells)
        kept = count.index[count >= min_count]
        # Sorted, so that the vocabulary does not depend on the order of the rows.
        values = sorted(map(plain, kept), key=lambda v: (str(v), str(type(v))))
        return values, len(values) < len(count)

    def tokens(self, cells: ParsedColumn) -> Tokens:
        place = self._places(cells)
        if self.has_rare:
            place = np.where(place < 0, len(self.values), place)
        known = place >= 0
        # A bag is a set: two rare values in one row are one rare token.
        row, token = np.unique(np.stack([cells.row[known], place[known]]), axis=1)
        return row, token, np.ones(len(row))

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        if not self.values or self.column == CONSTANT:
            return
        unknown = self._places(cells) < 0
        is_text = np.array([isinstance(v, str) for v in cells.value], bool)
        fitted_texts = [isinstance(v, str) for v in self.values]
        in_list = np.array([isinstance(c, LISTS) for c in table.frame[self.column]])
        example = repr(self.values[0])
        to_text = 'make texts of them'
        if self.stype != 'multi':
            to_text += f', such as by {as_text(table.frame[self.column])}'
        for bad, what, remedy in (
            (~is_text & all(fitted_texts), 'number', to_text),
            (is_text & (not any(fitted_texts)), 'text', 'convert it as for the fit'),
            (
                is_text & ~in_list[cells.row] & (self.stype == 'multi'),
                'text that is no list',
                'make lists of them, such as by as_lists of agnn_pyg.base.io',
            ),
        ):
            problem = f'holds a {what}, unlike the fit (such as {example}), in'
            table.refuse(cells.row[unknown & bad], problem, remedy)
        table.remark(
            cells.row[unknown & unknown.all()],
            f'holds no value that the fit knows (it knows {example}), the first in',
            'check their spelling: values that are new tell nothing',
        )

    def _places(self, cells: ParsedColumn) -> np.ndarray:
        return pd.Index(self.values, dtype=object).get_indexer(cells.value)


class TextEncoder(CategoricalEncoder):
    """A token per word, of those in at most half of the rows, the most frequent."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        count = _count_rows(cells).sort_index()
        count = count[(count >= min_count) & (2 * count <= cells.num_rows)]
        # All texts have rare words, so that a token for them would tell nothing.
        return sorted(count.nlargest(MAX_WORDS).index), False


class NumericEncoder(ColumnEncoder):
    """A token per knot; a number between two knots has a part of either token."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        grid = np.linspace(0, 1, num_knots)
        return np.unique(np.quantile(cells.value, grid)).tolist(), False

    def knots(self) -> np.ndarray:
        """The K knots of each of D dimensions, :obj:`[D, K]`."""
        return np.array([self.values])

    def tokens(self, cells: ParsedColumn) -> Tokens:
        knots = self.knots()
        size = knots.shape[1]
        dimension = np.arange(len(knots))
        value = cells.value.reshape(len(cells.row), len(knots))
        value = value.clip(knots[:, 0], knots[:, -1])
        left = ((value[..., None] >= knots).sum(-1) - 1).clip(0, max(0, size - 2))
        low, high = (knots[dimension, np.minimum(left + k, size - 1)] for k in (0, 1))
        gap = high - low
        part = np.divide(value - low, gap, out=np.zeros_like(gap), where=gap > 0)
        part, token = part.ravel(), (left + size * dimension).ravel()
        row = np.tile(np.repeat(cells.row, len(knots)), 2)
        return row, np.append(token, token + 1), np.append(1 - part, part)

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        return f'{np.dot(weight, np.array(self.values)[place]):g}'

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        knots = self.knots()
        value = cells.value.reshape(len(cells.row), len(knots))
        low, high = knots[:, 0], knots[:, -1]
        beyond = np.maximum(low - value, value - high)
        is_far = beyond > FAR * (high - low)
        table.remark(
            cells.row[(is_far & (low < high)).mean(axis=1) >= 0.5],
            'holds values that are far from all of the fit, whose nearest counts, in',
            'bring them to the unit of the fit, unless they are meant',
        )


class DateEncoder(NumericEncoder):
    """A date as days since 1970."""

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        days = np.dot(weight, np.array(self.values)[place])
        return str(np.datetime64(0, 'D') + round(float(days)))


class VectorEncoder(NumericEncoder):
    """A few knots per dimension, as if each were a numeric column."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        knots = np.quantile(cells.value, np.linspace(0, 1, VECTOR_KNOTS), axis=0)
        return knots.T.ravel().tolist(), False

    def knots(self) -> np.ndarray:
        return np.reshape(self.values, (-1, VECTOR_KNOTS))

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        return f'{len(self.knots())} numbers'

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        size = len(self.knots())
        table.refuse(
            np.full(len(cells.row), cells.value.shape[1] != size),
            f'holds lists of another length than {size}, that of the fit, in',
            'compute them as those of the fit',
        )
        super().check_served(cells, table)


STYPES: dict[str, type[ColumnEncoder]] = {
    'categorical': CategoricalEncoder,
    'multi': CategoricalEncoder,
    'numeric': NumericEncoder,
    'date': DateEncoder,
    'text': TextEncoder,
    'vector': VectorEncoder,
}


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
    size = len(frame)
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
    if stype == 'text':
        words = [WORD.findall(text.lower()) for text in value]
        row, value = np.repeat(row, [*map(len, words)]), [*chain.from_iterable(words)]
        return ParsedColumn(column, stype, size, row, np.array(value, object))
    if stype in ('categorical', 'multi'):
        is_text = np.array([isinstance(v, str) for v in value], bool)
        table.remark(
            row[is_text & ~is_text.all()],
            'has texts beside other values, all of which count as categories, in',
            'make texts of all, .astype(str), or empty these cells',
        )
        return ParsedColumn(column, stype, size, row, value)
    if stype == 'vector':
        return _vectors(table, row, value, in_list)
    number, odd = np.full(size, np.nan), np.zeros(size, bool)
    number[row] = _days(value) if stype == 'date' else _floats(value)
    odd[row] = np.isnan(number[row]) | in_list
    missing = np.full(size, inferred)
    missing[row] |= np.array([is_nothing(v) for v in value], bool) & ~in_list
    problem = f'holds something else than a {stype} value in'
    table.refuse(odd & ~missing, problem, _REMEDIES[stype])
    problem = f'holds other than {stype} values, which count as missing, in'
    table.remark(odd, problem, "correct them, or change the type to 'categorical'")
    return _numbers(table, stype, number)


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
    return ParsedColumn(table.column, stype, len(number), row, number[row])


def _vectors(
    table: TableColumn, row: np.ndarray, value: np.ndarray, in_list: np.ndarray
) -> ParsedColumn:
    """A column of lists of numbers, all of the same length."""
    size = np.bincount(row, minlength=len(table.frame))
    width = np.bincount(size[row]).argmax() if len(row) else 1  # of most lists
    number = _floats(value)
    table.refuse(
        row[~(np.isfinite(number) & in_list & (size[row] == width))],
        'holds something else than lists of finite numbers, all of a length, in',
        'correct it, or give each number a column',
    )
    value, row = number.reshape(-1, width), np.flatnonzero(size)
    return ParsedColumn(table.column, 'vector', len(size), row, value)


def _explode(cells: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers and values of all that cells hold, and whether it is in a list.

    Decimals become floats; spaces around a text tell nothing.
    """
    in_list = np.array([isinstance(cell, LISTS) for cell in cells], bool)
    lists = [[*cell] if isinstance(cell, LISTS) else [cell] for cell in cells]
    values = pd.Series(lists, dtype=object).explode().dropna()
    value = [v.strip() if isinstance(v, str) else v for v in values]
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
        is_vector = are(*NUMBERS) and bool not in types
        is_vector &= any(isinstance(v, FLOATS) and v % 1 != 0 for v in value)
        is_vector |= are(*FLOATS)
        is_vector &= len(value) >= 2 * len(np.unique(row))
        is_vector &= in_list.all()
        return 'vector' if is_vector else 'multi' if in_list[0] else 'categorical'
    if are(datetime.date, str) and _mostly(_are_days(value), value):
        return 'date'
    if bool in types or not are(str, *NUMBERS) or cells.dtype.name == 'category':
        return 'categorical'
    # Numbers, perhaps with texts among them, where 007 is no number.
    is_number = ~np.isnan(_floats(value))
    numbers = value[is_number]
    mostly = not is_number.all() and _mostly(is_number, value)
    # A few different texts are categories.
    mostly &= not are(str) or len({*numbers}) > MANY
    mostly &= not any(re.match(r'0\d', str(number)) for number in numbers)
    return 'numeric' if mostly or are(*NUMBERS) else 'categorical'


def _mostly(is_part: np.ndarray, value: np.ndarray) -> bool:
    """Whether some values are of a part, and all others stand for nothing.

    These are words such as 'unknown' or, beside more and many different values, a
    repeated word or few words.
    """
    others = value[~is_part]
    if all(map(is_nothing, others)):
        return bool(is_part.any())
    is_word = 2 * len(others) < len(value) and len({*others}) == 1 < len(others)
    is_few = len(others) <= FEW * len(value)
    return (is_word or is_few) and len({*value[is_part]}) > MANY


def _are_days(value: np.ndarray) -> np.ndarray:
    """A mask of dates and of texts that look like one."""
    is_odd = (isinstance(v, str) and not ISO_DATE.fullmatch(v) for v in value)
    return ~np.fromiter(is_odd, bool, len(value))


def _floats(value: np.ndarray) -> np.ndarray:
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


def _count_rows(cells: ParsedColumn) -> pd.Series:
    """The number of rows in which each value occurs."""
    pairs = pd.DataFrame({'row': cells.row, 'value': cells.value})
    return pairs.drop_duplicates()['value'].value_counts()
