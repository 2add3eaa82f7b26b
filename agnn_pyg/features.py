"""Attribute tables to tensors: vocabularies, multi-valued and numeric columns.

A row becomes a bag of weighted *tokens*. A categorical or multi-valued column
owns one token per value; a numeric column owns one token per knot, and a number
between two knots is shared by both in proportion (a piecewise linear encoding).
Bags are what bi-interaction pooling sums over, and what proximities compare.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse

KINDS = ('categorical', 'multi', 'numeric')


@dataclass(frozen=True)
class Attributes:
    """The encoded attributes of N nodes: one padded bag of tokens each.

    Attributes:
        index: Token ids, :obj:`[N, F]` of dtype ``int64``, padded with 0.
        weight: Weights of the tokens, :obj:`[N, F]` of dtype ``float32``, 0 at
            padding.
        is_value: :obj:`[num_tokens]`, true for tokens that stand for a value of
            a column; false for padding and the tokens for rare and missing.
    """

    index: Tensor
    weight: Tensor
    is_value: Tensor

    @property
    def num_nodes(self) -> int:
        return self.index.size(0)

    @property
    def num_tokens(self) -> int:
        return self.is_value.numel()

    def multi_hot(self) -> scipy.sparse.csr_matrix:
        """Real values only, as a sparse matrix :obj:`[N, num_tokens]`.

        Rare and missing tokens are left out: two nodes are not alike because
        nothing is known of either.
        """
        import scipy.sparse

        row, slot = (self.is_value[self.index] & (self.weight != 0)).nonzero(
            as_tuple=True
        )
        entries = (
            self.weight[row, slot].double().numpy(),
            (row.numpy(), self.index[row, slot].numpy()),
        )
        shape = (self.num_nodes, self.num_tokens)
        return scipy.sparse.csr_matrix(entries, shape=shape)


class AttributeEncoder:
    r"""Turns a frame of attributes into token bags, with a fitted vocabulary.

    * A value seen in fewer than :obj:`min_count` rows is *rare*: all rare
      values of a column share one token.
    * A value *unseen* when the vocabulary was fitted counts as rare. If
      nothing was rare then, it contributes nothing.
    * A *missing* cell (``None``, ``NaN``, an empty text or list) gets the column's
      token for missing. If nothing was missing at fit time, that token would
      be untrained, so it contributes nothing.
    * Numbers outside the fitted range are clamped to it.

    Args:
        columns (sequence or mapping): The columns to encode, or a mapping from
            column to kind: :obj:`"categorical"`, :obj:`"multi"` (a cell holds
            a list) or :obj:`"numeric"`. Without a kind, cells that hold lists
            make a column multi-valued, numbers make it numeric, and anything
            else makes it categorical.
        min_count (int, optional): Rows a value must occur in to get a token of
            its own. (default: :obj:`1`)
        num_knots (int, optional): Knots of a numeric column, at quantiles of
            the fitted values. (default: :obj:`8`)

    Raises:
        ValueError: If no column or an unknown kind is given.
    """

    def __init__(
        self,
        columns: Sequence[str] | Mapping[str, str | None],
        min_count: int = 1,
        num_knots: int = 8,
    ) -> None:
        if isinstance(columns, str) or not len(columns):
            raise ValueError(
                f"'columns' must name at least one attribute column (got "
                f'{columns!r}); a node without attributes cannot be placed '
                f'in an attribute graph'
            )
        if not isinstance(columns, Mapping):
            columns = dict.fromkeys(columns)
        for column, kind in columns.items():
            if kind is not None and kind not in KINDS:
                raise ValueError(
                    f"The kind of column '{column}' must be one of {KINDS} "
                    f'(got {kind!r})'
                )
        for name, value, low in (
            ('min_count', min_count, 1),
            ('num_knots', num_knots, 2),
        ):
            if value < low:
                raise ValueError(f"'{name}' must be at least {low} (got {value})")
        self.columns = dict(columns)
        self.min_count = min_count
        self.num_knots = num_knots
        self.fields: list[_Field] = []

    @property
    def num_tokens(self) -> int:
        """Tokens of all columns, padding (token 0) included."""
        return 1 + sum(field.num_tokens for field in self.fields)

    def fit(self, frame: pd.DataFrame) -> AttributeEncoder:
        """Fits vocabularies and knots on the rows of :obj:`frame`."""
        if not len(frame):
            raise ValueError(
                'Cannot fit a vocabulary on an empty table; pass the rows of '
                'the nodes that are trained on'
            )
        self.fields, offset = [], 1
        for column, kind in self.columns.items():
            cells = _column(frame, column)
            kind = kind or _infer_kind(cells)
            fit = _fit_numeric if kind == 'numeric' else _fit_values
            field = fit(column, kind, cells, offset, self)
            offset += field.num_tokens
            self.fields.append(field)
        return self

    def transform(self, frame: pd.DataFrame) -> Attributes:
        """Encodes :obj:`frame`, one row a node, in the order of its rows."""
        if not self.fields:
            raise ValueError("Call 'fit' before 'transform'")
        parts = [f.encode(_column(frame, f.column)) for f in self.fields]
        row, token, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
        is_value = np.concatenate([[False], *(f.is_value() for f in self.fields)])
        return _pack(len(frame), row, token, weight, is_value)

    def fit_transform(self, frame: pd.DataFrame) -> Attributes:
        """Fits on :obj:`frame` and encodes it."""
        return self.fit(frame).transform(frame)

    def to_dict(self) -> dict[str, Any]:
        """The fitted encoder as plain data, ready for JSON."""
        return {
            'columns': self.columns,
            'min_count': self.min_count,
            'num_knots': self.num_knots,
            'fields': [vars(field) for field in self.fields],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> AttributeEncoder:
        """The inverse of :meth:`to_dict`."""
        encoder = cls(state['columns'], state['min_count'], state['num_knots'])
        encoder.fields = [_Field(**field) for field in state['fields']]
        return encoder

    def __repr__(self) -> str:
        return f'{type(self).__name__}({list(self.columns)})'


@dataclass
class _Field:
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


def _fit_values(
    column: str,
    kind: str,
    cells: pd.Series,
    offset: int,
    config: AttributeEncoder,
) -> _Field:
    import pandas as pd

    row, value = _explode(cells)
    pairs = pd.DataFrame({'row': row, 'value': value}).drop_duplicates()
    count = pairs['value'].value_counts()
    kept = count.index[count >= config.min_count]
    # An order of its own keeps the vocabulary free of the order of the rows.
    values = sorted((_plain(v) for v in kept), key=lambda v: (str(v), str(type(v))))
    missing = len(np.unique(row)) < len(cells)
    return _Field(column, kind, offset, values, len(values) < len(count), missing)


def _fit_numeric(
    column: str,
    kind: str,
    cells: pd.Series,
    offset: int,
    config: AttributeEncoder,
) -> _Field:
    number = _numbers(cells)
    present = number[~np.isnan(number)]
    if not len(present):
        raise ValueError(
            f"Column '{column}' holds no number to fit knots on; leave it out"
        )
    grid = np.linspace(0, 1, config.num_knots)
    knots = np.unique(np.quantile(present, grid)).tolist()
    return _Field(column, kind, offset, knots, False, len(present) < len(cells))


def _pack(
    num_rows: int,
    row: np.ndarray,
    token: np.ndarray,
    weight: np.ndarray,
    is_value: np.ndarray,
) -> Attributes:
    keep = weight > 0
    row, token, weight = row[keep], token[keep], weight[keep]
    order = np.argsort(row, kind='stable')
    row, token, weight = row[order], token[order], weight[order]
    count = np.bincount(row, minlength=num_rows)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    # At least one slot, so that a row of nothing is a bag of padding.
    index = np.zeros((num_rows, max(1, count.max(initial=0))), np.int64)
    packed = np.zeros(index.shape, np.float32)
    index[row, slot], packed[row, slot] = token, weight
    return Attributes(
        torch.from_numpy(index),
        torch.from_numpy(packed),
        torch.from_numpy(is_value.astype(bool)),
    )


def _column(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame.columns:
        names = [str(name) for name in frame.columns]
        near = difflib.get_close_matches(column, names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ''
        raise ValueError(
            f"No attribute column '{column}' in the table, which has {names}{hint}"
        )
    return frame[column]


def _infer_kind(cells: pd.Series) -> str:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(cells) and not is_bool_dtype(cells):
        return 'numeric'
    # The first cell that holds something tells for all.
    present = (cell for cell in cells[cells.notna()] if _holds_something(cell))
    return 'multi' if _is_listlike(next(present, None)) else 'categorical'


def _explode(cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and values of all cells that hold something."""
    import pandas as pd

    series = pd.Series(cells.to_numpy(), index=np.arange(len(cells)))
    values = series.astype(object).explode()
    values = values[values.notna()]
    values = values[values != '']
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
    if np.isinf(number).any():
        raise ValueError(
            f"Column '{cells.name}' holds infinite numbers; replace them by "
            f'missing values or by a bound'
        )
    return number


def _is_listlike(cell: Any) -> bool:
    return isinstance(cell, list | tuple | set | frozenset | np.ndarray)


def _holds_something(cell: Any) -> bool:
    return len(cell) > 0 if _is_listlike(cell) else True


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
