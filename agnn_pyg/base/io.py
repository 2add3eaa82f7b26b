"""CSV, TSV and Parquet files to frames, and frames to files or to a stream."""

from __future__ import annotations

import importlib.util
import re
import sys
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from agnn_pyg.base.frames import nearest, where
from agnn_pyg.base.vocabulary import EXACT_FLOATS, check_floats

SUFFIXES = ('.csv', '.tsv', '.txt', '.parquet')
SEPARATORS = (',', ';', '\t')
# Before 3.1, pandas reads one float in six to a neighbour of the one that was written,
# unless it is told not to; since then it never does, and to tell it is deprecated.
_EXACT_ALREADY = tuple(map(int, pd.__version__.split('.')[:2])) >= (3, 1)
EXACT = {} if _EXACT_ALREADY else {'float_precision': 'round_trip'}
# Cells of a text file that hold nothing, as pandas has it. Of ids only the empty ones
# do: somebody may be called NA.
MISSING = (
    *('', 'NA', 'N/A', 'n/a', '<NA>', '#NA', '#N/A', '#N/A N/A', 'NULL', 'null'),
    *('None', 'NaN', 'nan', '-NaN', '-nan', '1.#IND', '-1.#IND', '1.#QNAN', '-1.#QNAN'),
)
# What columns are often called, in small letters and letters only.
NAMES = {
    'user': ('user', 'userid', 'customer', 'customerid', 'reader', 'readerid'),
    'item': (
        *('item', 'itemid', 'movie', 'movieid', 'film', 'filmid', 'book', 'bookid'),
        *('product', 'productid', 'artist', 'artistid', 'track', 'trackid', 'isbn'),
    ),
    'rating': ('rating', 'ratings', 'stars', 'score', 'label', 'value'),
}


def recognised(columns: Sequence[str], role: str) -> str | None:
    """The column that is a table's user, item or rating, by its name.

    Args:
        columns (sequence): Names of columns.
        role (str): One of :data:`NAMES`.
    """
    plain = {re.sub('[^a-z]', '', str(c).lower()): c for c in reversed(columns)}
    return next((plain[name] for name in NAMES[role] if name in plain), None)


def read_file(
    path: str | Path,
    *,
    roles: Mapping[str, str],
    named: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    texts: Sequence[str] = (),
    lists: Sequence[str] = (),
    list_separator: str = '|',
) -> pd.DataFrame:
    """Reads a table whose columns of ids and ratings have other names, perhaps.

    A text file is UTF-8, with or without a mark in front, separated by commas,
    semicolons or tabs. An empty cell holds nothing, nor does one such as NA or null,
    unless it is an id.

    Args:
        path (path): A file of one of :data:`SUFFIXES`.
        roles (mapping): By role (see :data:`NAMES`) the name its column is to
            have. It is looked for under that name, else recognised.
        named (mapping, optional): By role the name that its column has: no other
            is looked for, and one that only has the name it is to have is left out.
        kinds (mapping, optional): Kinds of ids by role, see
            :class:`~agnn_pyg.base.vocabulary.Vocabulary`. (default: texts)
        texts (sequence, optional): Columns of a text file that hold texts, even
            where all look like numbers, such as 00123.
        lists (sequence, optional): Columns whose cells hold several values.
        list_separator (str, optional): What stands between these.
            (default: :obj:`"|"`)

    Raises:
        ValueError: If the file cannot be read or lacks a column.
        ImportError: If a Parquet file is asked for without pyarrow.
    """
    path = Path(path)
    columns = read_columns(path)
    named = named or {}
    found = {}
    for role, name in roles.items():
        name = named.get(role, name)
        given = role in named or name in columns
        found[role] = name if given else recognised(columns, role)
        if found[role] not in columns:
            raise ValueError(
                f"'{path}' has no column '{name}'{nearest(name, columns)} (it has "
                f'{", ".join(columns)}); say --{role} NAME, or rename one'
            )
    ids = {role: c for role, c in found.items() if role in ('user', 'item')}
    split = [column for column in lists if column in columns]
    frame = _read(path, columns, [*ids.values()], [*texts, *split])
    for role, column in ids.items():
        kind = (kinds or {}).get(role, 'str')
        frame[column] = _as_kind(frame, column, kind, str(path))
    for column in split:
        frame[column] = _split(frame[column], list_separator)
    renamed = {c: roles[role] for role, c in found.items()}
    # Another column may have the name that one is to have.
    others = set(renamed.values()) - set(renamed)
    return frame.drop(columns=others, errors='ignore').rename(columns=renamed)


def write_file(frame: pd.DataFrame, path: str | Path | None) -> None:
    """Writes a table by the suffix of its name, or as CSV to standard output.

    Raises:
        ValueError: If the suffix is unknown.
        ImportError: If a Parquet file is asked for without pyarrow.
    """
    if path is None:
        frame.to_csv(sys.stdout, index=False, lineterminator='\n')
        return
    path = Path(path)
    suffix = _suffix(path)
    aside = path.with_name(f'.{path.name}.tmp')
    try:
        if suffix == '.parquet':
            _need_pyarrow(path)
            texts = {c: frame[c].map(str) for c in frame if _is_uuid(frame[c])}
            frame.assign(**texts).to_parquet(aside, index=False)
        else:
            separator = '\t' if suffix == '.tsv' else ','
            frame.to_csv(aside, index=False, sep=separator, encoding='utf-8')
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_columns(path: str | Path) -> list[str]:
    """The names of a file's columns.

    Raises:
        ValueError: If there is no such file, or it cannot be read.
        ImportError: If a Parquet file is asked for without pyarrow.
    """
    path = Path(path)
    suffix = _suffix(path)
    if not path.is_file():
        raise ValueError(f"There is no file '{path}'; check the path")
    if suffix == '.parquet':
        _need_pyarrow(path)
        import pyarrow.parquet

        try:
            return pyarrow.parquet.read_schema(path).names
        except (OSError, ValueError, NotImplementedError) as error:
            raise ValueError(f"'{path}' is no Parquet file ({error})") from error
    return _read_text(path, nrows=0).columns.tolist()


def _read(
    path: Path, columns: Sequence[str], ids: Sequence[str], texts: Sequence[str]
) -> pd.DataFrame:
    if _suffix(path) == '.parquet':
        try:
            frame = pd.read_parquet(path)
            # What was an index is a column as any other; rows are counted from 0.
            named = [name for name in frame.index.names if name is not None]
            return frame.reset_index(named).reset_index(drop=True)
        except Exception as error:  # whatever pyarrow and pandas make of it
            raise ValueError(f"'{path}' is damaged ({error}); write it anew") from error
    return _read_text(
        path,
        dtype=dict.fromkeys([*ids, *texts], str),
        na_values=dict.fromkeys(columns, MISSING) | dict.fromkeys(ids, ('',)),
        keep_default_na=False,
    )


def _read_text(path: Path, **options) -> pd.DataFrame:
    try:
        with path.open(encoding='utf-8-sig') as file:
            header = file.readline()
        separator = max(SEPARATORS, key=header.count)
        with warnings.catch_warnings():
            # Surplus cells would be dropped with a warning; refuse them instead.
            warnings.simplefilter('error', pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=separator,
                encoding='utf-8-sig',
                index_col=False,
                low_memory=False,
                **EXACT,
                **options,
            )
    except pd.errors.EmptyDataError:
        raise ValueError(f"'{path}' is empty; give it a header line") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not UTF-8 text ({error}); convert it") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ValueError(
            f"'{path}' has rows of different lengths ({str(error).strip()}); mend or "
            f'drop them'
        ) from error


def _as_kind(frame: pd.DataFrame, column: str, kind: str, name: str) -> pd.Series:
    cells = frame[column]
    present = cells.notna().to_numpy()
    if is_float_dtype(cells):
        check_floats(frame, column, name, present)
    texts = cells.where(~present, cells.map(_text))
    if kind == 'str':
        return texts.astype(object).where(present, None)
    if kind == 'int':
        # Without missing cells, which would make floats of all others.
        number = pd.to_numeric(texts[present], errors='coerce')
        # Nor is 4.5 an id, or a number beyond 64 bits, or beyond exact floats.
        odd = (number % 1 != 0) | (number < -(2**63)) | (number >= 2**63)
        if is_float_dtype(number):
            odd |= number.abs() >= EXACT_FLOATS
        bad = np.zeros(len(frame), bool)
        bad[present] = odd
        if not bad.any():
            made = pd.Series(pd.NA, frame.index, 'Int64')
            made[present] = number.astype('Int64')
    else:
        made = texts.map(_uuid, na_action='ignore')
        bad = made.isna().to_numpy() & present
    if bad.any():
        raise ValueError(
            f"'{name}' has no {kind} id in column '{column}', as the model knows, in "
            f'{where(frame, bad, column)}; correct it'
        )
    return made


def _text(cell: object) -> str:
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell)) if whole else str(cell)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _is_uuid(cells: pd.Series) -> bool:
    return bool(len(cells)) and isinstance(cells.iloc[0], uuid.UUID)


def _split(cells: pd.Series, separator: str) -> pd.Series:
    def split(cell: object) -> object:
        if not isinstance(cell, str):
            return cell if hasattr(cell, '__len__') else []
        return [part.strip() for part in cell.split(separator) if part.strip()]

    return cells.astype(object).map(split)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"'{path}' must end in one of {', '.join(SUFFIXES)}; rename or convert it"
        )
    return suffix


def _need_pyarrow(path: Path) -> None:
    if importlib.util.find_spec('pyarrow') is None:
        raise ImportError(
            f"'{path}' needs the package pyarrow: pip install pyarrow, or use .csv"
        )
