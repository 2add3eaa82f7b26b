"""One attribute column: its cells, its vocabulary or knots, and their tokens.

Part of :mod:`agnn_pyg.base.encoder`, which says what the tokens mean. A further type of
column is a subclass of :class:`ColumnEncoder` in :data:`STYPES`, and a case of
:func:`parse_column`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from agnn_pyg.base.checks import TableColumn, plain

if TYPE_CHECKING:
    import pandas as pd

# The attribute that all nodes of a side without attributes have in common.
CONSTANT = '(constant)'
NUMBERS = (int, float, np.integer, np.floating)


class CellTypeError(ValueError):
    """A cell holds something else than numbers, texts, or lists of them."""


# Row numbers, token ids and weights, each [number of tokens].
Tokens = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ParsedColumn:
    """The cells of an attribute column, of N rows, that hold something.

    Attributes:
        column: The name of the column.
        stype: Its type, see :class:`~agnn_pyg.AttributeEncoder`.
        num_rows: The number of rows, N.
        row: The row of each value, ascending, :obj:`[V]`.
        value: Values, :obj:`[V]`: objects, or finite numbers if the type is
            :obj:`"numeric"`.
    """

    column: str
    stype: str
    num_rows: int
    row: np.ndarray
    value: np.ndarray

    @property
    def is_missing(self) -> np.ndarray:
        """The rows without a value, :obj:`[N]`."""
        missing = np.ones(self.num_rows, bool)
        missing[self.row] = False
        return missing

    def take(self, mask: np.ndarray) -> ParsedColumn:
        """The cells of some rows, by a mask :obj:`[N]`."""
        kept = mask[self.row]
        row = np.cumsum(mask)[self.row[kept]] - 1
        return ParsedColumn(
            self.column, self.stype, int(mask.sum()), row, self.value[kept]
        )


@dataclass
class ColumnEncoder:
    """One fitted column; its tokens are ``offset, ..., offset + num_tokens - 1``.

    The tokens of the values (or knots) come first, then the one for rare values and
    the one for missing cells, where the fitted rows had any.
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
        raise NotImplementedError

    def tokens(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells that are not missing, counted from 0."""
        raise NotImplementedError

    @property
    def num_tokens(self) -> int:
        return len(self.values) + self.has_rare + self.has_missing

    def is_value(self) -> np.ndarray:
        return np.arange(self.num_tokens) < len(self.values)

    def encode(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells that are not missing, then those of the missing."""
        row, token, weight = self.tokens(cells)
        if self.has_missing:
            missing = np.flatnonzero(cells.is_missing)
            last = np.full(len(missing), self.num_tokens - 1)
            row, token = np.concatenate([row, missing]), np.concatenate([token, last])
            weight = np.concatenate([weight, np.ones(len(missing))])
        return row, token + self.offset, weight

    def to_dict(self) -> dict[str, Any]:
        """The fitted column as plain data, ready for JSON."""
        return asdict(self)


class CategoricalEncoder(ColumnEncoder):
    """A token per value; a cell holds one value or, in a multi-valued column, some."""

    @classmethod
    def fit(
        cls, cells: ParsedColumn, offset: int, min_count: int, num_knots: int
    ) -> CategoricalEncoder:
        import pandas as pd

        pairs = pd.DataFrame({'row': cells.row, 'value': cells.value})
        count = pairs.drop_duplicates()['value'].value_counts()
        kept = count.index[count >= min_count]
        # Sorted, so that the vocabulary does not depend on the order of the rows.
        values = sorted(map(plain, kept), key=lambda v: (str(v), str(type(v))))
        rare, missing = len(values) < len(count), bool(cells.is_missing.any())
        return cls(cells.column, cells.stype, offset, values, rare, missing)

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

    @classmethod
    def fit(
        cls, cells: ParsedColumn, offset: int, min_count: int, num_knots: int
    ) -> NumericEncoder:
        if not len(cells.value):
            raise ValueError(
                f"Column '{cells.column}' holds no number to fit knots on; leave it "
                f'out of the attributes'
            )
        grid = np.linspace(0, 1, num_knots)
        knots = np.unique(np.quantile(cells.value, grid)).tolist()
        missing = bool(cells.is_missing.any())
        return cls(cells.column, cells.stype, offset, knots, False, missing)

    def tokens(self, cells: ParsedColumn) -> Tokens:
        row, knots = cells.row, np.asarray(self.values)
        clamped = cells.value.clip(knots[0], knots[-1])
        if len(knots) == 1:
            return row, np.zeros(len(row), np.int64), np.ones(len(row))
        left = np.searchsorted(knots, clamped, side='right') - 1
        left = left.clip(0, len(knots) - 2)
        part = (clamped - knots[left]) / (knots[left + 1] - knots[left])
        return (
            np.concatenate([row, row]),
            np.concatenate([left, left + 1]),
            np.concatenate([1 - part, part]),
        )


STYPES: dict[str, type[ColumnEncoder]] = {
    'categorical': CategoricalEncoder,
    'multi': CategoricalEncoder,
    'numeric': NumericEncoder,
}


def parse_column(
    frame: pd.DataFrame, column: str, stype: str | None = None, name: str = 'frame'
) -> ParsedColumn:
    """Reads the cells of an attribute column.

    Numbers that are kept as objects are floats, unless the column is categorical.

    Args:
        frame (pandas.DataFrame): The table.
        column (str): The column.
        stype (str, optional): Its type. (default: inferred from the cells)
        name (str, optional): What error texts call the table.

    Raises:
        CellTypeError: Naming the first row that holds something else than numbers,
            texts, or lists of them, such as a date: saved and loaded again, it
            would not be what it was.
        ValueError: Naming the first row that does not suit a numeric column.
    """
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

    cells, table = frame[column], TableColumn(frame, column, name)
    if is_numeric_dtype(cells) and not is_complex_dtype(cells):
        if stype is None:
            stype = 'categorical' if is_bool_dtype(cells) else 'numeric'
        if stype != 'numeric':
            return ParsedColumn(column, stype, len(cells), *_explode(cells))
        number = cells.to_numpy(np.float64, na_value=np.nan)
    else:
        row, value = _explode(cells)
        table.refuse(
            row[[not _is_value(v) for v in value]],
            'holds something else than numbers, texts or lists of them in',
            'make a number or a text of it, such as the year of a date, or leave the '
            'column out',
            CellTypeError,
        )
        is_list = np.fromiter(map(_is_list, cells), bool, len(cells))
        if stype is None:
            stype = _infer(cells, value, is_list[row])
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


def missing_column(column: str, stype: str, num_rows: int) -> ParsedColumn:
    """A column in which all cells are missing."""
    none = np.empty(0, np.int64)
    return ParsedColumn(column, stype, num_rows, none, none.astype(object))


def _explode(cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and values of all cells that hold something; decimals as floats."""
    import pandas as pd

    series = pd.Series(cells.to_numpy(), index=np.arange(len(cells)))
    values = series.astype(object).explode()
    values = values[values.notna()]
    # Compared one by one: what is nested would be compared part by part.
    filled = [not isinstance(v, str) or v != '' for v in values]
    values = values[np.array(filled, bool)]
    value = (float(v) if isinstance(v, Decimal) else v for v in values)
    row = values.index.to_numpy(np.int64)
    return row, np.fromiter(value, object, len(row))


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


def _is_value(value: Any) -> bool:
    # JSON keeps these as they are.
    return isinstance(value, str | int | float | np.bool_ | np.integer | np.floating)


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple | set | frozenset | np.ndarray)
