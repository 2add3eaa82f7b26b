"""Own CSV, TSV or Parquet files to :class:`~data.tables.RatingTables`."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data._messages import first, nearest
from data.tables import RatingTables

__all__ = ['read_table', 'read_tables']

DELIMITERS = {'.csv': ',', '.tsv': '\t'}
SUFFIXES = (*DELIMITERS, '.parquet')
# Before 3.1, pandas reads one float in six to a neighbour of the one that was written,
# unless it is told not to; since then it never does, and to tell it is deprecated.
# (`agnn_pyg.base.io` has the same: neither imports the other.)
_EXACT_ALREADY = tuple(map(int, pd.__version__.split('.')[:2])) >= (3, 1)
EXACT = {} if _EXACT_ALREADY else {'float_precision': 'round_trip'}

PathLike = str | os.PathLike


def read_table(
    path: PathLike,
    *,
    columns: Mapping[str, str] | None = None,
    multi_valued: Sequence[str] = (),
    separator: str = '|',
) -> pd.DataFrame:
    """Read one file, chosen by its suffix.

    In text files an empty cell is missing, and so are the words that pandas
    takes for it (``NA``, ``NaN``, ``None``, ``null``). Ids made of digits only
    become integers: ``007`` and ``7`` are one user.

    Args:
        path: A ``.csv``, ``.tsv`` or ``.parquet`` file; Parquet needs pyarrow.
        columns: New names by the file's own, e.g. ``{'userId': 'user'}``.
        multi_valued: Columns, by their new names, whose text is split into a
            list of stripped values; a missing cell becomes an empty list.
        separator: What stands between the values of such a cell.

    Raises:
        ValueError: If the file is missing, empty, unreadable or of another
            suffix, or lacks a column that an argument names.
        ImportError: If a Parquet file is asked for without pyarrow.
    """
    return _read_all([path], columns, multi_valued, separator)[0]


def read_tables(
    ratings: PathLike,
    users: PathLike | None = None,
    items: PathLike | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    multi_valued: Sequence[str] = (),
    separator: str = '|',
) -> RatingTables:
    """Read ratings and, where there are any, the attributes of both sides.

    Args:
        ratings: File with (renamed) columns ``user``, ``item``, ``rating``.
        users: File with column ``user`` and attributes. Without it the table
            holds the distinct ids of the ratings, in ascending order.
        items: File with column ``item`` and attributes, likewise.
        columns: As in :func:`read_table`, for all files at once.
        multi_valued: As in :func:`read_table`, for all files at once.
        separator: As in :func:`read_table`.

    Raises:
        ValueError: As in :func:`read_table`, and if the tables do not fit
            together (see :class:`~data.tables.RatingTables`).
        ImportError: If a Parquet file is asked for without pyarrow.
    """
    paths = [path for path in (ratings, users, items) if path is not None]
    frames = iter(_read_all(paths, columns, multi_valued, separator))
    rated = next(frames)
    return RatingTables(
        users=_distinct(rated, 'user') if users is None else next(frames),
        items=_distinct(rated, 'item') if items is None else next(frames),
        ratings=rated,
    )


def _read_all(
    paths: Iterable[PathLike],
    columns: Mapping[str, str] | None,
    multi_valued: Sequence[str],
    separator: str,
) -> list[pd.DataFrame]:
    columns = dict(columns or {})
    # ('genre') is a string, not a tuple; take it for what was meant.
    if isinstance(multi_valued, str):
        multi_valued = (multi_valued,)
    if not separator:
        raise ValueError("'separator' must not be empty (got ''): try '|'")
    # Read as text, or the cells of a column of numbers would be split
    # differently depending on whether any cell holds two of them.
    text = {old for old, new in columns.items() if new in multi_valued}
    text |= {name for name in multi_valued if name not in columns}

    raw = [_read(Path(path), text) for path in paths]
    _check_known('columns', columns, raw)
    frames = [frame.rename(columns=columns) for frame in raw]
    _check_known('multi_valued', multi_valued, frames)
    return [_with_lists(frame, multi_valued, separator) for frame in frames]


def _read(path: Path, text: Iterable[str]) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"cannot read '{path}': its suffix must be one of "
            f"{', '.join(SUFFIXES)} (got '{path.suffix}')"
        )
    if not path.is_file():
        raise ValueError(f"no file at '{path}': check the path and the folder")
    frame = (
        _read_parquet(path)
        if suffix == '.parquet'
        else _read_text(path, DELIMITERS[suffix], text)
    )
    if frame.empty:
        raise ValueError(f"'{path}' holds no rows: give it at least one")
    return frame


def _read_text(path: Path, delimiter: str, text: Iterable[str]) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # pandas drops surplus fields with a warning; refuse them instead.
            warnings.simplefilter('error', pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=delimiter,
                dtype=dict.fromkeys(text, str),
                index_col=False,
                low_memory=False,
                **EXACT,
                encoding='utf-8-sig',  # spreadsheets put a mark in front
            )
    except pd.errors.EmptyDataError:
        raise ValueError(
            f"'{path}' is empty: give it a header and at least one row"
        ) from None
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        UnicodeDecodeError,
        OverflowError,
    ) as error:
        raise ValueError(
            f"'{path}' is not a UTF-8 table with delimiter {delimiter!r} "
            f'({error}): check its rows'
        ) from error


def _read_parquet(path: Path) -> pd.DataFrame:
    if importlib.util.find_spec('pyarrow') is None:
        raise ImportError(
            f"reading '{path.name}' needs the package 'pyarrow': install it "
            'or save the table as .csv'
        )
    try:
        return pd.read_parquet(path, engine='pyarrow')
    except Exception as error:  # whatever pyarrow and pandas make of it
        raise ValueError(
            f"'{path}' is not a Parquet file ({error}): write it anew"
        ) from error


def _check_known(
    argument: str, names: Iterable[str], frames: Sequence[pd.DataFrame]
) -> None:
    known = list(dict.fromkeys(str(c) for frame in frames for c in frame))
    for name in names:
        if name not in known:
            raise ValueError(
                f"'{argument}' names '{name}', which no file has"
                f'{nearest(name, known)}: use one of {first(known, 12)}'
            )


def _with_lists(
    frame: pd.DataFrame, multi_valued: Sequence[str], separator: str
) -> pd.DataFrame:
    def to_list(cell: object) -> object:
        # Parquet hands list cells over as arrays, which are neither the list
        # nor the scalar that RatingTables speaks of.
        if isinstance(cell, np.ndarray):
            return cell.tolist()
        if isinstance(cell, str):
            return [v for v in map(str.strip, cell.split(separator)) if v]
        if isinstance(cell, (list, tuple)):
            return list(cell)
        return [] if pd.isna(cell) else [cell]

    changed = {
        name: pd.Series(
            [to_list(cell) for cell in frame[name]], frame.index, dtype=object
        )
        for name in frame
        if name in multi_valued or _holds_arrays(frame[name])
    }
    return frame.assign(**changed)


def _holds_arrays(column: pd.Series) -> bool:
    return column.dtype == object and any(
        isinstance(cell, np.ndarray) for cell in column
    )


def _distinct(ratings: pd.DataFrame, key: str) -> pd.DataFrame:
    # A missing column or id is RatingTables' to report, in its own words.
    if key not in ratings:
        return pd.DataFrame(columns=[key])
    ids = ratings[key].dropna().drop_duplicates().sort_values()
    return ids.to_frame().reset_index(drop=True)
