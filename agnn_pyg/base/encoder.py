"""Encodes attribute tables as tensors: each row becomes a bag of weighted tokens.

A categorical or multi-valued column has one token per value. A numeric column has one
token per knot, and a number is interpolated between its two nearest knots (piecewise
linear encoding). Bi-interaction pooling sums over bags, and proximities compare them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from agnn_pyg.base.cells import CONSTANT, ParsedColumn, parse_column
from agnn_pyg.base.checks import TableColumn, check_columns
from agnn_pyg.base.columns import STYPES, ColumnEncoder
from agnn_pyg.base.config import PositiveInt, check_argument

if TYPE_CHECKING:  # layers import this file without SciPy
    import scipy.sparse as sp


@dataclass(frozen=True)
class TokenBags:
    """The encoded attributes of N nodes: one padded bag of tokens each.

    Attributes:
        index: Token ids, :obj:`[N, F]` of dtype ``int64``, padded with 0.
        weight: Token weights, :obj:`[N, F]` of dtype ``float32``, 0 at padding.
        is_value: :obj:`[num_tokens]`, true for tokens of values, and false for padding
            and the tokens of rare and missing values.
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
        """The bags of some nodes."""
        return TokenBags(self.index[rows], self.weight[rows], self.is_value)

    def emptied(self) -> TokenBags:
        """Empty bags for the same number of nodes."""
        return TokenBags(0 * self.index[:, :1], 0 * self.weight[:, :1], self.is_value)

    def append(self, other: TokenBags) -> TokenBags:
        """These bags followed by others of the same encoder."""
        width = max(self.index.size(1), other.index.size(1))
        index, weight = (
            torch.cat([F.pad(part, (0, width - part.size(1))) for part in both])
            for both in ((self.index, other.index), (self.weight, other.weight))
        )
        return TokenBags(index, weight, self.is_value)

    def multi_hot(self) -> sp.csr_matrix:
        """A sparse matrix :obj:`[N, num_tokens]` of the weights of values.

        It leaves out rare and missing tokens: sharing one makes no two nodes similar.
        """
        import scipy.sparse as sp

        is_value = self.is_value[self.index] & (self.weight != 0)
        row, _ = is_value.nonzero(as_tuple=True)
        weight, token = self.weight[is_value].double(), self.index[is_value]
        entries = weight.numpy(), (row.numpy(), token.numpy())
        return sp.csr_matrix(entries, (self.num_nodes, self.num_tokens))


class AttributeEncoder:
    r"""Encodes the columns of a frame as bags of tokens, with a fitted vocabulary.

    * A value in fewer than :obj:`min_count` rows of the fit is *rare*: all rare values
      of a column share one token.
    * A value that is *not in the fit* gets the token of rare values. If the fit had
      none, the value is ignored.
    * A *missing* cell (``None``, ``NaN``, an empty text or list) gets the column's
      token for missing cells. If the fit had none, the cell is ignored.
    * Numbers outside of the fitted range are clamped to it. Decimals become floats.
    * ``ValueError`` if a cell is no number, text, date or list of these, or if its
      type differs from the fit, such as 1 instead of "1".

    Args:
        columns (sequence or mapping): The columns to encode, or a mapping from column
            to its type: :obj:`"categorical"`, :obj:`"multi"` (a cell holds a list),
            :obj:`"numeric"`, :obj:`"date"` (dates or ISO texts), :obj:`"text"` (words)
            or :obj:`"vector"` (a cell holds a list of numbers of a fixed length, such
            as an embedding). All types except text can be inferred from the cells.
        min_count (int, optional): Minimum number of rows with a value for the value to
            have its own token. (default: :obj:`1`)
        num_knots (int, optional): Number of knots of a numeric column, at quantiles of
            the fitted values. (default: :obj:`8`)

    Attributes:
        column_encoders: The fitted encoder of each column.
    """

    def __init__(
        self,
        columns: Sequence[str] | Mapping[str, str | None],
        min_count: int = 1,
        num_knots: int = 8,
    ) -> None:
        if isinstance(columns, str) or not len(columns):
            raise ValueError(
                f"'columns' must name at least one attribute column (got {columns!r})"
            )
        is_mapping = isinstance(columns, Mapping)
        self.columns = dict(columns) if is_mapping else dict.fromkeys(columns)
        for column, stype in self.columns.items():
            if stype not in (None, *STYPES):
                raise ValueError(
                    f"The type of column '{column}' must be one of {[*STYPES]} (got "
                    f'{stype!r})'
                )
        self.min_count = check_argument('min_count', min_count, PositiveInt)
        self.num_knots = check_argument('num_knots', num_knots, Annotated[int, Ge(2)])
        self.column_encoders: list[ColumnEncoder] = []

    @property
    def num_tokens(self) -> int:
        """The number of tokens of all columns, including padding (token 0)."""
        return 1 + sum(column.num_tokens for column in self.column_encoders)

    def parse(self, frame: pd.DataFrame, name: str = 'frame') -> list[ParsedColumn]:
        """Parses the columns of a frame; error texts call it :obj:`name`.

        Other methods accept the result instead of the frame, to parse it only once.
        ``ValueError`` if a column is missing, or a cell does not suit its type.
        """
        if isinstance(frame, list):  # parsed already
            return frame
        fitted = self.column_encoders
        stypes = self.columns | {c.column: c.stype for c in fitted}
        named = [c.column for c in fitted if c.column != CONSTANT]
        check_columns(frame, name, named, 'add it, empty if there are no values')
        columns = [parse_column(frame, c, stype, name) for c, stype in stypes.items()]
        for encoder, cells in zip(fitted, columns, strict=False):
            encoder.check_served(cells, TableColumn(frame, cells.column, name))
        return columns

    def fit(self, frame: pd.DataFrame | list[ParsedColumn]) -> AttributeEncoder:
        """Fits vocabularies and knots on a frame or on its parsed columns."""
        self.column_encoders = []
        columns = self.parse(frame)
        if not columns[0].num_rows:
            raise ValueError(
                'Cannot fit on an empty table; pass the rows of nodes to train on'
            )
        for cells in columns:
            options = self.num_tokens, self.min_count, self.num_knots
            self.column_encoders.append(STYPES[cells.stype].fit(cells, *options))
        return self

    def transform(self, frame: pd.DataFrame | list[ParsedColumn]) -> TokenBags:
        """Encodes a frame or its parsed columns; each row is a node."""
        fitted = self.column_encoders
        if not fitted:
            raise ValueError("Call 'fit' before 'transform'")
        columns = self.parse(frame)
        parts = [c.encode(cells) for c, cells in zip(fitted, columns, strict=True)]
        row, token, weight = (np.concatenate(p) for p in zip(*parts, strict=True))
        order = np.argsort(row, kind='stable')
        order = order[weight[order] > 0]
        row = row[order]
        count = np.bincount(row, minlength=columns[0].num_rows)
        slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        # At least one slot: an empty row is a bag of padding.
        index = np.zeros((len(count), max(1, count.max(initial=0))), np.int64)
        packed = np.zeros(index.shape, np.float32)
        index[row, slot], packed[row, slot] = token[order], weight[order]
        is_value = [np.arange(c.num_tokens) < len(c.values) for c in fitted]
        is_value = np.concatenate([[False], *is_value]).astype(bool)
        return TokenBags(*map(torch.from_numpy, (index, packed, is_value)))

    def fit_transform(self, frame: pd.DataFrame | list[ParsedColumn]) -> TokenBags:
        """Fits on a frame or its parsed columns and encodes them."""
        self.column_encoders = []
        columns = self.parse(frame)
        return self.fit(columns).transform(columns)

    def texts(self, bags: TokenBags) -> dict[str, str]:
        """The attribute values of a single node as texts by column."""
        token, weight = bags.index[0].numpy(), bags.weight[0].double().numpy()
        found = {}
        for column in self.column_encoders:
            place = token - column.offset
            mine = (weight > 0) & (place >= 0) & (place < len(column.values))
            text = column.text(place[mine], weight[mine]) if mine.any() else '(missing)'
            found[str(column.column)] = text
        return found

    def to_dict(self) -> dict[str, Any]:
        """The fitted encoder as data for JSON."""
        columns = [asdict(column) for column in self.column_encoders]
        options = {'min_count': self.min_count, 'num_knots': self.num_knots}
        return options | {'columns': columns}

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
