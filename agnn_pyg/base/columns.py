"""One attribute column: its vocabulary or knots, and how its cells are encoded.

Part of :mod:`agnn_pyg.base.encoder`, which says what the tokens mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# The attribute that all nodes of a side share of which nothing is known.
CONSTANT = '(constant)'
# What a cell, or what it lists, may be: JSON keeps these as they are.
VALUES = (str, bool, int, float, np.bool_, np.integer, np.floating)
NUMBERS = (int, float, np.integer, np.floating, Decimal)


@dataclass
class ColumnEncoder:
    """One fitted column; its tokens are ``offset, ..., offset + n - 1``.

    The tokens of the values (or knots) come first, then the one for rare
    values and the one for missing cells, where the fitted rows had any.
    """

    column: str
    kind: str
    offset: int
    values: list  # of a numeric column: its knots
    has_rare: bool
    has_missing: bool

    @property
    def num_tokens(self) -> int:
        return len(self.values) + self.has_rare + self.has_missing

    def is_value(self) -> np.ndarray:
        return np.arange(self.num_tokens) < len(self.values)

    def encode(self, cells: pd.Series) -> tuple[np.ndarray, ...]:
        """Rows, tokens and weights of all non-missing cells, then missing."""
        cells = normalize_cells(cells, self.kind)
        if self.kind == 'numeric':
            row, token, weight = self._encode_numbers(_numbers(cells))
        else:
            row, token, weight = self._encode_values(cells)
        if self.has_missing:
            present = np.zeros(len(cells), bool)
            present[_explode(cells)[0]] = True
            missing = np.flatnonzero(~present)
            last = np.full(len(missing), self.offset + self.num_tokens - 1)
            row = np.concatenate([row, missing])
            token = np.concatenate([token, last])
            weight = np.concatenate([weight, np.ones(len(missing))])
        return row, token, weight

    def _encode_values(self, cells: pd.Series) -> tuple[np.ndarray, ...]:
        import pandas as pd

        row, value = _explode(cells)
        position = pd.Index(self.values, dtype=object).get_indexer(value)
        if self.has_rare:
            position = np.where(position < 0, len(self.values), position)
        row, position = row[position >= 0], position[position >= 0]
        # A bag is a set: two rare stars in one film are one rare token.
        pair = np.unique(np.stack([row, position]), axis=1)
        return pair[0], pair[1] + self.offset, np.ones(pair.shape[1])

    def _encode_numbers(self, number: np.ndarray) -> tuple[np.ndarray, ...]:
        row = np.flatnonzero(~np.isnan(number))
        knots = np.asarray(self.values)
        clamped = number[row].clip(knots[0], knots[-1])
        if len(knots) == 1:
            return row, np.full(len(row), self.offset), np.ones(len(row))
        left = np.searchsorted(knots, clamped, side='right') - 1
        left = left.clip(0, len(knots) - 2)
        share = (clamped - knots[left]) / (knots[left + 1] - knots[left])
        return (
            np.concatenate([row, row]),
            np.concatenate([left, left + 1]) + self.offset,
            np.concatenate([1 - share, share]),
        )


def fit_values(
    column: str, kind: str, cells: pd.Series, offset: int, min_count: int
) -> ColumnEncoder:
    """Fits the vocabulary of a categorical or multi-valued column."""
    import pandas as pd

    row, value = _explode(cells)
    pairs = pd.DataFrame({'row': row, 'value': value}).drop_duplicates()
    count = pairs['value'].value_counts()
    kept = count.index[count >= min_count]
    # An order of its own keeps the vocabulary free of the order of the rows.
    values = sorted((_plain(v) for v in kept), key=lambda v: (str(v), str(type(v))))
    missing = len(np.unique(row)) < len(cells)
    return ColumnEncoder(
        column, kind, offset, values, len(values) < len(count), missing
    )


def fit_numeric(
    column: str, cells: pd.Series, offset: int, num_knots: int
) -> ColumnEncoder:
    """Fits the knots of a numeric column, at quantiles of its cells."""
    number = _numbers(cells)
    present = number[~np.isnan(number)]
    if not len(present):
        raise ValueError(
            f"Column '{column}' holds no number to fit knots on; leave it out"
        )
    grid = np.linspace(0, 1, num_knots)
    knots = np.unique(np.quantile(present, grid)).tolist()
    return ColumnEncoder(
        column, 'numeric', offset, knots, False, len(present) < len(cells)
    )


def infer_kind(cells: pd.Series) -> str:
    """Numeric for numbers, multi for cells that hold lists, else categorical."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(cells) and not is_bool_dtype(cells):
        return 'numeric'
    return 'multi' if _is_listlike(_first(cells)) else 'categorical'


def normalize_cells(cells: pd.Series, kind: str | None = None) -> pd.Series:
    """The cells of an attribute column, numbers that are kept as objects as floats.

    Args:
        cells (pandas.Series): The column.
        kind (str, optional): Its kind, if it is known: whole numbers that are
            categories are kept as they are.

    Raises:
        ValueError: Naming the first row that holds something else than numbers,
            texts, or lists of them, such as a date: saved and loaded again, it
            would not be what it was.
    """
    import pandas as pd
    from pandas.api.types import is_complex_dtype, is_numeric_dtype, is_object_dtype

    if is_numeric_dtype(cells) and not is_complex_dtype(cells):
        return cells
    row, value = _explode(cells)
    kinds = set(map(type, value))
    # Whoever makes categories of whole numbers means them to be some.
    objects = is_object_dtype(cells) and kind in (None, 'numeric')
    if (Decimal in kinds or objects) and _are_numbers(cells, kinds):
        number = np.full(len(cells), np.nan)
        try:
            number[row] = value.astype(float)
        except OverflowError as error:
            raise ValueError(
                f"Column '{cells.name}' holds a number that is too large ({error}); "
                f'bring it to another scale, or make a text of it'
            ) from error
        return pd.Series(number, cells.index, name=cells.name)
    wrong = tuple(kind for kind in kinds if not issubclass(kind, VALUES))
    if wrong:
        from agnn_pyg.base.frames import where

        bad = np.zeros(len(cells), bool)
        bad[[r for r, v in zip(row, value, strict=True) if isinstance(v, wrong)]] = True
        raise ValueError(
            f"Column '{cells.name}' holds something else than numbers, texts or lists "
            f'of them in {where(cells.to_frame("cell"), bad, "cell")}; make a number '
            f'or a text of it, such as the year of a date, or leave the column out'
        )
    # No number is to be made of what is missing, not even of a date.
    return cells if len(value) else pd.Series(None, cells.index, object, cells.name)


def _first(cells: pd.Series) -> Any:
    """The first cell that holds something, which tells for all."""
    present = (cell for cell in cells[cells.notna()] if _holds_something(cell))
    return next(present, None)


def _are_numbers(cells: pd.Series, kinds: set[type]) -> bool:
    """Whether all cells that hold something, values of some kinds, hold one number."""
    numbers = all(issubclass(kind, NUMBERS) and kind is not bool for kind in kinds)
    return bool(kinds) and numbers and not any(map(_is_listlike, cells))


def _explode(cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and values of all cells that hold something."""
    import pandas as pd

    series = pd.Series(cells.to_numpy(), index=np.arange(len(cells)))
    values = series.astype(object).explode()
    values = values[values.notna()]
    # Compared one by one: what is nested would be compared part by part.
    filled = [not isinstance(v, str) or v != '' for v in values]
    values = values[np.array(filled, bool)]
    return values.index.to_numpy(np.int64), values.to_numpy(object)


def _numbers(cells: pd.Series) -> np.ndarray:
    import pandas as pd

    try:
        number = pd.to_numeric(cells).to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Column '{cells.name}' is numeric, but holds something else "
            f'({error}); clean it or make it categorical'
        ) from error
    infinite = np.isinf(number)
    if infinite.any():
        from agnn_pyg.base.frames import where

        raise ValueError(
            f"Column '{cells.name}' holds infinite numbers in "
            f'{where(cells.to_frame("cell"), infinite, "cell")}; replace them by '
            f'missing values or by a bound'
        )
    return number


def _is_listlike(cell: Any) -> bool:
    return isinstance(cell, list | tuple | set | frozenset | np.ndarray)


def _holds_something(cell: Any) -> bool:
    return len(cell) > 0 if _is_listlike(cell) else True


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
