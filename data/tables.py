"""Users, items and ratings as three consistent pandas frames."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agnn_pyg.base.frames import SIDES, read_pairs, read_ratings
from agnn_pyg.base.io import read_file
from agnn_pyg.base.recommender_config import ColumnsConfig
from agnn_pyg.base.vocabulary import Vocabulary, read_ids

PathLike = str | os.PathLike

COLUMNS = ColumnsConfig()


@dataclass(frozen=True, eq=False, repr=False)
class RatingTables:
    """Frames of users, items and ratings, checked against each other on creation.

    An attribute cell holds a scalar, or a list or tuple if the attribute has several
    values (genres, actors). ``None``, ``NaN`` and an empty list stand for a missing
    value. The row order of :attr:`users` and :attr:`items` matters: :meth:`positions`,
    and therefore every split, depends on it.

    Args:
        users: One row per user: unique ids in column ``user``, attributes in the
            other columns. Attribute columns are optional.
        items: One row per item: the same with column ``item``.
        ratings: One row per rating: ``user``, ``item`` and the finite number
            ``rating``, each pair at most once. Further columns, such as
            ``timestamp``, are kept.

    Raises:
        ValueError: If the frames break one of these rules.
    """

    users: pd.DataFrame
    items: pd.DataFrame
    ratings: pd.DataFrame

    def __post_init__(self) -> None:
        read_ratings(self.ratings, 'ratings', COLUMNS).user.check_rows('give it some')
        for side, ids in self._ids().items():
            if not len(ids):
                raise ValueError(f"'{side}s' has no rows; give at least one")
        self.positions()

    def __repr__(self) -> str:
        sizes = (f'{name}={len(frame):,}' for name, frame in vars(self).items())
        return f'{type(self).__name__}({", ".join(sizes)})'

    def positions(
        self, pairs: pd.DataFrame | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns row numbers of each pair's user and item in their tables.

        Args:
            pairs: A frame with columns ``user`` and ``item``; it may be empty.
                (default: :attr:`ratings`)

        Returns:
            Row numbers in :attr:`users` and in :attr:`items`, each an ``int64`` array
            of shape :obj:`[len(pairs)]`.

        Raises:
            ValueError: If an id is not in its table.
        """
        frame = self.ratings if pairs is None else pairs
        rows = read_pairs(frame, 'ratings', COLUMNS, self._ids())
        return rows[0], rows[1]

    def _ids(self) -> dict[str, Vocabulary]:
        tables = zip(SIDES, (self.users, self.items), strict=True)
        return {side: read_ids(t, side, f'{side}s').vocabulary() for side, t in tables}

    def with_ratings(self, ratings: pd.DataFrame) -> RatingTables:
        """Returns the same users and items with other ratings."""
        return dataclasses.replace(self, ratings=ratings)


def read_tables(
    ratings: PathLike,
    users: PathLike | None = None,
    items: PathLike | None = None,
    *,
    named: Mapping[str, str] | None = None,
    lists: Sequence[str] = (),
    list_separator: str = '|',
) -> RatingTables:
    """Reads ratings and, optionally, attributes of users and items from files.

    Args:
        ratings: A file for :func:`agnn_pyg.base.io.read_file` with columns of users,
            items and ratings, with these or other usual names.
        users: File with a column of users and their attributes. Without it, the table
            has the distinct ids of the ratings in ascending order.
        items: The same for items.
        named: Column names by role (``user``, ``item``, ``rating``).
        lists: Columns whose cells hold several values.
        list_separator: Separator of these values. (default: :obj:`"|"`)
    """
    options = {'named': named, 'lists': lists, 'list_separator': list_separator}
    roles = {role: role for role in ('user', 'item', 'rating')}
    rated = read_file(ratings, roles=roles, **options)
    tables = {}
    for key, path in (('user', users), ('item', items)):
        if path is None:
            ids = rated[key].dropna().drop_duplicates().sort_values()
            tables[f'{key}s'] = ids.to_frame().reset_index(drop=True)
        else:
            tables[f'{key}s'] = read_file(path, roles={key: key}, **options)
    return RatingTables(ratings=rated, **tables)
