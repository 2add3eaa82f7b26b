"""What a frame must have, and a message with row and remedy where it has not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_timedelta64_dtype

# What lies between the ratings that settings suit.
SPAN = 5.0 - 1.0


def check_columns(frame: pd.DataFrame, name: str, columns: Sequence[str]) -> None:
    """Raises ``ValueError`` unless a frame has the columns, each once.

    Args:
        frame (pandas.DataFrame): The table.
        name (str): What messages call it.
        columns (sequence): Names of columns that it must have.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(
            f"'{name}' must be a pandas DataFrame (got {type(frame).__name__})"
        )
    for column in columns:
        count = int((frame.columns == column).sum())
        if count > 1:
            raise ValueError(
                f"'{name}' has {count} columns called '{column}'; drop or rename all "
                f'but one'
            )
        if not count:
            raise ValueError(
                f"'{name}' has no column '{column}'{nearest(column, frame.columns)} "
                f'(it has {", ".join(map(str, frame.columns)) or "none"}); rename one, '
                f'or say what it is called'
            )


def read_ratings(frame: pd.DataFrame, name: str, column: str) -> np.ndarray:
    """The ratings of a frame, finite numbers, :obj:`[len(frame)]`.

    Args:
        frame (pandas.DataFrame): The table.
        name (str): What messages call it.
        column (str): The column of ratings.

    Raises:
        ValueError: Naming the first row whose rating is none.
    """
    cells = frame[column]
    number = pd.to_numeric(cells, errors='coerce')
    number = number.astype(float).to_numpy(float, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(cells) or is_timedelta64_dtype(cells):
        number = np.full(len(cells), np.nan)
    bad = ~np.isfinite(number)
    if bad.any():
        raise ValueError(
            f"'{name}' has no finite number in column '{column}' in "
            f'{where(frame, bad, column)}; correct or drop it'
        )
    return number


def table_of(given: Any, name: str, column: str) -> pd.DataFrame:
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


def unit_of(rating_range: tuple[float, float]) -> float:
    """What to divide ratings by, so that they spread as much as those of 1 to 5.

    Learning rates and penalties are of that scale.
    """
    low, high = rating_range
    return (high - low) / SPAN


def check_spread(rating: np.ndarray, name: str) -> None:
    """Raises ``ValueError`` if all ratings are equal, as where only likes are kept.

    Args:
        rating (numpy.ndarray): The ratings, one at least.
        name (str): What messages call their table.
    """
    if np.min(rating) == np.max(rating):
        raise ValueError(
            f"'{name}' are all {float(rating[0]):g}, so nothing can be learnt; "
            f'add what users did not choose or like, for instance sampled items, with '
            f'a lower rating such as 0'
        )


def check_known(
    frame: pd.DataFrame, rows: np.ndarray, column: str, name: str, table: str
) -> None:
    """Raises ``ValueError`` if a row number is -1: an id without a row."""
    unknown = rows < 0
    if unknown.any():
        raise ValueError(
            f"'{name}' names somebody or something without a row in '{table}': column "
            f"'{column}' in {where(frame, unknown, column)}; add what is known of it "
            f"to '{table}', if only the id, or drop the row"
        )


def where(frame: pd.DataFrame, mask: np.ndarray, *columns: str) -> str:
    """Names the first row of a mask, what it holds, and how many there are."""
    first = int(np.flatnonzero(mask)[0])
    held = ', '.join(repr(_plain(frame[column].iloc[first])) for column in columns)
    count = int(np.count_nonzero(mask))
    more = f', the first of {count:,}' if count > 1 else ''
    return f'row {_plain(frame.index[first])} ({held}{more})'


def nearest(name: str, known: Iterable) -> str:
    """A hint at the known name that is most like a wrong one, if any is."""
    known = [str(k) for k in known]
    lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    return f", did you mean '{lower[near[0]]}'?" if near else ''


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
