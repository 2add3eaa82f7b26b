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

from agnn_pyg.base.columns import (
    CONSTANT,
    ColumnEncoder,
    fit_numeric,
    fit_values,
    infer_kind,
    normalize_cells,
)

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse

KINDS = ('categorical', 'multi', 'numeric')


@dataclass(frozen=True)
class TokenBags:
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

    def take(self, rows: Tensor | slice) -> TokenBags:
        """The attributes of some of the nodes."""
        return TokenBags(self.index[rows], self.weight[rows], self.is_value)

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
    * Anything else than numbers and texts, such as a date, is refused: make a
      number or a text of it, such as the year. Decimals count as floats.

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
        self.fields: list[ColumnEncoder] = []

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
            cells = normalize_cells(_column(frame, column), kind)
            kind = kind or infer_kind(cells)
            if kind == 'numeric':
                field = fit_numeric(column, cells, offset, self.num_knots)
            else:
                field = fit_values(column, kind, cells, offset, self.min_count)
            offset += field.num_tokens
            self.fields.append(field)
        return self

    def transform(self, frame: pd.DataFrame) -> TokenBags:
        """Encodes :obj:`frame`, one row a node, in the order of its rows."""
        if not self.fields:
            raise ValueError("Call 'fit' before 'transform'")
        parts = [f.encode(_column(frame, f.column)) for f in self.fields]
        row, token, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
        is_value = np.concatenate([[False], *(f.is_value() for f in self.fields)])
        return _pack(len(frame), row, token, weight, is_value)

    def fit_transform(self, frame: pd.DataFrame) -> TokenBags:
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
        encoder.fields = [ColumnEncoder(**field) for field in state['fields']]
        return encoder

    def __repr__(self) -> str:
        return f'{type(self).__name__}({list(self.columns)})'


def _pack(
    num_rows: int,
    row: np.ndarray,
    token: np.ndarray,
    weight: np.ndarray,
    is_value: np.ndarray,
) -> TokenBags:
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
    return TokenBags(
        torch.from_numpy(index),
        torch.from_numpy(packed),
        torch.from_numpy(is_value.astype(bool)),
    )


def _column(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame.columns:
        names = [str(name) for name in frame.columns if name != CONSTANT]
        near = difflib.get_close_matches(str(column), names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ''
        raise ValueError(
            f"No attribute column '{column}' in the table, which has {names}{hint}"
        )
    if frame.columns.tolist().count(column) > 1:
        raise ValueError(
            f"The table has several columns called '{column}'; drop or rename all "
            f'but one'
        )
    return frame[column]
