"""The tables of ratings, users and items: read and validated once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from agnn_pyg.base.checks import TableColumn, check_columns, where
from agnn_pyg.base.node_table import NodeTable, read_nodes
from agnn_pyg.base.recommender_config import ColumnsConfig
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_ids

SIDES = ('user', 'item')
# The spread of ratings from 1 to 5, which the default settings suit.
SPREAD = 4.0


class Ratings(NamedTuple):
    """A table of R ratings.

    Attributes:
        user: Ids of users.
        item: Ids of items.
        rating: Finite numbers, :obj:`[R]`.
    """

    user: IdColumn
    item: IdColumn
    rating: np.ndarray


class RatedPairs(NamedTuple):
    """R ratings of known users and items.

    Attributes:
        index: Rows of users and of items, :obj:`[2, R]`.
        rating: Ratings, :obj:`[R]`.
    """

    index: np.ndarray
    rating: np.ndarray


class FitTables(NamedTuple):
    """What a recommender is fitted on.

    Attributes:
        nodes: The tables of nodes by side, :obj:`"user"` and :obj:`"item"`.
        ratings: Ratings to train on.
        validation: Ratings to select the epoch on, if there are any.
    """

    nodes: dict[str, NodeTable]
    ratings: RatedPairs
    validation: RatedPairs | None


@dataclass(frozen=True)
class RatingScale:
    """Brings ratings to the spread that settings suit, and predictions back.

    Learning rates and penalties suit ratings from 1 to 5, and so a spread of 4.

    Attributes:
        low: The lowest rating.
        high: The highest rating.
        unit: What ratings are divided by.
        center: What is subtracted from ratings first.
    """

    low: float
    high: float
    unit: float
    center: float = 0.0

    @classmethod
    def fit(cls, rating: np.ndarray, center: float = 0.0) -> RatingScale:
        """The scale of some ratings."""
        low, high = float(rating.min()), float(rating.max())
        return cls(low, high, (high - low) / SPREAD, center)

    def to_unit_scale(self, rating: Any) -> Any:
        """Ratings, an array or a tensor, as models read them."""
        return (rating - self.center) / self.unit

    def to_rating_scale(self, value: np.ndarray) -> np.ndarray:
        """What models predict, as ratings in their range."""
        return np.clip(self.unit * value + self.center, self.low, self.high)


def read_tables(
    config: ColumnsConfig,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None = None,
    items: pd.DataFrame | None = None,
    validation: pd.DataFrame | None = None,
    new_users: bool = False,
) -> FitTables:
    """Reads the tables of a fit.

    Args:
        config (ColumnsConfig): Names of columns.
        ratings (pandas.DataFrame): Ratings to train on.
        users (pandas.DataFrame, optional): Users and their attributes.
        items (pandas.DataFrame, optional): Items and their attributes.
        validation (pandas.DataFrame, optional): Ratings to select the epoch on.
        new_users (bool, optional): Without a table of users, take also users of
            :obj:`validation` alone. (default: :obj:`False`)

    Raises:
        ValueError: If a table is unfit, naming the column, the row and the remedy.
    """
    tables = {'ratings': read_ratings(ratings, 'ratings', config)}
    rating = tables['ratings'].rating
    if not len(rating):
        raise ValueError("'ratings' has no rows; there is nothing to train on")
    check_spread(rating, 'ratings')
    if validation is not None and len(validation):
        tables['validation'] = read_ratings(validation, 'validation', config)
    nodes = {}
    for side, frame in zip(SIDES, (users, items), strict=True):
        rated = [getattr(table, side) for table in tables.values()]
        further = rated[1:] if new_users and side == 'user' else []
        nodes[side] = read_nodes(config, side, frame, rated[0], further)
    ids = {side: table.ids for side, table in nodes.items()}
    pairs = {name: RatedPairs(_rows(t, ids), t.rating) for name, t in tables.items()}
    return FitTables(nodes, pairs['ratings'], pairs.get('validation'))


def read_ratings(frame: pd.DataFrame, name: str, config: ColumnsConfig) -> Ratings:
    """A table of ratings, in which each pair of user and item is rated once.

    Args:
        frame (pandas.DataFrame): The table.
        name (str): What error texts call it.
        config (ColumnsConfig): Names of columns.

    Raises:
        ValueError: If a column is lacking, a rating is not a finite number, an id is
            none, or a pair is repeated.
    """
    check_columns(frame, name, [config.user, config.item, config.rating])
    cells = frame[config.rating]
    number = pd.to_numeric(cells, errors='coerce').astype(float)
    number = number.to_numpy(float, na_value=np.nan)
    TableColumn(frame, config.rating, name).refuse(
        ~np.isfinite(number) | (cells.dtype.kind in 'mM'),
        'has no finite number in',
        'correct or drop it',
    )
    columns = [config.user, config.item]
    user, item = (read_ids(frame, column, name) for column in columns)
    pairs = pd.DataFrame({'user': user.values, 'item': item.values})
    repeated = pairs.duplicated().to_numpy()
    if repeated.any():
        raise ValueError(
            f"'{name}' rates a pair for the second time in "
            f'{where(frame, repeated, *columns)}; keep one, for instance by '
            f".drop_duplicates({columns}, keep='last')"
        )
    return Ratings(user, item, number)


def read_pairs(
    frame: pd.DataFrame,
    name: str,
    config: ColumnsConfig,
    ids: Mapping[str, Vocabulary],
) -> np.ndarray:
    """The rows of pairs of users and items, :obj:`[2, R]`.

    Args:
        frame (pandas.DataFrame): The pairs.
        name (str): What error texts call the table.
        config (ColumnsConfig): Names of columns.
        ids (mapping): The known ids by side.

    Raises:
        ValueError: Naming the first row with an unknown user or item.
    """
    check_columns(frame, name, [config.user, config.item])
    user, item = (read_ids(frame, c, name) for c in (config.user, config.item))
    return _rows(Ratings(user, item, np.empty(0)), ids)


def as_table(given: Any, name: str, column: str) -> pd.DataFrame:
    """A table with a column of ids, from a table or from ids.

    Raises:
        ValueError: If it is neither, such as a single id, or lacks the column.
    """
    if isinstance(given, pd.DataFrame):
        check_columns(given, name, [column])
        return given
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(
            f"'{name}' must be a table or a list of ids (got {given!r}); write "
            f'[{given!r}]'
        )
    return pd.DataFrame({column: pd.Series(list(given), dtype=object)})


def check_spread(rating: np.ndarray, name: str) -> None:
    """Raises ``ValueError`` if all ratings are equal, as where only likes are kept.

    Args:
        rating (numpy.ndarray): The ratings, one at least.
        name (str): What error texts call their table.
    """
    if np.min(rating) == np.max(rating):
        raise ValueError(
            f"'{name}' are all {float(rating[0]):g}, so nothing can be learned; add "
            f'what users did not choose or like, for instance sampled items, with a '
            f'lower rating such as 0'
        )


def _rows(table: Ratings, ids: Mapping[str, Vocabulary]) -> np.ndarray:
    columns = zip(SIDES, (table.user, table.item), strict=True)
    return np.stack([c.check_known(ids[s].rows(c), f'{s}s') for s, c in columns])
