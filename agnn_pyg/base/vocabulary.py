"""Ids of users and items: read from a column once, distinct, and numbered by rows."""

from __future__ import annotations

import numbers
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.base.checks import TableColumn, check_columns, plain

# Floats below it are whole numbers exactly; above, neighbors become one.
EXACT_FLOATS = 2.0**53
# By type of ids: how to make one of a text, and how users convert a column.
_PARSE = {'int': int, 'str': str, 'uuid': uuid.UUID}
_CONVERT = {'int': '.astype(int)', 'str': '.astype(str)', 'uuid': '.map(uuid.UUID)'}
# The first class that a type is a subclass of names the type of ids.
_DTYPES = (
    ((bool, np.bool_), 'none'),
    (numbers.Integral, 'int'),
    (numbers.Real, 'float'),
    (str, 'str'),
    (uuid.UUID, 'uuid'),
    (object, 'none'),
)


@dataclass(frozen=True)
class IdColumn(TableColumn):
    """The ids in a column, see :func:`read_ids`: all int, all str or all uuid."""

    dtype: str
    values: np.ndarray  # int64 or objects

    def __len__(self) -> int:
        return len(self.values)

    def check_known(self, rows: np.ndarray, table: str) -> np.ndarray:
        """The rows of these ids in a table; ``ValueError`` if a row is -1."""
        self.refuse(
            rows < 0,
            f"has an id without a row in '{table}':",
            f"add what is known of it to '{table}', if only the id, or drop the row",
        )
        return rows

    def vocabulary(self) -> Vocabulary:
        """These ids in their order; ``ValueError`` if one is repeated."""
        self.refuse(
            pd.Index(self.values).duplicated(),
            'repeats an id of',
            'keep one row each, and collect several values of an attribute in a list',
        )
        return Vocabulary(self.dtype, self.values)


class Vocabulary:
    """The distinct ids of the users or of the items, in the order of their rows."""

    def __init__(self, dtype: str, values: np.ndarray) -> None:
        self.dtype = dtype
        self.values = values
        self._index = pd.Index(values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.dtype}, {len(self):,})'

    def rows(self, ids: IdColumn) -> np.ndarray:
        """The row of each id, -1 for unknown ones; ``ValueError`` for another type."""
        if not len(ids):
            return np.empty(0, np.int64)
        if ids.dtype != self.dtype:
            raise ValueError(
                f"'{ids.name}' has {ids.dtype} ids in column '{ids.column}' (row "
                f'{plain(ids.frame.index[0])}: {plain(ids.values[0])!r}), but the '
                f'known ids are {self.dtype} (such as {plain(self.values[0])!r}); '
                f'convert them with {_CONVERT[self.dtype]}'
            )
        return self._index.get_indexer(ids.values).astype(np.int64)

    def append(self, values: np.ndarray) -> Vocabulary:
        """These ids and further ones of their type, which they do not hold."""
        return Vocabulary(self.dtype, np.concatenate([self.values, values]))

    def parse(self, texts: Sequence[str]) -> list:
        """Ids from texts of a command line; ``ValueError`` names one that is none."""
        parsed = []
        for text in texts:
            try:
                parsed.append(_PARSE[self.dtype](text))
            except ValueError:
                raise ValueError(
                    f"'{text}' is not {self.dtype}, as the known ids are (such as "
                    f'{plain(self.values[0])!r})'
                ) from None
        return parsed

    def to_dict(self) -> dict[str, Any]:
        """The ids as plain data, ready for JSON."""
        values = self.values if self.dtype == 'int' else map(str, self.values)
        return {'dtype': self.dtype, 'values': [*map(plain, values)]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Vocabulary:
        """The inverse of :meth:`to_dict`."""
        dtype = state['dtype']
        return cls(dtype, _array(dtype, [*map(_PARSE[dtype], state['values'])]))

    @classmethod
    def from_ids(cls, ids: IdColumn) -> Vocabulary:
        """The distinct ids of a column, in ascending order."""
        return cls(ids.dtype, _array(ids.dtype, sorted(pd.unique(ids.values))))


def read_ids(frame: pd.DataFrame, column: str, name: str) -> IdColumn:
    """A column of ids: whole numbers, texts or UUIDs, all of one type.

    Whole numbers that were turned into floats by a missing cell elsewhere are whole
    numbers still, as far as floats are exact. Ids of an empty table are whole numbers.

    Raises:
        ValueError: If there is no such column, or naming the first row that holds no id
            or one of another type.
    """
    check_columns(frame, name, [column])
    cells = frame[column]
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind == 'i':
        return IdColumn(frame, column, name, 'int', cells.to_numpy(np.int64))
    cells, ids = cells.astype(object), TableColumn(frame, column, name)
    missing = (cells.isna() | (cells == '')).to_numpy(bool)
    ids.refuse(missing, 'misses the id in', 'fill it in or drop the row')
    values, types = cells.to_numpy(), [*map(type, cells)]
    names = {t: next(n for base, n in _DTYPES if issubclass(t, base)) for t in {*types}}
    dtypes = np.array([names[t] for t in types], dtype='U5')
    is_float = dtypes == 'float'
    check_floats(ids, is_float)
    is_float[is_float] = [float(value).is_integer() for value in values[is_float]]
    dtypes[is_float] = 'int'
    ids.refuse(
        (dtypes == 'none') | (dtypes == 'float'),
        'has something else than a whole number, a text or a UUID in',
        f'make texts of all ids, {_CONVERT["str"]}',
    )
    dtype = str(dtypes[0]) if len(dtypes) else 'int'
    ids.refuse(
        dtypes != dtype,
        f'mixes {dtype} ids and others in',
        f'make them all texts, {_CONVERT["str"]}, here and in the other tables',
    )
    if dtype == 'int':
        ids.refuse(
            np.array([not -(2**63) <= int(value) < 2**63 for value in values], bool),
            'has whole numbers beyond 64 bits in',
            f'make texts of them, {_CONVERT["str"]}',
        )
    return IdColumn(frame, column, name, dtype, _array(dtype, values))


def check_floats(ids: TableColumn, is_float: np.ndarray) -> None:
    """Raises ``ValueError`` if floats of a mask are so large that two may be one."""
    rows = np.flatnonzero(is_float)
    number = ids.frame[ids.column].iloc[rows].to_numpy(float, na_value=np.nan)
    ids.refuse(
        rows[np.abs(number) >= EXACT_FLOATS],
        'has whole numbers as floats, which are not exact from 2**53 on, in',
        f"read the column as texts or as 'Int64', for instance by "
        f"dtype={{{ids.column!r}: 'Int64'}}",
    )


def _array(dtype: str, values: Sequence) -> np.ndarray:
    if dtype == 'int':
        return np.asarray(values, dtype=np.int64)
    return np.fromiter(values, object, len(values))
