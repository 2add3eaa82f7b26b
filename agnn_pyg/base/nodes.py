"""The tables of users and items: read and validated once, with their attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
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

# Columns that name a row for people.
TITLES = ('title', 'name')
# Rows of known ids that are compared with the fit, and by how much weights may differ.
MOST_COMPARED, MAX_GAP = 250, 1e-3


@dataclass(frozen=True)
class NodeTable:
    """The users or the items of a fit; a constant is an attribute if there is none."""

    ids: Vocabulary
    columns: list[ParsedColumn]
    given: bool  # whether there was a table, rather than ids of ratings alone

    def encode(
        self, min_count: int, num_knots: int, rows: np.ndarray | None = None
    ) -> tuple[AttributeEncoder, TokenBags]:
        """Fits an encoder on some rows (default: on all), and encodes all of them."""
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
    """The nodes of a table; without one, those rated in training and further ones."""
    attributes = getattr(config, f'{side}_attributes')
    if frame is not None:
        given = read_ids(frame, getattr(config, side), f'{side}s')
        given.warn_of_odd()
        ids = given.vocabulary()
        given.check_rows('leave it out, or give it some')
        columns = _read_attributes(frame, side, config)
        columns = columns or [constant_column(len(ids))]
        return NodeTable(ids, columns, True)
    if attributes:
        raise ValueError(
            f"'{side}_attributes' names columns, but of no table '{side}s'; pass it"
        )
    ids = Vocabulary.from_ids(rated)
    for more in further:
        is_new = ids.rows(more) < 0
        more.remark(  # validation may be of other users
            is_new & is_new.all() & more.name.endswith('edges'),
            f'has no id of a {side} that is known in',
            f'name the columns of {side}s first',
        )
        ids = ids.append(pd.unique(more.values[is_new]))
    return NodeTable(ids, [constant_column(len(ids))], False)


def _read_attributes(
    frame: pd.DataFrame, side: str, config: ColumnsConfig
) -> list[ParsedColumn]:
    """The attributes that are named, or all that can mean something."""
    name = f'{side}s'
    attributes = getattr(config, f'{side}_attributes')
    is_named = attributes is not None
    if not is_named:
        attributes = frame.columns.drop(getattr(config, side))
        folded = attributes.astype(str).str.casefold()
        alike = attributes[folded.duplicated(keep=False)]
        if len(alike):
            warn(
                f"'{name}' has columns that differ in case alone, {', '.join(alike)}; "
                f'each counts by itself; make one of them, or drop the others'
            )
    if not isinstance(attributes, Mapping):
        attributes = dict.fromkeys(attributes)
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
                f"Column '{column}' of '{name}' holds {guess}; each text counts as a "
                f"category; convert it, or give it the type 'categorical' in "
                f"'{side}_attributes'"
            )
        if stype is None:
            warn_of_numbers(cells)
        if problem:
            warn(
                f"Column '{column}' of '{name}': {problem}; give it the type 'text' to "
                f"read words, or 'categorical' if that is meant"
            )
    if dropped:
        texts = (f'{column} ({why})' for column, why in dropped.items())
        types = {c.column: None for c in kept[:1]} | dict([*suited.items()][:1])
        warn(
            f"Columns of '{name}' left out: {', '.join(texts)}; to keep one, convert "
            f"it, or name all that are to count in '{side}_attributes'"
            + (f' by their types, such as {types}' if suited else ''),
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
    """New ids of a table, and their attributes by each encoder; None if none is new.

    Of a table or a list of ids alone, all attributes are missing. Else a lacking column
    is an error: perhaps it has another name. The encoders are of the same columns. Rows
    of known ids are compared with their :obj:`bags` by the last encoder. Ids of other
    tables, which have been read already, are :obj:`is_checked`.
    """
    if frame is None:
        return None
    column = getattr(config, side)
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
            f"'{side}s' has attributes, but the fit had none of {side}s, so they mean "
            f'nothing; fit again with the table of known {side}s'
        )
    # The last encoder knows all values, also the rare ones.
    columns = encoders[-1].parse(frame, f'{side}s')
    is_table = not is_bare and new.sum() >= MANY_NEW
    for fitted, cells in zip(encoders[-1].column_encoders, columns, strict=True):
        if is_table and not (fitted.has_missing or len(cells.row)):
            warn(
                f"Column '{cells.column}' of '{side}s' is empty, and never was in the "
                f'fit; fill it in, or fit without it if new {side}s do not have it'
            )
    return ids.values[new], [e.transform(columns) for e in encoders]


def warn_of_bare(name: str, side: str) -> None:
    """Warns that a table names new users or items whose attributes are missing."""
    warn(
        f"'{name}' has new {side}s without attributes; pass a table '{side}s' of them, "
        f'if only of ids, where nothing is known'
    )


def _warn_of_changed(
    ids: IdColumn, rows: np.ndarray, encoder: AttributeEncoder, bags: TokenBags
) -> None:
    """Warns if some of the known ids have other attributes than in the fit."""
    known = np.flatnonzero((rows >= 0) & (rows < bags.num_nodes))
    known = known[:: 1 + len(known) // MOST_COMPARED]
    frame = ids.frame.iloc[known]
    if not len(known) or frame.columns.intersection([*encoder.columns]).empty:
        return
    frame = frame.reindex(columns=[*encoder.columns])
    fitted = encoder.column_encoders
    with suppress(ValueError):  # what is not read need not be in order
        columns = [parse_column(frame, c.column, c.stype, ids.name) for c in fitted]
        found = encoder.transform(columns).multi_hot()
        bags = bags.take(torch.from_numpy(rows[known]))
        gap = abs(found - bags.multi_hot()).tocsc()
        for column, cells in zip(fitted, columns, strict=True):
            part = gap[:, column.offset : column.offset + len(column.values)]
            is_other = part.max(axis=1).toarray().ravel() > MAX_GAP
            TableColumn(frame, column.column, ids.name).remark(
                is_other & ~cells.is_missing,
                'has attributes of known ids unlike those of the fit, which count, in',
                'fit again to change them, or give what is new ids of its own',
            )


def with_titles(
    frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame | Sequence | None]
) -> pd.DataFrame:
    """Adds to columns of ids the titles that tables have, if they have any."""
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
