"""Ids of users and items: of one kind, distinct, and each the name of a row."""

from __future__ import annotations

import numbers
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.base.frames import check_columns, read_ratings, where

KINDS = ('int', 'str', 'uuid')
# Floats below it are whole numbers exactly; above, neighbours become one.
EXACT_FLOATS = 2.0**53
# How to make one kind of another, for messages.
_CONVERT = {'int': '.astype(int)', 'str': '.astype(str)', 'uuid': '.map(uuid.UUID)'}


class Vocabulary:
    """The ids of one side, in the order of its rows.

    Args:
        kind (str): :obj:`"int"`, :obj:`"str"` or :obj:`"uuid"`.
        values (numpy.ndarray): Distinct ids, see :func:`read_ids`.
    """

    def __init__(self, kind: str, values: np.ndarray) -> None:
        self.kind = kind
        self.values = values
        self._index = pd.Index(values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.kind}, {len(self):,})'

    def rows(self, frame: pd.DataFrame, column: str, name: str) -> np.ndarray:
        """Rows of a column of ids, -1 for unknown ones, :obj:`[len(frame)]`.

        Raises:
            ValueError: If they are of another kind, or are no ids at all.
        """
        kind, values = read_ids(frame, column, name)
        if not len(values):
            return np.empty(0, np.int64)
        if kind != self.kind:
            raise ValueError(
                f"'{name}' has {kind} ids in column '{column}' (row {frame.index[0]}: "
                f'{_plain(values[0])!r}) where those known are {self.kind} (as '
                f'{_plain(self.values[0])!r}); convert them with {_CONVERT[self.kind]}'
            )
        return self._index.get_indexer(values).astype(np.int64)

    def append(self, values: np.ndarray) -> Vocabulary:
        """These ids and further ones of their kind, which they do not hold."""
        return Vocabulary(self.kind, np.concatenate([self.values, values]))

    def parse(self, texts: Sequence[str]) -> list:
        """Ids of this kind from texts, as a command line has them.

        Raises:
            ValueError: Naming the first text that is none.
        """
        make = {'int': int, 'str': str, 'uuid': uuid.UUID}[self.kind]
        parsed = []
        for text in texts:
            try:
                parsed.append(make(text))
            except ValueError:
                raise ValueError(
                    f"'{text}' is no {self.kind}, as the ids known are (as "
                    f'{_plain(self.values[0])!r})'
                ) from None
        return parsed

    def to_dict(self) -> dict[str, Any]:
        """The ids as plain data, ready for JSON."""
        values = self.values if self.kind == 'int' else map(str, self.values)
        return {'kind': self.kind, 'values': [*map(_plain, values)]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Vocabulary:
        """The inverse of :meth:`to_dict`."""
        values = state['values']
        if state['kind'] == 'uuid':
            values = [uuid.UUID(value) for value in values]
        return cls(state['kind'], _array(state['kind'], values))

    @classmethod
    def distinct(cls, kind: str, values: np.ndarray) -> Vocabulary:
        """The distinct ids of a column, in ascending order."""
        return cls(kind, _array(kind, sorted(pd.unique(values))))


def read_ids(
    frame: pd.DataFrame, column: str, name: str, distinct: bool = False
) -> tuple[str, np.ndarray]:
    """A column of ids: whole numbers, texts or UUIDs, of one kind throughout.

    Whole numbers that a missing cell elsewhere has turned into floats are
    whole numbers still, as far as floats are exact.

    Args:
        frame (pandas.DataFrame): The table.
        column (str): The column of ids.
        name (str): What messages call the table.
        distinct (bool, optional): Refuse repeated ids. (default: :obj:`False`)

    Returns:
        Their kind and their values, ``int64`` or objects; of an empty table
        the kind is :obj:`"int"`.

    Raises:
        ValueError: Naming the first row that holds no id or another kind.
    """
    cells = frame[column]
    missing = (cells.isna() | (cells.astype(object) == '')).to_numpy(bool)
    if missing.any():
        raise ValueError(
            f"'{name}' misses the id in column '{column}' in "
            f'{where(frame, missing, column)}; fill it in or drop the row'
        )
    values = cells.astype(object).to_numpy()
    kinds = [_KIND_OF.get(t) or _kind(t) for t in map(type, values)]
    kinds = np.array(kinds, dtype='U5')
    check_floats(frame, column, name, kinds == 'float')
    kinds[kinds == 'float'] = 'int' if _whole(values[kinds == 'float']) else 'none'
    wrong = kinds == 'none'
    if wrong.any():
        raise ValueError(
            f"'{name}' has something else than a whole number, a text or a UUID in "
            f"column '{column}' in {where(frame, wrong, column)}; make texts of them, "
            f'{_CONVERT["str"]}'
        )
    kind = str(kinds[0]) if len(kinds) else 'int'
    if (kinds != kind).any():
        raise ValueError(
            f"'{name}' mixes {kind} ids and others in column '{column}', as in "
            f'{where(frame, kinds != kind, column)}; make them all texts, '
            f'{_CONVERT["str"]}, here and in the other tables'
        )
    try:
        values = _array(kind, values)
    except OverflowError:
        raise ValueError(
            f"'{name}' has whole numbers beyond 64 bits in column '{column}'; make "
            f'texts of them, {_CONVERT["str"]}'
        ) from None
    if distinct:
        repeated = pd.Index(values).duplicated()
        if repeated.any():
            raise ValueError(
                f"'{name}' repeats an id of column '{column}' in "
                f'{where(frame, repeated, column)}; keep one row each, and collect '
                f'several values of an attribute in a list'
            )
    return kind, values


def read_rated_pairs(
    frame: pd.DataFrame, name: str, user: str, item: str, rating: str
) -> np.ndarray:
    """The ratings of a frame of users and items, each pair of which is rated once.

    Args:
        frame (pandas.DataFrame): The table.
        name (str): What messages call it.
        user (str): The column of users.
        item (str): The column of items.
        rating (str): The column of ratings.

    Raises:
        ValueError: If a column is lacking, a rating is no finite number, an id is
            none, or a pair is repeated.
    """
    check_columns(frame, name, [user, item, rating])
    number = read_ratings(frame, name, rating)
    ids = {column: read_ids(frame, column, name)[1] for column in (user, item)}
    repeated = pd.DataFrame(ids).duplicated().to_numpy()
    if repeated.any():
        raise ValueError(
            f"'{name}' rates a pair for the second time in "
            f'{where(frame, repeated, user, item)}; keep one, for instance by '
            f".drop_duplicates({[user, item]}, keep='last')"
        )
    return number


def check_floats(
    frame: pd.DataFrame, column: str, name: str, is_float: np.ndarray
) -> None:
    """Raises ``ValueError`` if ids are floats so large that two may have become one.

    Args:
        frame (pandas.DataFrame): The table.
        column (str): The column of ids.
        name (str): What messages call the table.
        is_float (numpy.ndarray): A mask of the rows with floats.
    """
    inexact = is_float.copy()
    number = frame[column][is_float].to_numpy(float, na_value=np.nan)
    inexact[is_float] = np.abs(number) >= EXACT_FLOATS
    if inexact.any():
        raise ValueError(
            f"'{name}' has whole numbers as floats, which are not exact from 2**53 on, "
            f"in column '{column}' in {where(frame, inexact, column)}; read the column "
            f"as texts or as 'Int64', for instance by dtype={{{column!r}: 'Int64'}}"
        )


def _kind(kind: type) -> str:
    for base, name in (
        ((bool, np.bool_), 'none'),
        (numbers.Integral, 'int'),
        (numbers.Real, 'float'),
        (str, 'str'),
        (uuid.UUID, 'uuid'),
    ):
        if issubclass(kind, base):
            return name
    return 'none'


# The common ones, looked up rather than reasoned about.
_KIND_OF = {kind: _kind(kind) for kind in (int, float, str, bool, uuid.UUID)}


def _whole(values: np.ndarray) -> bool:
    return bool(np.all([float(value).is_integer() for value in values]))


def _array(kind: str, values: Any) -> np.ndarray:
    if kind == 'int':
        return np.asarray(values, dtype=np.int64)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
