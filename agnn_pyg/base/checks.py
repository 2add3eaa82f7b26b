"""Checks of tables and names; errors name the table, the column and the row."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

# Paths of code that is not the caller's: the packages, and contextlib, which implements
# their decorators.
_LIBRARY = (
    *(os.path.join(Path(__file__).parents[2], n, '') for n in ('agnn_pyg', 'tanp')),
    contextlib.__file__,
)
# Texts that stand for a missing value, in lower case.
_NOTHING = re.compile(
    r'|<?n/?a>?|none|nan|nat|null|nil|unknown|undefined|unspecified|missing|-+|\?+'
    r'|\(no .+ listed\)'
)
# Settings of other libraries, and what they are called here.
SYNONYMS = {
    'device': 'accelerator',
    'embedding_dim': 'channels',
    'learning_rate': 'lr',
    'max_iter': 'epochs',
    'n_epochs': 'epochs',
    'n_neighbors': 'num_neighbors',
    'random_state': 'seed',
    'verbose': 'progress',
}
# The name of an index that holds the line numbers of a file.
LINE = 'line'
# Limits of error texts: characters of a cell, and known names beside the nearest one.
MAX_SHOWN, MANY_NAMES = 80, 20


class TableWarning(UserWarning):
    """A table has unusual values, which may be intended."""


def warn(text: str) -> None:
    """Issues a :class:`TableWarning` at the caller's line, outside of the library."""
    frame, level = inspect.currentframe().f_back, 2
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARY):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, TableWarning, stacklevel=level)


@dataclass(frozen=True)
class TableColumn:
    """A column, or a tuple of columns, of a table; error texts call it :obj:`name`."""

    frame: pd.DataFrame
    column: str | tuple
    name: str

    def refuse(
        self,
        bad: np.ndarray,
        problem: str,
        remedy: str,
        error: type[ValueError] = ValueError,
    ) -> None:
        """Raises :obj:`error` if any rows are bad, and names the first."""
        if text := self._text(bad, problem, remedy):
            raise error(text)

    def remark(self, bad: np.ndarray, problem: str, remedy: str) -> None:
        """Warns if any rows are bad, and names the first."""
        if text := self._text(bad, problem, remedy):
            warn(text)

    def _text(self, bad: np.ndarray, problem: str, remedy: str) -> str | None:
        """Names the first bad row; :obj:`bad` is a mask or row numbers."""
        rows = np.flatnonzero(bad) if bad.dtype == bool else np.unique(bad)
        if not len(rows):
            return None
        is_tuple = isinstance(self.column, tuple)
        columns = self.column if is_tuple else (self.column,)
        held = ', '.join(shown(self.frame[column].iloc[rows[0]]) for column in columns)
        more = f', the first of {len(rows):,}' if len(rows) > 1 else ''
        index = self.frame.index
        place = '' if is_tuple else f"column '{self.column}' in "
        place += LINE if index.name == LINE else 'row'
        # Labels that are repeated do not name a row, so its position does.
        row = plain(index[rows[0]]) if index.is_unique else f'.iloc[{rows[0]}]'
        place += f' {row} ({held}{more})'
        return f"'{self.name}' {problem} {place}; {remedy}"


def check_columns(
    frame: pd.DataFrame,
    name: str,
    columns: Iterable,
    remedy: str = 'name the column in the settings',
) -> None:
    """Raises ``ValueError`` unless a frame has each column exactly once."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(
            f"'{name}' must be a pandas DataFrame (got {type(frame).__name__})"
        )
    columns = [*columns]
    for column in columns:
        count = int((frame.columns == column).sum())
        if count > 1:
            raise ValueError(
                f"'{name}' has {count} columns called '{column}'; drop or rename one"
            )
        if not count:
            remedy = f'rename one, or {remedy}'
            if column in frame.index.names:
                remedy = f'move it out of the index, .reset_index({column!r})'
            raise ValueError(
                f"'{name}' has no column '{column}'"
                f'{nearest(column, frame.columns, columns)}; {remedy}'
            )


def check_rating_range(bounds: tuple[float, float] | None) -> None:
    """Raises ``ValueError`` unless a range is None or a lower and a higher number."""
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(
            f"'rating_range' must be a lowest and a higher rating (got {bounds})"
        )


def shown(cell: object) -> str:
    """A cell as one line of an error text, shortened if long."""
    if hasattr(cell, 'columns'):
        return f'a {type(cell).__name__}'
    text = ' '.join(repr(plain(cell)).split())
    return text if len(text) <= MAX_SHOWN else f'{text[: MAX_SHOWN - 3]}...'


def nearest(name: object, known: Iterable[object], taken: Iterable[object] = ()) -> str:
    """A hint for an unknown name: the most similar known name, and the known names.

    Names that are :obj:`taken` are not suggested.
    """
    known, taken = [*map(str, known)], {*map(str, taken)}
    lower = {k.lower(): k for k in known if k not in taken}
    name = str(name).lower()
    near = {SYNONYMS.get(name)} & lower.keys()
    near = [*near] or difflib.get_close_matches(name, lower, n=1)
    hint = f", did you mean '{lower[near[0]]}'?" if near else ''
    if near and len(known) > MANY_NAMES:
        return hint
    return f'{hint} (known: {", ".join(known) or "none"})'


def as_text(cells: pd.Series) -> str:
    """The pandas call that converts cells to texts, and 7.0 to '7'."""
    is_float = pd.api.types.is_float_dtype(cells)
    return ".astype('Int64').astype(str)" if is_float else '.astype(str)'


def is_nothing(value: object) -> bool:
    """Whether a value is a text that stands for a missing value, such as 'unknown'."""
    return isinstance(value, str) and bool(_NOTHING.fullmatch(value.lower()))


def plain(value: object) -> object:
    """A NumPy scalar as a Python object; any other value unchanged."""
    return value.item() if isinstance(value, np.generic) else value
