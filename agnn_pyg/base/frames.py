"""Reads and validates the tables of ratings, pairs and edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from agnn_pyg.base.cells import floats
from agnn_pyg.base.checks import TableColumn, check_columns
from agnn_pyg.base.io import end_columns
from agnn_pyg.base.nodes import NodeTable, read_nodes
from agnn_pyg.base.oddities import (
    bounded_ratings,
    bounded_weights,
    warn_of_joined,
    warn_of_range,
    warn_of_statistics,
    warn_of_unread,
)
from agnn_pyg.base.recommender_config import ColumnsConfig
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_ids

SIDES = ('user', 'item')


class Ratings(NamedTuple):
    """A table of R ratings (or weights of positives) with user and item ids."""

    user: IdColumn
    item: IdColumn
    rating: np.ndarray  # finite
    column: TableColumn  # of the ratings
    index: np.ndarray | None = None  # row numbers of users and items, [2, R]

    @property
    def pair(self) -> TableColumn:
        """Both id columns, for error texts that name a pair."""
        user, item = self[:2]
        return TableColumn(user.frame, (user.column, item.column), user.name)

    def pairs(self, ids: Mapping[str, Vocabulary]) -> Ratings:
        """The ratings with :obj:`index` set; ``ValueError`` names an unknown id."""
        return self._replace(index=end_rows(self[:2], ids))

    def are_in(self, rows: Any) -> np.ndarray:
        """A mask of the pairs that are among the pairs :obj:`rows`, :obj:`[2, K]`."""
        pairs, known = (pd.MultiIndex.from_arrays([*r]) for r in (self.index, rows))
        return pairs.isin(known)

    def warn_of_known(self, known: Any, table: str) -> None:
        """Warns if some pairs are among the pairs :obj:`known` of another table."""
        self.pair.remark(
            self.are_in(known),
            f'repeats pairs of {table} in',
            'drop them: the model has read these pairs',
        )


class Edges(NamedTuple):
    """A table of E undirected edges between users or items, with positive weights."""

    source: IdColumn
    target: IdColumn
    weight: np.ndarray

    def among(self, ids: Vocabulary, table: str) -> Edges:
        """The edges between known ids; warns if there are others."""
        source, target, weight = self
        is_other = (ids.rows(source) < 0) | (ids.rows(target) < 0)
        TableColumn(source.frame, (source.column, target.column), source.name).remark(
            is_other,
            f"has ids without a row in '{table}', so these edges are ignored, in",
            'add rows for them, with at least the id',
        )
        kept = ~is_other
        return Edges(source.take(kept), target.take(kept), weight[kept])

    def adjacency(self, ids: Vocabulary, table: str) -> sp.csr_matrix:
        """Symmetric matrix of weights, :obj:`[N, N]`; ``ValueError`` names unknown ids.

        A repeated edge, in either direction, has the largest of its weights.
        """
        one, other = (c.check_known(ids, table) for c in self[:2])
        ends = [np.minimum(one, other), np.maximum(one, other)]
        pairs = pd.Series(self.weight).groupby(ends).max()
        index = [pairs.index.get_level_values(k) for k in (0, 1)]
        half = sp.csr_matrix((pairs, index), (len(ids), len(ids)))
        return half + half.T


class FitTables(NamedTuple):
    """The validated tables of a fit; dictionaries are by side."""

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

    Without a table of users or items, they are the ids of the ratings and of the edges.
    With :obj:`new_users`, users that occur only in the validation are added.
    """
    config.check_settings()
    train = read_ratings(ratings, 'ratings', config, is_fit=True)
    train.user.check_rows('there is nothing to train on')
    if config.rating is not None and np.ptp(train.rating) == 0:
        raise ValueError(
            f"'ratings' are all {float(train.rating[0]):g}, so nothing can be learned; "
            f'if each row is a positive, such as a click, fit with rating=None (in a '
            f'shell --rating none), else add lower ratings'
        )
    validated = None
    if validation is not None:
        validated = read_ratings(validation, 'validation', config)
        validated.user.check_rows('leave it out, or add rows')
    if config.rating is None:
        train = train._replace(rating=bounded_weights(train.rating, train.pair))
    elif config.rating_range is None:
        train = train._replace(rating=bounded_ratings(train.rating, train.column))
    else:
        warn_of_range(train.rating, config.rating_range)
    joined = read_edges(edges or {})
    for found in joined.values():
        found.source.check_rows('leave it out, or add rows')
    nodes = {}
    for side, frame, rated in zip(SIDES, (users, items), train[:2], strict=True):
        further = [*joined[side][:2]] if side in joined else []
        if validated and new_users and side == 'user':
            further.append(validated.user)
        nodes[side] = read_nodes(config, side, frame, rated, further)
        if frame is None:
            used = config.subset('user', 'item', 'rating', 'weight')
            warn_of_joined(ratings, side, used)
    ids = {side: table.ids for side, table in nodes.items()}
    links = {s: found.adjacency(ids[s], f'{s}s') for s, found in joined.items()}
    train = train.pairs(ids)
    for table, row in zip(nodes.values(), train.index, strict=True):
        warn_of_statistics(table.columns, row, train.rating)
    if validated:
        validated = validated.pairs(ids)
        validated.warn_of_known(train.index, "'ratings'")
        if new_users:
            validated.user.remark(
                np.isin(validated.index[0], train.index[0]),
                "has users of 'ratings' in",
                'to evaluate on new users, hold out all rows of some users',
            )
    return FitTables(nodes, train, validated, links)


def read_edges(given: Mapping[str, pd.DataFrame | None]) -> dict[str, Edges]:
    """Reads edges by side: two columns of ids and an optional column 'weight'."""
    found = {}
    for side, frame in given.items():
        if frame is None:
            continue
        name = f'{side}_edges'
        is_frame = isinstance(frame, pd.DataFrame)
        # Rows and columns of an adjacency matrix have the same labels.
        if not is_frame or (len(frame) > 3 and frame.index.equals(frame.columns)):
            got = 'an adjacency matrix' if is_frame else type(frame).__name__
            raise ValueError(
                f"'{name}' must be a pandas DataFrame with one row per edge (got {got})"
                f'; list the ids of both ends; for a matrix, scipy.sparse.find(matrix) '
                f'returns rows, columns and weights'
            )
        ends = end_columns(frame)
        if len(ends) < 2:
            raise ValueError(
                f"'{name}' must have two columns of ids (got "
                f'{", ".join(map(str, frame.columns)) or "none"}); add both ends'
            )
        one, other = read_ends(frame, ends, name)
        if one.dtype == other.dtype:
            is_loop = one.values == other.values
            other.refuse(is_loop, 'joins an id with itself in', 'drop the row')
        column = 'weight' if 'weight' in frame else None
        if column is None:
            warn_of_unread(
                frame.drop(columns=ends),
                name,
                "all edges weigh the same; rename it to 'weight' to use it",
            )
        found[side] = Edges(one, other, _read_weights(frame, column, name))
    return found


def read_ratings(
    frame: pd.DataFrame, name: str, config: ColumnsConfig, is_fit: bool = False
) -> Ratings:
    """Reads the table :obj:`name` of ratings; each pair must occur only once.

    If the config has no column of ratings, each row is a positive with its value in the
    column :obj:`weight`, or 1. Weights of repeated pairs are summed; a fit warns of it.
    """
    columns = [config.user, config.item]
    ids = read_ends(frame, columns, name)
    pairs = pd.DataFrame({column.column: column.values for column in ids})
    repeated = pairs.duplicated().to_numpy()
    pair = TableColumn(frame, tuple(columns), name)
    if config.rating is None:
        if config.weight is None:
            remedy = ", or set 'weight' to this column" if is_fit else ''
            means = f'each row is a positive; drop other rows{remedy}'
            warn_of_unread(frame.drop(columns=columns), name, means)
        weight = _read_weights(frame, config.weight, name)
        pair.remark(
            repeated & is_fit,
            'repeats pairs, whose weights are summed, in',
            'drop rows that are duplicates rather than further interactions',
        )
        if repeated.any():
            weight = np.bincount(pairs.groupby(columns, sort=False).ngroup(), weight)
            ids = [column.take(~repeated) for column in ids]
        return Ratings(*ids, weight, TableColumn(frame, config.weight, name))
    remedy = 'name it in the settings, or, if each row is a positive, set rating=None'
    check_columns(frame, name, [config.rating], remedy)
    column = TableColumn(frame, config.rating, name)
    number = _read_numbers(column)
    if config.rating_range is not None:
        low, high = config.rating_range
        column.refuse(
            (number < low) | (number > high),
            f"has a rating outside of 'rating_range', [{low:g}, {high:g}], in",
            "correct or drop it, or fit with a wider 'rating_range'",
        )
    pair.refuse(
        repeated,
        'rates a pair for the second time in',
        f"keep one, for instance by .drop_duplicates({columns}, keep='last')",
    )
    return Ratings(*ids, number, column)


def _read_numbers(table: TableColumn) -> np.ndarray:
    cells = table.frame[table.column]
    if cells.dtype == object:
        number = floats(cells)
    else:
        number = pd.to_numeric(cells, errors='coerce').to_numpy(float, na_value=np.nan)
    is_time = cells.dtype.kind in 'mM'  # pandas reads times as numbers
    bad = ~np.isfinite(number) | is_time
    has_comma = cells[bad].astype(str).str.contains(',').any()
    remedy = '; numbers such as 3,5 need a decimal point' if has_comma else ''
    table.refuse(bad, 'has no finite number in', f'correct or drop it{remedy}')
    return number


def _read_weights(frame: pd.DataFrame, column: str | None, name: str) -> np.ndarray:
    """Reads positive weights; all are 1 if the column is None."""
    if column is None:
        return np.ones(len(frame))
    remedy = 'add it, with 1 if all rows weigh the same, or name it in the settings'
    check_columns(frame, name, [column], remedy)
    table = TableColumn(frame, column, name)
    weight = _read_numbers(table)
    table.refuse(weight <= 0, 'has no positive weight in', 'drop the row')
    return weight


def read_pairs(
    frame: pd.DataFrame, name: str, config: ColumnsConfig, ids: Mapping[str, Vocabulary]
) -> np.ndarray:
    """Row numbers in :obj:`ids` of a table of pairs, users and items, :obj:`[2, R]`."""
    return end_rows(read_ends(frame, [config.user, config.item], name), ids)


def read_ends(frame: pd.DataFrame, columns: Sequence, name: str) -> list[IdColumn]:
    """Reads two columns of ids; warns of unusual ids."""
    ids = [read_ids(frame, column, name) for column in columns]
    for end in ids:
        end.warn_of_odd()
    return ids


def end_rows(columns: Iterable[IdColumn], ids: Mapping[str, Vocabulary]) -> np.ndarray:
    """Row numbers of user and item ids, :obj:`[2, R]`; ``ValueError`` if unknown."""
    sides = zip(SIDES, columns, strict=True)
    return np.stack([c.check_known(ids[s], f'{s}s') for s, c in sides])
