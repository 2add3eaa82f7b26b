"""Reads columns of user and item ids, and maps ids to row numbers."""

from __future__ import annotations

import functools
import numbers
import re
import unicodedata
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from agnn_pyg.base.checks import (
    TableColumn,
    as_text,
    check_columns,
    is_nothing,
    plain,
    shown,
)

# Floats represent whole numbers exactly below this bound.
EXACT_FLOATS = 2.0**53
# Texts that may mean missing, but are also valid ids.
NAMES = ('na', 'null')
ACCENTS = "(zeros by .str.zfill(width), accents by .str.normalize('NFC'))"
# Pandas calls that convert a column to a type of ids.
_CONVERT = {'int': 'pandas.to_numeric(...).astype(int)', 'uuid': '.map(uuid.UUID)'}


@dataclass(frozen=True)
class IdColumn(TableColumn):
    """A column of ids from :func:`read_ids`: all int, all str or all uuid."""

    dtype: str
    values: np.ndarray  # int64 or objects

    def __len__(self) -> int:
        return len(self.values)

    def take(self, mask: np.ndarray) -> IdColumn:
        """The ids in the rows of a mask."""
        return replace(self, frame=self.frame[mask], values=self.values[mask])

    def check_rows(self, remedy: str) -> None:
        """Raises ``ValueError`` if the table has no rows."""
        if not len(self):
            raise ValueError(f"'{self.name}' has no rows; {remedy}")

    def check_known(self, ids: Vocabulary, table: str) -> np.ndarray:
        """Row numbers of the ids; ``ValueError`` names an id that is not in a table."""
        rows = ids.rows(self)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            remedy = f"add it to '{table}', at least the id, or drop the row"
            like = ids.like(self.values[unknown[0]])
            if like is not None:
                remedy = (
                    f"write ids alike, such as {plain(like)!r} in '{table}' {ACCENTS}"
                )
            elif len(ids) and len(unknown) == len(rows):
                first = plain(ids.values[0])
                remedy += f" (no id has one; '{table}' has ids such as {first!r})"
            self.refuse(unknown, f"has an id without a row in '{table}':", remedy)
        return rows

    def known_rows(self, ids: Vocabulary, problem: str, remedy: str) -> np.ndarray:
        """Row numbers of the ids; ``ValueError`` with the given text if unknown."""
        rows = ids.rows(self)
        self.warn_of_like(ids, rows)
        unknown = self.values[rows < 0]
        hint = ids.hint(unknown[0]) if len(unknown) else ''
        self.refuse(rows < 0, problem, f'{hint}{remedy}')
        return rows

    def warn_of_like(self, ids: Vocabulary, rows: np.ndarray) -> None:
        """Warns if unknown ids differ from known ones only in spelling.

        :meth:`warn_of_odd` warns of ids with spaces around them.
        """
        new = np.flatnonzero(rows < 0)
        like = [ids.like(v) is not None and v == v.strip() for v in self.values[new]]
        self.remark(
            new[np.array(like, bool)],
            'has new ids that differ from known ones in case, zeros or accents, in',
            f'write them as in the fit {ACCENTS}, unless they are different ids',
        )

    def warn_of_odd(self) -> None:
        """Warns of ids that differ only in spelling, and of ids that look missing."""
        code, distinct = pd.factorize(self.values)
        is_mark = np.zeros(len(distinct), bool)
        if self.dtype == 'int':
            is_mark = (distinct == -1) & ~(distinct < -1).any()
        if self.dtype == 'str':
            is_mark = [is_nothing(v) and v.lower() not in NAMES for v in distinct]
            is_mark = np.array(is_mark, bool)
            is_spaced = np.array([v != v.strip() for v in distinct], bool)
            self.remark(
                is_spaced[code],
                'has ids with spaces around them in',
                'remove them, .str.strip(): ids with and without spaces are different',
            )
            folded = pd.Series([*map(_folded, distinct)]).where(~is_spaced)
            # The most frequent spelling is probably right.
            order = np.argsort(-np.bincount(code, minlength=len(distinct)), stable=True)
            folded = folded.iloc[order]
            is_double = (folded.duplicated() & folded.notna()).sort_index().to_numpy()
            if is_double.any():
                other = distinct[folded.eq(folded[is_double.argmax()]).idxmax()]
                self.remark(
                    is_double[code],
                    f'has ids that differ from others, such as {other!r}, only in '
                    'case, zeros or accents, in',
                    f'write them alike {ACCENTS}, unless they are different ids',
                )
        self.remark(
            is_mark[code],
            'has ids that seem to stand for missing ones in',
            'drop the rows, .dropna() before any .astype(str), unless they are ids',
        )

    def vocabulary(self) -> Vocabulary:
        """The ids in their order; ``ValueError`` if one is repeated."""
        remedy = 'keep one row per id'
        if len(self.frame.columns) > 1:
            remedy += (
                ', with a list if an attribute has several values, or pass the table '
                "as 'ratings' if it holds ratings"
            )
        self.refuse(pd.Index(self.values).duplicated(), 'repeats an id of', remedy)
        return Vocabulary(self.dtype, self.values)


class Vocabulary:
    """The distinct ids of users or items; an id's position is its row number."""

    def __init__(self, dtype: str, values: np.ndarray) -> None:
        self.dtype = dtype
        self.values = values
        self._index = pd.Index(values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.dtype}, {len(self):,})'

    def rows(self, ids: IdColumn) -> np.ndarray:
        """Row numbers of ids, -1 if unknown; ``ValueError`` if of another type."""
        if not len(ids):
            return np.empty(0, np.int64)
        if ids.dtype != self.dtype:
            parsed = [*map(_FROM_CELL[self.dtype], ids.values)]
            unfit = np.array([value is None for value in parsed])
            convert = _CONVERT.get(self.dtype, as_text(ids.frame[ids.column]))
            others = f'correct what is no {self.dtype}, and ' if unfit.any() else ''
            ids.refuse(
                unfit | ~unfit.any(),
                f'has {ids.dtype} ids, but the known ids are {self.dtype} (such as '
                f'{plain(self.values[0])!r}), in',
                f'{others}convert the column, {convert}, unless users and items are '
                f'swapped',
            )
        return self._index.get_indexer(ids.values).astype(np.int64)

    def like(self, value: Any) -> Any | None:
        """The known id that differs from an unknown text only in spelling, if any."""
        return self._folded.get(_folded(value)) if self.dtype == 'str' else None

    def hint(self, value: Any) -> str:
        """A question that names the known id, see :meth:`like`, or an empty text."""
        like = self.like(value)
        return '' if like is None else f'did you mean {plain(like)!r}? Else '

    @functools.cached_property
    def _folded(self) -> dict[str, str]:
        return {_folded(value): value for value in self.values[::-1]}

    def append(self, values: np.ndarray) -> Vocabulary:
        """The vocabulary extended by new ids of the same type."""
        return Vocabulary(self.dtype, np.concatenate([self.values, values]))

    def parse(self, texts: Sequence[str]) -> list:
        """Converts command-line texts to ids; ``ValueError`` names an invalid one."""
        frame = pd.DataFrame({'id': [*texts]}, dtype=object)
        return as_ids(frame, 'id', self.dtype, 'arguments').tolist()

    def to_dict(self) -> dict[str, Any]:
        """The ids as data for JSON."""
        is_int = self.dtype == 'int'
        values = self.values.tolist() if is_int else [*map(str, self.values)]
        return {'dtype': self.dtype, 'values': values}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Vocabulary:
        """The inverse of :meth:`to_dict`."""
        dtype, values = state['dtype'], state['values']
        values = [*map(uuid.UUID, values)] if dtype == 'uuid' else values
        return cls(dtype, _array(dtype, values))

    @classmethod
    def from_ids(cls, ids: IdColumn) -> Vocabulary:
        """The distinct ids of a column, in ascending order."""
        return cls(ids.dtype, _array(ids.dtype, sorted(pd.unique(ids.values))))


def read_ids(frame: pd.DataFrame, column: str, name: str) -> IdColumn:
    """Reads a column of whole numbers, texts or UUIDs; ``ValueError`` names the row.

    Floats are read as whole numbers if they are exact: pandas converts whole numbers to
    floats if a cell is missing. Ids of an empty table have the type int.
    """
    check_columns(frame, name, [column])
    cells = frame[column]
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind == 'i':
        return IdColumn(frame, column, name, 'int', cells.to_numpy(np.int64))
    values = cells.astype(object).to_numpy()
    ids = TableColumn(frame, column, name)
    is_empty = np.array([isinstance(v, str) and not v for v in values], bool)
    missing = cells.isna().to_numpy(bool) | is_empty
    ids.refuse(missing, 'has a missing id in', 'fill it in or drop the row')
    _check_floats(ids, np.array([isinstance(v, float) for v in values], bool))
    dtypes = np.array([*map(_dtype, values)], dtype='U4')
    as_texts = 'convert all ids to texts, .astype(str), here and in the other tables'
    ids.refuse(
        dtypes == '',
        'has an id that is no 64-bit whole number, text or UUID in',
        as_texts,
    )
    dtype = str(dtypes[0]) if len(dtypes) else 'int'
    ids.refuse(dtypes != dtype, f'mixes {dtype} ids with others in', as_texts)
    return IdColumn(frame, column, name, dtype, _array(dtype, values))


def _dtype(value: object) -> str:
    """The type of an id, or an empty text if it is invalid."""
    if isinstance(value, str):
        return 'str'
    if isinstance(value, uuid.UUID):
        return 'uuid'
    is_whole = isinstance(value, numbers.Real) and value % 1 == 0
    is_whole = is_whole and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return 'int' if is_whole else ''


def read_distinct(given: Any, name: str, column: str) -> IdColumn:
    """Reads the ids of a table or a list; ``ValueError`` if they are not distinct."""
    is_row = isinstance(given, Mapping)
    is_row = is_row or (isinstance(given, pd.Series) and column in given.index)
    if is_row or isinstance(given, str) or not isinstance(given, Iterable):
        remedy = 'write pandas.DataFrame([...])' if is_row else f'one id is [{given!r}]'
        raise ValueError(
            f"'{name}' must be a table or a list of ids (got {shown(given)}); {remedy}"
        )
    if not isinstance(given, pd.DataFrame):
        given = [*given]
        for value in given:
            if isinstance(value, Collection) and not isinstance(value, str):
                raise ValueError(
                    f"'{name}' must hold single ids (got {shown(value)}); pass only "
                    f'ids, or a table of rows, pandas.DataFrame([...])'
                )
        given = pd.DataFrame({column: pd.Series(given, dtype=object)})
    ids = read_ids(given, column, name)
    ids.vocabulary()
    return ids


def read_one(node: Any, side: str, column: str, ids: Vocabulary, remedy: str) -> int:
    """The row number of the id of a user or item; ``ValueError`` if it is unknown."""
    row = int(ids.rows(read_distinct([node], side, column))[0])
    if row < 0:
        remedy = f'{ids.hint(node)}{remedy}'
        raise ValueError(f"'{side}' must be a known id (got {node!r}); {remedy}")
    return row


def as_ids(frame: pd.DataFrame, column: str, dtype: str, name: str) -> pd.Series:
    """Converts cells of a file to ids of a type; missing cells stay missing."""
    cells = frame[column]
    ids = TableColumn(frame, column, name)
    present = cells.notna().to_numpy()
    if is_float_dtype(cells):
        _check_floats(ids, present)
    # `map` would convert whole numbers to floats if a cell is missing.
    convert = _FROM_CELL[dtype]
    pairs = zip(cells, present, strict=True)
    made = pd.Series([convert(c) if p else None for c, p in pairs], frame.index, object)
    remedy = f'correct it: the ids that the model knows are {dtype}'
    ids.refuse(made.isna().to_numpy() & present, f'has no {dtype} id in', remedy)
    return made.astype('Int64') if dtype == 'int' else made


def _check_floats(ids: TableColumn, is_float: np.ndarray) -> None:
    """Raises ``ValueError`` if floats in a mask are too large to be exact."""
    rows = np.flatnonzero(is_float)
    number = ids.frame[ids.column].iloc[rows].to_numpy(float, na_value=np.nan)
    ids.refuse(
        rows[np.abs(number) >= EXACT_FLOATS],
        'has ids as floats of 2**53 or more, which are not exact, in',
        f"read it as texts or as 'Int64', such as by dtype={{{ids.column!r}: 'Int64'}}",
    )


def _folded(text: str) -> str:
    """A text without case, outer spaces, leading zeros and the suffix '.0'."""
    text = unicodedata.normalize('NFKC', text).strip().casefold()
    return re.sub(r'^0+(?=\d)|\.0$', '', text)


def _array(dtype: str, values: Sequence) -> np.ndarray:
    if dtype == 'int':
        return np.asarray(values, dtype=np.int64)
    return np.fromiter(values, object, len(values))


def _text(cell: object) -> str:
    # pandas converts whole numbers to floats if another cell is missing.
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell)) if whole else str(cell)


def _int(cell: object) -> int | None:
    text = str(cell).replace('_', 'x')  # Python reads 1_0 as 10
    with suppress(ValueError):
        number = float(text)
        exact = abs(number) < EXACT_FLOATS and number.is_integer()
        number = int(number) if exact else int(text)
        return number if -(2**63) <= number < 2**63 else None
    return None


def _uuid(cell: object) -> uuid.UUID | None:
    with suppress(ValueError):
        return uuid.UUID(str(cell))
    return None


_FROM_CELL = {'str': _text, 'int': _int, 'uuid': _uuid}
