"""Reads and validates the tables of users and items with their attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from agnn_pyg.base.cells import (
    CONSTANT,
    CellTypeError,
    ParsedColumn,
    constant_column,
    floats,
    parse_column,
)
from agnn_pyg.base.checks import TableColumn, warn
from agnn_pyg.base.columns import MANY_NEW
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.oddities import problem_of, seems, warn_of_numbers
from agnn_pyg.base.recommender_config import ColumnsConfig
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_distinct, read_ids

# Columns with readable names of rows.
TITLES = ('title', 'name')
# Limits of the comparison with the fit: rows of known ids, and difference of weights.
MOST_COMPARED, MAX_GAP = 20_000, 1e-3
# The least share of rows with a value for a column to be usually filled.
USUALLY_FILLED = 0.8


@dataclass(frozen=True)
class NodeTable:
    """The users or the items of a fit; without attributes, they have a constant one."""

    ids: Vocabulary
    columns: list[ParsedColumn]
    given: bool  # whether a table was passed

    def encode(
        self, min_count: int, num_knots: int, rows: np.ndarray | None = None
    ) -> tuple[AttributeEncoder, TokenBags]:
        """Fits an encoder on some rows (default: all) and encodes all rows."""
        stypes = {cells.column: cells.stype for cells in self.columns}
        encoder = AttributeEncoder(stypes, min_count, num_knots)
        fitted = self.columns
        if rows is not None:
            mask = np.isin(np.arange(len(self.ids)), rows)
            fitted = [cells.take(mask) for cells in fitted]
        return encoder, encoder.fit(fitted).transform(self.columns)


def read_nodes(
    config: ColumnsConfig,
    side: str,
    frame: pd.DataFrame | None,
    rated: IdColumn,
    further: Sequence[IdColumn] = (),
) -> NodeTable:
    """Reads the nodes of a table; without one, the ids in :obj:`rated` and more."""
    attributes = getattr(config, f'{side}_attributes')
    if frame is not None:
        _check_side(frame, side, config)
        given = read_ids(frame, getattr(config, side), f'{side}s')
        given.warn_of_odd()
        ids = given.vocabulary()
        given.check_rows('leave it out, or add rows')
        columns = _read_attributes(frame, side, config)
        columns = columns or [constant_column(len(ids))]
        return NodeTable(ids, columns, True)
    if attributes:
        raise ValueError(
            f"'{side}_attributes' names columns, but there is no table '{side}s'; pass "
            f'it'
        )
    ids = Vocabulary.from_ids(rated)
    for more in further:
        is_new = ids.rows(more) < 0
        more.remark(  # validation may have only new users
            is_new & is_new.all() & more.name.endswith('edges'),
            f'has no id of a known {side} in',
            f'put the two columns of {side} ids first',
        )
        ids = ids.append(pd.unique(more.values[is_new]))
    return NodeTable(ids, [constant_column(len(ids))], False)


def _read_attributes(
    frame: pd.DataFrame, side: str, config: ColumnsConfig
) -> list[ParsedColumn]:
    """Reads the named attributes, or all columns that can be useful."""
    name = f'{side}s'
    attributes = getattr(config, f'{side}_attributes')
    is_named = attributes is not None
    if not is_named:
        attributes = frame.columns.drop(getattr(config, side))
        folded = attributes.unique().astype(str).str.casefold()
        alike = attributes.unique()[folded.duplicated(keep=False)]
        if len(alike):
            warn(
                f"'{name}' has columns that differ only in case, {', '.join(alike)}, "
                f'and each is used; merge them, or drop all except one'
            )
    if not isinstance(attributes, Mapping):
        attributes = dict.fromkeys(attributes)
    if getattr(config, side) in attributes:
        raise ValueError(
            f"'{side}_attributes' names the ids, '{getattr(config, side)}', which are "
            f'no attribute; leave them out'
        )
    if config.rating in attributes and not is_named:
        warn(
            f"'{name}' has a column '{config.rating}', the name of the ratings, and it "
            f'is used as an attribute; drop it if it is made from ratings'
        )
    kept, dropped, suited = [], {}, {}
    for column, stype in attributes.items():
        try:
            cells = parse_column(frame, column, stype, name)
        except CellTypeError as error:
            if is_named:
                raise
            dropped[column] = str(error).rpartition(';')[0]
            continue
        guess, problem = seems(cells), None
        if stype is None and (cells.stype == 'categorical' or not is_named):
            problem = problem_of(cells)
        if problem and not is_named:
            dropped[column] = guess or problem
            if guess is None and cells.stype == 'categorical' and len(cells.value):
                suited[column] = 'text'
            elif guess and not np.isnan(floats(cells.value)).any():
                suited[column] = 'numeric'
            continue
        kept.append(cells)
        is_list = cells.stype == 'multi' and guess and guess.startswith('lists')
        if guess and (stype is None or is_list):
            warn(
                f"Column '{column}' of '{name}' holds {guess}, and each text is read "
                f"as a category; convert it, or give it the type 'categorical' in "
                f"'{side}_attributes'"
            )
        if stype is None:
            warn_of_numbers(cells)
        if problem:
            warn(
                f"Column '{column}' of '{name}': {problem}; give it the type 'text' to "
                f"read words, or 'categorical' to keep whole values"
            )
    if dropped:
        texts = (f'{column} ({why})' for column, why in dropped.items())
        types = {c.column: None for c in kept[:1]} | dict([*suited.items()][:1])
        warn(
            f"Columns of '{name}' left out: {', '.join(texts)}; to keep one, convert "
            f"it, or list all attributes in '{side}_attributes'"
            + (f' with their types, such as {types}' if suited else '')
            + (" (codes: 'categorical')" if 'numeric' in types.values() else '')
        )
    return kept


def read_new_nodes(
    frame: pd.DataFrame | Sequence | None,
    side: str,
    config: ColumnsConfig,
    known: Vocabulary,
    encoders: Sequence[AttributeEncoder],
    bags: TokenBags,
    is_checked: bool = False,
) -> tuple[np.ndarray, list[TokenBags]] | None:
    """New ids of a table with their bags from each encoder; None if no id is new.

    If only ids are passed, all attributes are missing; otherwise a missing column
    raises ``ValueError``. All encoders have the same columns. Rows of known ids are
    compared with their :obj:`bags` of the last encoder, with a warning if they differ.
    :obj:`is_checked` skips the warning of unusual ids.
    """
    if frame is None:
        return None
    column = getattr(config, side)
    _check_side(frame, side, config)
    ids = read_distinct(frame, f'{side}s', column)
    if not is_checked:
        ids.warn_of_odd()
    rows = known.rows(ids)
    ids.warn_of_like(known, rows)
    _warn_of_changed(ids, rows, encoders[-1], bags)
    new = rows < 0
    if not new.any():
        return None
    frame = ids.frame[new]
    is_bare = frame.columns.tolist() == [column]
    if is_bare:
        frame = frame.reindex(columns=[*encoders[0].columns])
    elif [*encoders[0].columns] == [CONSTANT]:
        warn(
            f"'{side}s' has attributes, but the fit had none, so they are ignored; "
            f'fit again with a table of the known {side}s'
        )
    # The last encoder has all values, including rare ones.
    columns = encoders[-1].parse(frame, f'{side}s')
    is_table = not is_bare and new.sum() >= MANY_NEW
    for fitted, cells in zip(encoders[-1].column_encoders, columns, strict=True):
        if not is_table or len(cells.row):
            continue
        value = bags.index - fitted.offset
        has_value = ((value >= 0) & (value < len(fitted.values))).any(dim=1)
        if (share := has_value.double().mean()) >= USUALLY_FILLED:
            warn(
                f"Column '{cells.column}' of '{side}s' is empty, but had values in "
                f'{share:.0%} of the cells of the fit; fill it in, or fit without it '
                f'if new {side}s lack it'
            )
    return ids.values[new], [e.transform(columns) for e in encoders]


def _check_side(
    frame: pd.DataFrame | Sequence, side: str, config: ColumnsConfig
) -> None:
    """Raises ``ValueError`` if a table of users has the ids of items, or vice versa."""
    columns = getattr(frame, 'columns', ())
    other = 'item' if side == 'user' else 'user'
    own, theirs = getattr(config, side), getattr(config, other)
    if own not in columns and theirs in columns:
        raise ValueError(
            f"'{side}s' has no column '{own}', but '{theirs}'; pass it as '{other}s', "
            f'or rename the column'
        )


def warn_of_bare(name: str, side: str) -> None:
    """Warns that a table has new users or items without attributes."""
    warn(
        f"'{name}' has new {side}s without attributes; pass them in a table '{side}s', "
        f'with only their ids if there are no attributes'
    )


def _warn_of_changed(
    ids: IdColumn, rows: np.ndarray, encoder: AttributeEncoder, bags: TokenBags
) -> None:
    """Warns if known ids have other attributes than in the fit."""
    known = np.flatnonzero((rows >= 0) & (rows < bags.num_nodes))
    known = known[:: 1 + len(known) // MOST_COMPARED]
    frame = ids.frame.iloc[known]
    if not len(known) or frame.columns.intersection([*encoder.columns]).empty:
        return
    frame = frame.reindex(columns=[*encoder.columns])
    fitted = encoder.column_encoders
    try:
        columns = [parse_column(frame, c.column, c.stype, ids.name) for c in fitted]
    except ValueError as error:  # these cells are not used
        warn(
            f'Attributes of known ids have no effect, and here cannot be read: {error}'
        )
        return
    found = encoder.transform(columns).multi_hot()
    bags = bags.take(torch.from_numpy(rows[known]))
    gap = abs(found - bags.multi_hot()).tocsc()
    for column, cells in zip(fitted, columns, strict=True):
        part = gap[:, column.offset : column.offset + len(column.values)]
        is_other = part.max(axis=1).toarray().ravel() > MAX_GAP
        TableColumn(frame, column.column, ids.name).remark(
            is_other & ~cells.is_missing,
            'changes attributes of known ids, which has no effect, in',
            'fit again to change them, or use other ids for new nodes',
        )


def with_titles(
    frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame | Sequence | None]
) -> pd.DataFrame:
    """Adds columns of titles next to columns of ids, if the tables have titles."""
    for column, table in tables.items():
        table = table if isinstance(table, pd.DataFrame) else pd.DataFrame()
        titles = [c for c in table if str(c).lower() in TITLES]
        if titles and column in frame:
            known = table.drop_duplicates(column).set_index(column)[titles[0]]
            found = frame[column].map(known)
            if found.notna().any():
                place = frame.columns.get_loc(column) + 1
                found = found.astype(object).fillna('')
                frame.insert(place, f'{column} {titles[0]}', found)
    return frame
