"""Users or items: their ids, and their attributes in columns or encoded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agnn_pyg.base.checks import check_columns
from agnn_pyg.base.columns import (
    CONSTANT,
    CellTypeError,
    ParsedColumn,
    constant_column,
    missing_column,
    parse_column,
)
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.recommender_config import Columns, ColumnsConfig
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_ids


@dataclass(frozen=True)
class NodeTable:
    """The users or the items of a fit.

    Attributes:
        ids: The ids, one a row.
        columns: The attributes; a constant one if there is no other.
        given: Whether there was a table, rather than ids of ratings alone.
    """

    ids: Vocabulary
    columns: list[ParsedColumn]
    given: bool

    def encode(
        self, min_count: int, num_knots: int, rows: np.ndarray | None = None
    ) -> tuple[AttributeEncoder, TokenBags]:
        """Fits an encoder and encodes all rows.

        Args:
            min_count (int): See :class:`~agnn_pyg.AttributeEncoder`.
            num_knots (int): See :class:`~agnn_pyg.AttributeEncoder`.
            rows (numpy.ndarray, optional): The rows to fit on, in any order, repeated
                or not. (default: all)
        """
        stypes = {cells.column: cells.stype for cells in self.columns}
        encoder = AttributeEncoder(stypes, min_count, num_knots)
        fitted = self.columns
        if rows is not None:
            mask = np.zeros(len(self.ids), bool)
            mask[rows] = True
            fitted = [cells.take(mask) for cells in fitted]
        return encoder, encoder.fit(fitted).transform(self.columns)


def read_nodes(
    config: ColumnsConfig,
    side: str,
    frame: pd.DataFrame | None,
    rated: IdColumn,
    further: Sequence[IdColumn],
) -> NodeTable:
    """Reads the users or the items of a fit.

    Args:
        config (ColumnsConfig): Names of columns.
        side (str): :obj:`"user"` or :obj:`"item"`.
        frame (pandas.DataFrame, optional): The table.
        rated (IdColumn): The ids with training ratings, all there are without a table.
        further (sequence): Further ids to take without a table.

    Raises:
        ValueError: If the table is unfit, naming the column, the row and the remedy.
    """
    name, column = f'{side}s', getattr(config, side)
    attributes = getattr(config, f'{side}_attributes')
    if frame is None:
        if attributes:
            raise ValueError(
                f"'{side}_attributes' names columns, but there is no table '{name}'; "
                f'pass one'
            )
        vocabulary = Vocabulary.from_ids(rated)
        for ids in further:
            unknown = vocabulary.rows(ids) < 0
            vocabulary = vocabulary.append(pd.unique(ids.values[unknown]))
        return NodeTable(vocabulary, [constant_column(len(vocabulary))], False)
    check_columns(frame, name, [column])
    vocabulary = read_ids(frame, column, name).vocabulary()
    if not len(vocabulary):
        raise ValueError(f"'{name}' has no rows; leave it out, or give it some")
    columns = _read_attributes(frame, name, column, attributes)
    return NodeTable(vocabulary, columns or [constant_column(len(vocabulary))], True)


def read_new_nodes(
    frame: pd.DataFrame | None,
    side: str,
    config: ColumnsConfig,
    known: Vocabulary,
    encoders: Sequence[AttributeEncoder],
) -> tuple[np.ndarray, list[TokenBags]] | None:
    """The users or items of a table that the fit has not seen.

    Of a table of ids alone, all attributes are missing. A table that has some of the
    attributes must have all: a column of another name is more likely than one that is
    meant to be missing.

    Args:
        frame (pandas.DataFrame, optional): The table; known nodes are ignored.
        side (str): :obj:`"user"` or :obj:`"item"`.
        config (ColumnsConfig): Names of columns.
        known (Vocabulary): The ids of the fit.
        encoders (sequence): Encoders of the same columns.

    Returns:
        The new ids, and their attributes by each encoder; nothing if none is new.

    Raises:
        ValueError: If the table is unfit, naming the column and the row.
    """
    if frame is None:
        return None
    name, column = f'{side}s', getattr(config, side)
    check_columns(frame, name, [column])
    ids = read_ids(frame, column, name)
    ids.vocabulary()  # refuses repeated ids
    new = known.rows(ids) < 0
    if not new.any():
        return None
    frame = frame[new]
    if frame.columns.tolist() == [column]:
        columns = [
            constant_column(len(frame))
            if encoder.column == CONSTANT
            else missing_column(encoder.column, encoder.stype, len(frame))
            for encoder in encoders[0].column_encoders
        ]
    else:
        columns = encoders[0].parse(frame, name)
    return ids.values[new], [e.transform(columns) for e in encoders]


def _read_attributes(
    frame: pd.DataFrame, name: str, column: str, attributes: Columns | None
) -> list[ParsedColumn]:
    """The attributes that are named, or all that can mean something."""
    if attributes is not None:
        stypes = attributes
        if not isinstance(attributes, Mapping):
            stypes = dict.fromkeys(attributes)
        check_columns(frame, name, list(stypes))
        return [parse_column(frame, c, stype, name) for c, stype in stypes.items()]
    others = [other for other in frame.columns if other != column]
    check_columns(frame, name, others)
    kept, dropped = [], []
    for other in others:
        try:
            cells = parse_column(frame, other, name=name)
            problem = _problem(cells)
        except CellTypeError:
            problem = 'neither numbers nor texts'
        if problem:
            dropped.append(f'{other} ({problem})')
        else:
            kept.append(cells)
    if dropped:
        warnings.warn(
            f"Columns of '{name}' left out: {', '.join(dropped)}; to keep one, name it "
            f"in '{name.removesuffix('s')}_attributes', and make a number or a text "
            f'of a date, such as the year',
            stacklevel=2,
        )
    return kept


def _problem(cells: ParsedColumn) -> str | None:
    """Why a column cannot be an attribute, as far as its cells show."""
    if cells.stype == 'numeric':
        return None if len(cells.value) else 'nothing in it'
    value = pd.Series(cells.value)
    if all(isinstance(v, bool | np.bool_) for v in value.unique()):
        return None
    repeated = value.map(value.value_counts()).to_numpy() > 1
    shared, present = (len({*cells.row[mask]}) for mask in (repeated, slice(None)))
    return None if 2 * shared >= max(1, present) else 'most values occur once'
