"""The tables of ratings, users and items: read and validated once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from agnn_pyg.base.cells import (
    CellTypeError,
    ParsedColumn,
    constant_column,
    parse_column,
)
from agnn_pyg.base.checks import TableColumn, check_columns, shown, warn
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.oddities import (
    bounded_ratings,
    bounded_weights,
    problem_of,
    seems,
    warn_of_unread,
)
from agnn_pyg.base.recommender_config import ColumnsConfig
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_ids

SIDES = ('user', 'item')
# Columns that name a row for people.
TITLES = ('title', 'name')
# Rows of known ids that are compared with the fit, and by how much weights may differ.
MOST_COMPARED, MAX_GAP = 250, 1e-3


class Ratings(NamedTuple):
    """A table of R ratings: ids of users and of items, and finite numbers."""

    user: IdColumn
    item: IdColumn
    rating: np.ndarray
    column: TableColumn  # of the numbers
    index: np.ndarray | None = None  # rows of users and items, [2, R], once known

    @property
    def pair(self) -> TableColumn:
        """Both columns of ids, for texts that name a pair."""
        user, item = self[:2]
        return TableColumn(user.frame, (user.column, item.column), user.name)

    def check_rows(self, purpose: str) -> None:
        """Raises ``ValueError`` if there are no ratings for a purpose."""
        if not len(self.rating):
            raise ValueError(f"'{self.user.name}' has no rows; {purpose}")

    def pairs(self, ids: Mapping[str, Vocabulary]) -> Ratings:
        """These with rows of users and items; ``ValueError`` names an id without."""
        return self._replace(index=_rows(self[:2], ids))

    def warn_of_known(self, known: Any, table: str) -> None:
        """Warns if some of these pairs are among the rows, two arrays, of a table."""
        known = pd.MultiIndex.from_arrays([*known])
        self.pair.remark(
            pd.MultiIndex.from_arrays([*self.index]).isin(known),
            f'repeats pairs of {table} in',
            'drop what the model knows, to measure what it predicts',
        )


class Edges(NamedTuple):
    """A table of E undirected edges of one side: ids, and positive weights."""

    source: IdColumn
    target: IdColumn
    weight: np.ndarray

    def adjacency(self, ids: Vocabulary, table: str) -> sp.csr_matrix:
        """Symmetric weights, :obj:`[N, N]`; ``ValueError`` names an id without a row.

        Of an edge that is repeated, in either direction, the largest weight counts.
        """
        one, other = (c.check_known(ids.rows(c), table) for c in self[:2])
        frame = pd.DataFrame({'low': np.minimum(one, other), 'weight': self.weight})
        pairs = frame.groupby(['low', np.maximum(one, other)])['weight'].max()
        index = [pairs.index.get_level_values(k) for k in (0, 1)]
        half = sp.csr_matrix((pairs, index), (len(ids), len(ids)))
        return half + half.T


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


class FitTables(NamedTuple):
    """What a recommender is fitted on; nodes and weights of given edges by side."""

    nodes: dict[str, NodeTable]
    ratings: Ratings
    validation: Ratings | None
    links: dict[str, sp.csr_matrix]


def read_tables(
    config: ColumnsConfig,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None = None,
    items: pd.DataFrame | None = None,
    validation: pd.DataFrame | None = None,
    new_users: bool = False,
    edges: Mapping[str, pd.DataFrame | None] | None = None,
) -> FitTables:
    """Reads the tables of a fit; ``ValueError`` names column, row and remedy.

    Without a table of users, :obj:`new_users` takes also those of the validation alone,
    and those of the edges of users are taken, too; likewise for items.
    """
    config.check_settings()
    train = read_ratings(ratings, 'ratings', config)
    validated = None
    train.check_rows('there is nothing to train on')
    if config.rating is not None and np.ptp(train.rating) == 0:
        raise ValueError(
            f"'ratings' are all {float(train.rating[0]):g}, so nothing can be learned; "
            f'add some that users did not choose or like, with a lower rating such as 0'
        )
    if validation is not None and len(validation):
        validated = read_ratings(validation, 'validation', config)
    if config.rating is None:
        train = train._replace(rating=bounded_weights(train.rating, train.pair))
    if config.rating is not None and config.rating_range is None:
        train = train._replace(rating=bounded_ratings(train.rating, train.column))
    joined = read_edges(edges or {})
    nodes = {}
    for side, frame, rated in zip(SIDES, (users, items), train[:2], strict=True):
        further = [*joined[side][:2]] if side in joined else []
        if validated and new_users and side == 'user':
            further.append(validated.user)
        nodes[side] = _read_nodes(config, side, frame, rated, further)
    ids = {side: table.ids for side, table in nodes.items()}
    links = {s: found.adjacency(ids[s], f'{s}s') for s, found in joined.items()}
    train = train.pairs(ids)
    validated = validated and validated.pairs(ids)
    if validated:
        validated.warn_of_known(train.index, "'ratings'")
    return FitTables(nodes, train, validated, links)


def read_edges(given: Mapping[str, pd.DataFrame | None]) -> dict[str, Edges]:
    """Tables of edges by side: two columns of ids, and perhaps one named weight."""
    found = {}
    for side, frame in given.items():
        if frame is None:
            continue
        name = f'{side}_edges'
        check_columns(frame, name, [])
        if len(frame.columns) < 2:
            raise ValueError(
                f"'{name}' must have two columns of ids (it has "
                f'{", ".join(map(str, frame.columns)) or "none"}); give both ends'
            )
        one, other = _read_ends(frame, [*frame.columns[:2]], name)
        if one.dtype == other.dtype:
            is_loop = one.values == other.values
            other.refuse(is_loop, f'joins a {side} with itself in', 'drop the row')
        column = 'weight' if 'weight' in frame.columns[2:] else None
        if column is None:
            warn_of_unread(
                frame.iloc[:, 2:],
                name,
                "all edges weigh the same; rename it to 'weight' if it says how much",
            )
        found[side] = Edges(one, other, _read_weights(frame, column, name))
    return found


def read_ratings(frame: pd.DataFrame, name: str, config: ColumnsConfig) -> Ratings:
    """The table :obj:`name` of finite ratings, in which each pair is rated once.

    Where the config has no column of ratings, each row is a positive interaction, with
    the number of its column :obj:`weight`, or 1; those of repeated pairs are summed.
    """
    columns = [config.user, config.item]
    ids = _read_ends(frame, columns, name)
    pairs = pd.DataFrame({column.column: column.values for column in ids})
    repeated = pairs.duplicated().to_numpy()
    pair = TableColumn(frame, tuple(columns), name)
    if config.rating is None:
        weight = _read_weights(frame, config.weight, name)
        if config.weight is None:
            warn_of_unread(
                frame,
                name,
                'each row counts as one positive; keep the rows that are, or name a '
                "column of counts in 'weight'",
            )
        pair.remark(
            repeated,
            'repeats pairs, whose weights are summed, in',
            'drop those that are no further interactions',
        )
        if repeated.any():
            weight = np.bincount(pairs.groupby(columns, sort=False).ngroup(), weight)
            ids = [read_ids(frame[~repeated], column, name) for column in columns]
        return Ratings(*ids, weight, TableColumn(frame, config.weight, name))
    column = TableColumn(frame, config.rating, name)
    number = _read_numbers(column)
    if config.rating_range is not None:
        low, high = config.rating_range
        column.refuse(
            (number < low) | (number > high),
            f"has a rating outside of 'rating_range', [{low:g}, {high:g}], in",
            'correct or drop it, or widen the range',
        )
    pair.refuse(
        repeated,
        'rates a pair for the second time in',
        f"keep one, for instance by .drop_duplicates({columns}, keep='last')",
    )
    return Ratings(*ids, number, column)


def _read_numbers(table: TableColumn) -> np.ndarray:
    check_columns(table.frame, table.name, [table.column])
    cells = table.frame[table.column]
    number = pd.to_numeric(cells, errors='coerce').astype(float)
    number = number.to_numpy(float, na_value=np.nan)
    is_time = cells.dtype.kind in 'mM'  # which pandas reads as numbers
    bad = ~np.isfinite(number) | is_time
    table.refuse(bad, 'has no finite number in', 'correct or drop it')
    return number


def _read_weights(frame: pd.DataFrame, column: str | None, name: str) -> np.ndarray:
    """Positive numbers, 1 each where there is no column of them."""
    if column is None:
        return np.ones(len(frame))
    table = TableColumn(frame, column, name)
    weight = _read_numbers(table)
    table.refuse(weight <= 0, 'has no positive weight in', 'drop the row')
    return weight


def read_pairs(
    frame: pd.DataFrame,
    name: str,
    config: ColumnsConfig,
    ids: Mapping[str, Vocabulary],
) -> np.ndarray:
    """The rows of users and items in :obj:`ids`, :obj:`[2, R]`, of a table of pairs."""
    return _rows(_read_ends(frame, [config.user, config.item], name), ids)


def _read_ends(frame: pd.DataFrame, columns: Sequence, name: str) -> list[IdColumn]:
    """Two columns of ids, with a warning if some have spaces around them."""
    ids = [read_ids(frame, column, name) for column in columns]
    for end in ids:
        if end.dtype == 'str':
            end.remark(
                np.array([v != v.strip() for v in end.values], bool),
                'has ids with spaces around them in',
                'remove these, .str.strip(), or they are other ids than those without',
            )
    return ids


def read_distinct(given: Any, name: str, column: str) -> IdColumn:
    """The ids of a table or a list, which must be distinct; ``ValueError`` if not."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        is_mapping = isinstance(given, Mapping)
        remedy = 'make a pandas DataFrame of it' if is_mapping else f'write [{given!r}]'
        raise ValueError(
            f"'{name}' must be a table or a list of ids (got {shown(given)}); {remedy}"
        )
    if not isinstance(given, pd.DataFrame):
        given = pd.DataFrame({column: pd.Series(list(given), dtype=object)})
    ids = read_ids(given, column, name)
    ids.vocabulary()
    return ids


def read_new_nodes(
    frame: pd.DataFrame | Sequence | None,
    side: str,
    config: ColumnsConfig,
    known: Vocabulary,
    encoders: Sequence[AttributeEncoder],
    bags: TokenBags,
) -> tuple[np.ndarray, list[TokenBags]] | None:
    """New ids of a table, and their attributes by each encoder; None if none is new.

    Of a table or a list of ids alone, all attributes are missing. Else a lacking column
    is an error: perhaps it has another name. The encoders are of the same columns. Rows
    of known ids are compared with their :obj:`bags` by the last encoder.
    """
    if frame is None:
        return None
    column = getattr(config, side)
    ids = read_distinct(frame, f'{side}s', column)
    rows = known.rows(ids)
    _warn_of_changed(ids, rows, encoders[-1], bags)
    new = rows < 0
    if not new.any():
        return None
    frame = ids.frame[new]
    if frame.columns.tolist() == [column]:
        frame = frame.reindex(columns=[*encoders[0].columns])
    # The last encoder knows all values, also the rare ones.
    columns = encoders[-1].parse(frame, f'{side}s')
    return ids.values[new], [e.transform(columns) for e in encoders]


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
                'has attributes of known ids that are not those of the fit, which '
                'count, in',
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
                frame.insert(place, f'{column} {titles[0]}', found)
    return frame


def _read_nodes(
    config: ColumnsConfig,
    side: str,
    frame: pd.DataFrame | None,
    rated: IdColumn,
    further: Sequence[IdColumn] = (),
) -> NodeTable:
    """The nodes of a table; without one, those rated in training and further ones."""
    attributes = getattr(config, f'{side}_attributes')
    if frame is not None:
        ids = read_ids(frame, getattr(config, side), f'{side}s').vocabulary()
        if not len(ids):
            raise ValueError(f"'{side}s' has no rows; leave it out, or give it some")
        columns = _read_attributes(frame, side, config)
        return NodeTable(ids, columns or [constant_column(len(ids))], True)
    if attributes:
        raise ValueError(
            f"'{side}_attributes' names columns, but there is no table '{side}s'; "
            f'pass one'
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
    if attributes is not None:
        if not isinstance(attributes, Mapping):
            attributes = dict.fromkeys(attributes)
        return [parse_column(frame, c, stype, name) for c, stype in attributes.items()]
    kept = []
    dropped = []
    for column in frame.columns.drop(getattr(config, side)):
        try:
            cells = parse_column(frame, column, name=name)
        except CellTypeError:
            dropped.append(f'{column} (of several types, or of none that is known)')
            continue
        guess, problem = seems(cells), problem_of(cells)
        if problem:
            dropped.append(f'{column} ({guess or problem})')
            continue
        kept.append(cells)
        if guess:
            warn(
                f"Column '{column}' of '{name}' holds {guess}; each text counts as a "
                f"category; convert it, or name it in '{side}_attributes'",
            )
    if dropped:
        warn(
            f"Columns of '{name}' left out: {', '.join(dropped)}; to keep one, convert "
            f"it, or name it in '{side}_attributes', with a type such as 'text' for "
            f'descriptions',
        )
    return kept


def _rows(columns: Iterable[IdColumn], ids: Mapping[str, Vocabulary]) -> np.ndarray:
    sides = zip(SIDES, columns, strict=True)
    return np.stack([c.check_known(ids[s].rows(c), f'{s}s') for s, c in sides])
