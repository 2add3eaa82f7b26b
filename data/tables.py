"""Users, items and ratings as three pandas frames that fit together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data._messages import first

__all__ = ['RatingTables', 'validate', 'validate_ratings']


@dataclass(frozen=True, eq=False, repr=False)
class RatingTables:
    """Three frames, checked against each other when they are put together.

    An attribute cell holds a scalar, or a list or tuple where the attribute has
    several values (genres, actors). ``None``, ``NaN`` and an empty list stand
    for a missing value. The row order of :attr:`users` and :attr:`items` is
    meaningful: :meth:`positions`, and with it every split, counts in it.

    Args:
        users: One row per user: unique ids in column ``user``, attributes in
            the others. No attribute column at all is fine for warm use.
        items: One row per item: the same with column ``item``.
        ratings: One row per rating: ``user``, ``item`` and the finite number
            ``rating``, each pair at most once. Further columns, such as
            ``timestamp``, travel along.

    Raises:
        ValueError: If the frames break one of these rules.
    """

    users: pd.DataFrame
    items: pd.DataFrame
    ratings: pd.DataFrame

    def __post_init__(self) -> None:
        validate(self)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(users={len(self.users):,}, '
            f'items={len(self.items):,}, ratings={len(self.ratings):,})'
        )

    def positions(
        self, ratings: pd.DataFrame | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of each rating's user and item in their tables.

        Args:
            ratings: A frame with columns ``user`` and ``item``; it needs no
                ``rating``, and may be empty. (default: :attr:`ratings`)

        Returns:
            Row numbers in :attr:`users` and in :attr:`items`, each an
            ``int64`` array of shape :obj:`[len(ratings)]`.

        Raises:
            ValueError: If an id is in neither table.
        """
        frame = self.ratings if ratings is None else ratings
        _check_columns(frame, 'ratings', ('user', 'item'))
        return (
            _row_numbers(self.users, frame, 'user'),
            _row_numbers(self.items, frame, 'item'),
        )

    def with_ratings(self, ratings: pd.DataFrame) -> RatingTables:
        """The same users and items with other ratings."""
        return dataclasses.replace(self, ratings=ratings)


def validate(tables: RatingTables) -> None:
    """Check the contract that :class:`RatingTables` describes.

    Frames can be edited in place; call this again after doing so.

    Raises:
        ValueError: Naming the frame, the column, the first offending values
            and the way out.
    """
    # Ratings first: tables of ids may have been derived from them.
    validate_ratings(tables.ratings)
    _check_table(tables.users, 'users', 'user')
    _check_table(tables.items, 'items', 'item')
    tables.positions()


def validate_ratings(ratings: pd.DataFrame, name: str = 'ratings') -> None:
    """Check a frame of ratings by itself: columns, ids, numbers, pairs.

    Args:
        ratings: Frame with columns ``user``, ``item`` and ``rating``.
        name: What errors call it. (default: :obj:`'ratings'`)

    Raises:
        ValueError: As in :func:`validate`.
    """
    _check_columns(ratings, name, ('user', 'item', 'rating'))
    _check_not_empty(ratings, name)
    _check_ids(ratings['user'], name)
    _check_ids(ratings['item'], name)
    _check_values(ratings['rating'], name)
    pairs = ratings[['user', 'item']]
    repeated = pairs[pairs.duplicated()]
    if len(repeated):
        raise ValueError(
            f"'{name}' holds {len(repeated):,} repeated (user, item) pair(s) "
            f'({first(repeated.itertuples(index=False, name=None))}): aggregate '
            "first, e.g. with .drop_duplicates(['user', 'item'], keep='last')"
        )


def _check_table(frame: pd.DataFrame, name: str, key: str) -> None:
    _check_columns(frame, name, (key,))
    _check_not_empty(frame, name)
    _check_ids(frame[key], name)
    repeated = frame.loc[frame[key].duplicated(), key].unique()
    if len(repeated):
        raise ValueError(
            f"'{name}' repeats {len(repeated):,} id(s) in column '{key}' "
            f'({first(repeated)}): keep one row per {key}, and collect several '
            'values of an attribute in a list'
        )


def _check_columns(frame: pd.DataFrame, name: str, required: Iterable[str]) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(
            f"'{name}' must be a pandas DataFrame (got {type(frame).__name__})"
        )
    missing = [column for column in required if column not in frame.columns]
    if missing:
        raise ValueError(
            f"'{name}' lacks the column(s) {first(missing)}: rename or add "
            f'them (it has {first(frame.columns, 12) or "none"})'
        )
    repeated = frame.columns[frame.columns.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"'{name}' has several columns of one name ({first(repeated)}): "
            'rename or drop all but one'
        )


def _check_not_empty(frame: pd.DataFrame, name: str) -> None:
    if frame.empty:
        raise ValueError(f"'{name}' has no rows (got 0): give it at least one")


def _check_ids(ids: pd.Series, name: str) -> None:
    missing = ids.index[ids.isna()]
    if len(missing):
        raise ValueError(
            f"'{name}' misses the id in column '{ids.name}' in "
            f'{len(missing):,} row(s) (index {first(missing)}): fill them in '
            'or drop the rows'
        )
    # 7 and '7' in one column would be two users, and could not be sorted.
    kind = pd.api.types.infer_dtype(ids)
    if kind.startswith('mixed'):
        raise ValueError(
            f"'{name}' mixes types of ids in column '{ids.name}' "
            f'({first(ids.head(3))}, ...: {kind}): convert them to one type, '
            'e.g. with .astype(str), in all three tables'
        )


def _check_values(rating: pd.Series, name: str) -> None:
    types = pd.api.types
    if not types.is_numeric_dtype(rating) or types.is_bool_dtype(rating):
        raise ValueError(
            f"column 'rating' of '{name}' must be numeric (got dtype "
            f'{rating.dtype}, e.g. {first(rating.head(3))}): convert it with '
            'pd.to_numeric or .astype(float)'
        )
    values = rating.to_numpy(dtype=float, na_value=np.nan)
    bad = rating.index[~np.isfinite(values)]
    if len(bad):
        raise ValueError(
            f"column 'rating' of '{name}' is NaN or infinite in {len(bad):,} "
            f'row(s) (index {first(bad)}): drop the rows or fill them in'
        )


def _row_numbers(table: pd.DataFrame, ratings: pd.DataFrame, key: str) -> np.ndarray:
    known, asked = table[key], ratings[key]
    rows = pd.Index(known).get_indexer(pd.Index(asked))
    unknown = asked[rows < 0].unique()
    if not len(unknown):
        return rows.astype(np.int64)
    numeric = pd.api.types.is_numeric_dtype
    hint = ''
    if numeric(known) != numeric(asked):
        hint = (
            f'; or give both columns one type (now {known.dtype} in '
            f"'{key}s', {asked.dtype} in 'ratings')"
        )
    raise ValueError(
        f"'ratings' names {len(unknown):,} {key} id(s) that '{key}s' does not "
        f'hold ({first(unknown)}): add them to the table or drop their '
        f'ratings{hint}'
    )
