"""Attribute tables to tensors: bags of weighted tokens.

A row becomes a bag of weighted *tokens*. A categorical or multi-valued column has one
token per value. A numeric column has one token per knot, and a number between two knots
is split between both in proportion (a piecewise linear encoding). Bi-interaction
pooling sums over bags, and proximities compare them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.checks import check_columns
from agnn_pyg.base.columns import (
    CONSTANT,
    STYPES,
    ColumnEncoder,
    ParsedColumn,
    constant_column,
    parse_column,
)

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse


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
    r"""Encodes the columns of a frame as bags of tokens, with a fitted vocabulary.

    * A value seen in fewer than :obj:`min_count` rows is *rare*: all rare values of a
      column share one token.
    * A value *unseen* when the vocabulary was fitted counts as rare. If nothing was
      rare then, it contributes nothing.
    * A *missing* cell (``None``, ``NaN``, an empty text or list) has the column's token
      for missing. If nothing was missing when the vocabulary was fitted, that token
      would be untrained, so the cell contributes nothing.
    * Numbers outside of the fitted range are clamped to it.
    * Anything else than numbers and texts, such as a date, is refused: make a number
      or a text of it, such as the year. Decimals count as floats.

    Args:
        columns (sequence or mapping): The columns to encode, or a mapping from column
            to its type: :obj:`"categorical"`, :obj:`"multi"` (a cell holds a list) or
            :obj:`"numeric"`. Without a type, cells that hold lists make a column
            multi-valued, numbers make it numeric, and anything else makes it
            categorical.
        min_count (int, optional): Rows a value must occur in to have a token of its
            own. (default: :obj:`1`)
        num_knots (int, optional): Knots of a numeric column, at quantiles of the
            fitted values. (default: :obj:`8`)

    Attributes:
        column_encoders: The fitted columns,
            :class:`~agnn_pyg.base.columns.ColumnEncoder`.

    Raises:
        ValueError: If no column or an unknown type is given.
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
        for column, stype in columns.items():
            if stype is not None and stype not in STYPES:
                raise ValueError(
                    f"The type of column '{column}' must be one of {[*STYPES]} (got "
                    f'{stype!r})'
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
        self.column_encoders: list[ColumnEncoder] = []

    @property
    def num_tokens(self) -> int:
        """Tokens of all columns, padding (token 0) included."""
        return 1 + sum(column.num_tokens for column in self.column_encoders)

    def parse(self, frame: pd.DataFrame, name: str = 'frame') -> list[ParsedColumn]:
        """Reads the columns of a frame, once for several encoders or methods.

        Args:
            frame (pandas.DataFrame): The table.
            name (str, optional): What error texts call it.

        Raises:
            ValueError: If a column is lacking, or a cell does not suit its type.
        """
        if isinstance(frame, list):  # parsed already
            return frame
        stypes = self.columns | {c.column: c.stype for c in self.column_encoders}
        check_columns(frame, name, [c for c in stypes if c != CONSTANT])
        return [
            constant_column(len(frame))
            if column == CONSTANT
            else parse_column(frame, column, stype, name)
            for column, stype in stypes.items()
        ]

    def fit(self, frame: pd.DataFrame | list[ParsedColumn]) -> AttributeEncoder:
        """Fits vocabularies and knots on the rows of a frame, or of its columns."""
        columns = self.parse(frame)
        if not columns[0].num_rows:
            raise ValueError(
                'Cannot fit a vocabulary on an empty table; pass the rows of '
                'the nodes that are trained on'
            )
        self.column_encoders, offset = [], 1
        for cells in columns:
            fit = STYPES[cells.stype].fit
            column = fit(cells, offset, self.min_count, self.num_knots)
            self.column_encoders.append(column)
            offset += column.num_tokens
        return self

    def transform(self, frame: pd.DataFrame | list[ParsedColumn]) -> TokenBags:
        """Encodes a frame or its columns, one row a node, in the order of the rows."""
        fitted = self.column_encoders
        if not fitted:
            raise ValueError("Call 'fit' before 'transform'")
        columns = self.parse(frame)
        parts = [c.encode(cells) for c, cells in zip(fitted, columns, strict=True)]
        row, token, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
        is_value = np.concatenate([[False], *(c.is_value() for c in fitted)])
        return _pack(columns[0].num_rows, row, token, weight, is_value)

    def fit_transform(self, frame: pd.DataFrame | list[ParsedColumn]) -> TokenBags:
        """Fits on a frame or its columns, and encodes them."""
        columns = self.parse(frame)
        return self.fit(columns).transform(columns)

    def to_dict(self) -> dict[str, Any]:
        """The fitted encoder as plain data, ready for JSON."""
        return {
            'min_count': self.min_count,
            'num_knots': self.num_knots,
            'columns': [column.to_dict() for column in self.column_encoders],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> AttributeEncoder:
        """The inverse of :meth:`to_dict`."""
        fitted = [STYPES[column['stype']](**column) for column in state['columns']]
        columns = {column.column: column.stype for column in fitted}
        encoder = cls(columns, state['min_count'], state['num_knots'])
        encoder.column_encoders = fitted
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
