"""One attribute column: its cells, its vocabulary or knots, and their tokens.

A further type of column is a subclass of :class:`ColumnEncoder` in :data:`STYPES`, and
a case of :func:`parse_column`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from agnn_pyg.base.checks import TableColumn, check_columns, plain

if TYPE_CHECKING:
    import pandas as pd

# The attribute that all nodes of a side without attributes have in common.
CONSTANT = '(constant)'
NUMBERS = (int, float, np.integer, np.floating)
VALUES = (*NUMBERS, str, np.bool_)  # which JSON keeps as they are
LISTS = (list, tuple, set, frozenset, np.ndarray)


class CellTypeError(ValueError):
    """A cell holds something else than numbers, texts, or lists of them."""


# Rows, token ids and weights.
Tokens = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ParsedColumn:
    """The V values in an attribute column; a list in a cell has several."""

    column: str
    stype: str  # see AttributeEncoder
    num_rows: int
    row: np.ndarray  # of each value, ascending
    value: np.ndarray  # objects, or finite numbers of a numeric column

    @property
    def is_missing(self) -> np.ndarray:
        """A mask of the rows without a value."""
        missing = np.ones(self.num_rows, bool)
        missing[self.row] = False
        return missing

    def take(self, mask: np.ndarray) -> ParsedColumn:
        """The cells of the rows in a mask."""
        kept, place = mask[self.row], np.cumsum(mask)
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
        values, has_rare = cls.fit_values(cells, min_count, num_knots)
        has_missing = bool(cells.is_missing.any())
        return cls(cells.column, cells.stype, offset, values, has_rare, has_missing)

    @staticmethod
    def fit_values(
        cells: ParsedColumn, min_count: int, num_knots: int
    ) -> tuple[list, bool]:
        """The values or knots with tokens of their own, and whether others are rare."""
        raise NotImplementedError

    def tokens(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells that are not missing, counted from 0."""
        raise NotImplementedError

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
    def fit_values(
        cells: ParsedColumn, min_count: int, num_knots: int
    ) -> tuple[list, bool]:
        import pandas as pd

        pairs = pd.DataFrame({'row': cells.row, 'value': cells.value})
        count = pairs.drop_duplicates()['value'].value_counts()
        kept = count.index[count >= min_count]
        # Sorted, so that the vocabulary does not depend on the order of the rows.
        values = sorted(map(plain, kept), key=lambda v: (str(v), str(type(v))))
        return values, len(values) < len(count)

    def tokens(self, cells: ParsedColumn) -> Tokens:
        import pandas as pd

        position = pd.Index(self.values, dtype=object).get_indexer(cells.value)
        if self.has_rare:
            position = np.where(position < 0, len(self.values), position)
        known = position >= 0
        # A bag is a set: two rare values in one row are one rare token.
        row, token = np.unique(np.stack([cells.row[known], position[known]]), axis=1)
        return row, token, np.ones(len(row))


class NumericEncoder(ColumnEncoder):
    """A token per knot; a number between two knots has a part of either token."""

    @staticmethod
    def fit_values(
        cells: ParsedColumn, min_count: int, num_knots: int
    ) -> tuple[list, bool]:
        if not len(cells.value):
            raise ValueError(
                f"Column '{cells.column}' holds no number to fit knots on; leave it "
                f'out of the attributes'
            )
        grid = np.linspace(0, 1, num_knots)
        return np.unique(np.quantile(cells.value, grid)).tolist(), False

    def tokens(self, cells: ParsedColumn) -> Tokens:
        row, knots = cells.row, np.asarray(self.values)
        clamped = cells.value.clip(knots[0], knots[-1])
        if len(knots) == 1:
            return row, np.zeros(len(row), np.int64), np.ones(len(row))
        left = np.searchsorted(knots, clamped, side='right') - 1
        left = left.clip(0, len(knots) - 2)
        part = (clamped - knots[left]) / (knots[left + 1] - knots[left])
        parts = [row, row], [left, left + 1], [1 - part, part]
        return tuple(map(np.concatenate, parts))


STYPES: dict[str, type[ColumnEncoder]] = {
    'categorical': CategoricalEncoder,
    'multi': CategoricalEncoder,
    'numeric': NumericEncoder,
}


def parse_column(
    frame: pd.DataFrame, column: str, stype: str | None = None, name: str = 'frame'
) -> ParsedColumn:
    """Reads an attribute column of the table :obj:`name`, and infers its type if None.

    Raises:
        CellTypeError: Naming the first row that holds something else than numbers,
            texts, or lists of them, such as a date: saved and loaded again, it
            would not be what it was.
        ValueError: Naming the first row that does not suit a numeric column.
    """
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

    check_columns(frame, name, [column])
    cells, table = frame[column], TableColumn(frame, column, name)
    if is_numeric_dtype(cells) and not is_complex_dtype(cells):
        stype = stype or ('categorical' if is_bool_dtype(cells) else 'numeric')
        if stype != 'numeric':
            return ParsedColumn(column, stype, len(cells), *_explode(cells))
        number = cells.to_numpy(np.float64, na_value=np.nan)
    else:
        row, value = _explode(cells)
        table.refuse(
            row[[not isinstance(v, VALUES) for v in value]],
            'holds something else than numbers, texts or lists of them in',
            'make a number or a text of it, such as the year of a date, or leave the '
            'column out',
            CellTypeError,
        )
        is_list = np.array([isinstance(cell, LISTS) for cell in cells], bool)
        stype = stype or _infer(cells, value, is_list[row])
        if stype != 'numeric':
            return ParsedColumn(column, stype, len(cells), row, value)
        number = np.full(len(cells), np.nan)
        number[row] = pd.to_numeric(pd.Series(map(_bounded, value)), errors='coerce')
        is_list[row] |= np.isnan(number[row])
        table.refuse(
            is_list,
            'holds something else than numbers in the numeric',
            'correct it, or make the column categorical',
        )
    table.refuse(
        np.isinf(number),
        'holds numbers that are infinite or too large in',
        'replace them by missing values or by a bound',
    )
    row = np.flatnonzero(~np.isnan(number))
    return ParsedColumn(column, stype, len(cells), row, number[row])


def constant_column(num_rows: int) -> ParsedColumn:
    """A column in which all rows are equal."""
    value = np.full(num_rows, 'all', object)
    return ParsedColumn(CONSTANT, 'categorical', num_rows, np.arange(num_rows), value)


def _explode(cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and values of all cells that hold something; decimals as floats."""
    import pandas as pd

    values = pd.Series(cells.to_numpy()).astype(object).explode()
    values = values[values.notna()]
    # Compared one by one: what is nested would be compared part by part.
    values = values[np.array([not isinstance(v, str) or v != '' for v in values], bool)]
    value = (float(v) if isinstance(v, Decimal) else v for v in values)
    return values.index.to_numpy(np.int64), np.fromiter(value, object, len(values))


def _infer(cells: pd.Series, value: np.ndarray, in_list: np.ndarray) -> str:
    """The type of a column of objects, by its values."""
    from pandas.api.types import is_object_dtype

    types = {*map(type, value)} or {str}
    numbers = all(issubclass(t, NUMBERS) and t is not bool for t in types)
    if numbers and is_object_dtype(cells) and not in_list.any():
        return 'numeric'
    return 'multi' if in_list[:1].any() else 'categorical'


def _bounded(value: Any) -> Any:
    # Python's integers may be larger than any float.
    return np.inf if isinstance(value, int) and abs(value) >= 2**1023 else value
