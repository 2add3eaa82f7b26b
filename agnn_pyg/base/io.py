"""Reads CSV, TSV, JSON lines and Parquet; writes CSV, TSV and Parquet."""

from __future__ import annotations

import ast
import csv
import gzip
import importlib.util
import json
import re
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pandas as pd
from pandas.api.types import infer_dtype

from agnn_pyg.base.checks import LINE, is_nothing, nearest, warn
from agnn_pyg.base.store import PathLike, atomic_write, check_file
from agnn_pyg.base.vocabulary import as_ids

TEXT, LINES, PARQUET = ('.csv', '.tsv', '.txt'), ('.jsonl', '.ndjson'), ('.parquet',)
READ = (*TEXT, *LINES, *PARQUET, *(f'{suffix}.gz' for suffix in TEXT + LINES))
SEPARATORS = (',', ';', '\t', '|')
# The thousands separator for each decimal sign: a file may have 1.250,00 and 9,5.
THOUSANDS = {',': '.', '.': ','}
# Finds decimals between semicolons, in the first SAMPLE characters of a file.
DECIMALS, SAMPLE = r'(?<![^;\n])-?[\d{}]*\d\{}\d+(?=;|\r?$)', 2**16
# Before 3.1, pandas reads one float in six inexactly unless `float_precision` is given;
# since then, the option is deprecated.
_EXACT_ALREADY = tuple(map(int, pd.__version__.split('.')[:2])) >= (3, 1)
EXACT = {} if _EXACT_ALREADY else {'float_precision': 'round_trip'}
# Cells of a text file that count as missing, as in pandas. In columns of ids only empty
# cells do: a user may be called NA.
MISSING = (
    *('', 'NA', 'N/A', 'n/a', '<NA>', '#NA', '#N/A', '#N/A N/A', 'NULL', 'null'),
    *('None', 'NaT', 'NaN', 'nan', '-NaN', '-nan'),
    *('1.#IND', '-1.#IND', '1.#QNAN', '-1.#QNAN'),
)
# The suffix for each kind of binary file, by the bytes that it starts with.
MAGIC = {b'PAR1': '.parquet', b'PK': '.zip or .xlsx', b'\x1f\x8b': '.gz'}
# Usual column names by role, in lower-case letters, and without a suffix such as id.
NAMES = {
    'user': 'user customer reader member client visitor account person uid',
    'item': 'item movie film book product article artist track song game recipe '
    'business sku asin isbn ean gtin',
    'rating': 'rating ratings stars score label',
}


def recognized(columns: Sequence, role: str, attributes: bool = False) -> list:
    """The columns with a usual name of a role, a key of :data:`NAMES`, best first.

    In a table of :obj:`attributes` of users or items, the column may be called 'id'.
    """
    exact = {re.sub('[^a-z]', '', str(c).lower()): c for c in reversed(columns)}
    suffix = re.compile('(?<=.)(id|key|code|number)$')
    # A column 'rating id' holds no ratings: only ids have suffixes.
    bare = {suffix.sub('', name): column for name, column in exact.items()}
    found = exact if role == 'rating' else bare | exact
    if attributes and 'id' in exact:  # then a column such as 'product' holds names
        found = {name: column for name, column in found.items() if name not in exact}
        found['id'] = exact['id']
    names = [*NAMES[role].split(), *(['id'] if attributes else [])]
    return [*dict.fromkeys(found[name] for name in names if name in found)]


def read_file(
    path: PathLike,
    *,
    roles: Mapping[str, str],
    named: Mapping[str, str] | None = None,
    id_dtypes: Mapping[str, str] | None = None,
    texts: Sequence[str] = (),
    lists: Sequence[str] = (),
    list_separator: str = '|',
) -> pd.DataFrame:
    """Reads a table and renames its columns of ids and ratings.

    A text file is UTF-8 and separated by commas, semicolons, tabs or bars. Empty cells
    are missing. Cells such as NA or null are missing, too, except ids. A column is read
    as texts if its first thousand cells hold a code such as 007.

    Args:
        path (path): A file that ends in .csv, .tsv, .txt, .parquet, .jsonl or .ndjson,
            or a gzip file of texts, such as .csv.gz.
        roles (mapping): Column names of the result by role, a key of :data:`NAMES`. If
            the file has no column of that name, a usual name is looked for.
        named (mapping, optional): Column names in the file by role. No other name is
            looked for, and another column with the name of the result is dropped.
        id_dtypes (mapping, optional): The type of ids by role. (default: :obj:`"str"`)
        texts (sequence, optional): Columns to read as texts, even cells such as 123.
        lists (sequence, optional): Columns whose cells hold several values, separated
            or as a list in brackets. Words such as "unknown" or "(no genres listed)"
            are left out.
        list_separator (str, optional): Separator of lists. (default: :obj:`"|"`)

    Raises:
        ValueError: If the file cannot be read or has no such column.
        ImportError: If a Parquet file is read without pyarrow.
    """
    path = Path(path)
    columns = read_columns(path)
    found = _columns_of(roles, named or {}, columns, path)
    ids = {role: column for role, column in found.items() if role in ('user', 'item')}
    split = [column for column in lists if column in columns]
    missing = dict.fromkeys(columns, MISSING) | dict.fromkeys(ids.values(), ('',))
    dtypes = dict.fromkeys([*ids.values(), *texts, *split], str)
    options = {'na_values': missing, 'keep_default_na': False}
    frame = _read(path, dtype=dtypes, **options)
    codes = _codes(path, frame).difference([found.get('rating')])
    if len(codes):
        frame = _read(path, dtype=dtypes | dict.fromkeys(codes, str), **options)
    if _suffix(path, READ) in LINES:
        others = frame.columns.difference([*ids.values()])
        frame = frame.assign(**{c: frame[c].infer_objects() for c in others})
    for role, column in ids.items():
        dtype = (id_dtypes or {}).get(role, 'str')
        frame[column] = as_ids(frame, column, dtype, str(path))
    for column in split:
        frame[column] = as_lists(frame[column], list_separator, str(path))
    renamed = {column: roles[role] for role, column in found.items()}
    # Another column may already have one of the new names.
    others = set(renamed.values()) - set(renamed)
    return frame.drop(columns=others, errors='ignore').rename(columns=renamed)


def _columns_of(
    roles: Mapping[str, str], named: Mapping[str, str], columns: Sequence, path: Path
) -> dict[str, str]:
    """The column of each role; ``ValueError`` if there is none."""
    found = {}
    for role, name in roles.items():
        wanted = named.get(role, name)
        found[role] = wanted if wanted in columns else None
        if found[role] is None and role not in named:
            known = recognized(columns, role, attributes=len(roles) == 1)
            found[role] = known[0] if known else None
        if found[role] is None:
            verb = 'correct' if role in named else f'name its column of {role}s with'
            remedy = (
                f"{verb} '--{role} COLUMN', which applies to all tables, or rename it "
                f"to '{wanted}'"
            )
            if role == 'rating':
                remedy += ", or fit with '--rating none' if each row is a positive"
            if any(re.fullmatch(r'-?\d+(\.\d+)?', str(name)) for name in columns):
                remedy += ', or add a line of column names if the first line is a row'
            hint = f' (known: {", ".join(map(str, columns))})'
            if role in named:
                hint = nearest(wanted, columns)
            raise ValueError(f"'{path}' has no column '{wanted}'{hint}; {remedy}")
    return found


def end_columns(columns: Iterable) -> list:
    """The columns of both ends of edges: the first two except 'weight'."""
    return [column for column in columns if column != 'weight'][:2]


def write_file(frame: pd.DataFrame, path: PathLike | None) -> None:
    """Writes a table in the format of the file suffix, or as CSV to standard output."""
    if path is None:
        frame.to_csv(sys.stdout, index=False, lineterminator='\n')
        return
    suffix = _suffix(Path(path), TEXT + PARQUET)
    with atomic_write(path) as aside:
        if suffix in PARQUET:
            is_uuid = frame.head(1).map(lambda cell: isinstance(cell, uuid.UUID)).any()
            texts = {c: frame[c].map(str) for c in frame.columns[is_uuid]}
            frame.assign(**texts).to_parquet(aside, index=False)
        else:
            separator = '\t' if suffix == '.tsv' else ','
            frame.to_csv(aside, index=False, sep=separator, encoding='utf-8')


def read_columns(path: PathLike) -> list[str]:
    """The names of a file's columns; see :func:`read_file` for errors."""
    return [*_read(Path(path), nrows=0).columns]


def _read(path: Path, nrows: int | None = None, **options: Any) -> pd.DataFrame:
    """Reads a file, or only its columns if :obj:`nrows` is 0."""
    suffix = _suffix(path, READ)
    check_file(path)
    try:
        if suffix in LINES:
            return _read_lines(path)
        if suffix in TEXT:
            return _read_text(path, nrows=nrows, **options)
    except UnicodeDecodeError as error:
        raise ValueError(_encoding_error(path)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"'{path}' is no whole gzip file ({error}); copy or compress it again"
        ) from error
    import pyarrow.parquet

    try:
        names = pyarrow.parquet.read_schema(path).names
        frame = pd.DataFrame(columns=names) if nrows == 0 else pd.read_parquet(path)
    except Exception as error:  # pyarrow and pandas raise various types
        raise ValueError(f"'{path}' is damaged ({error}); write it again") from error
    if nrows == 0:  # columns are always read before the rows
        _check_names(names, f"'{path}': ")
        return frame
    # A named index becomes columns; rows are numbered from 0.
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(named).reset_index(drop=True)


def _read_text(path: Path, **options: Any) -> pd.DataFrame:
    try:
        with TextIOWrapper(_open(path), encoding='utf-8-sig', newline='') as file:
            lines = filter(str.strip, file)
            head = next(lines, '')
            skip = head.strip(' "\r\n')[:-1] == 'sep='  # a hint for spreadsheets
            head = next(lines, '') if skip else head
            # If the first line has no separator, use the next line.
            head = head if any(map(head.count, SEPARATORS)) else next(lines, '')
            separator = max(SEPARATORS, key=head.count)
            file.seek(0)
            if separator == ';':
                sample = file.read(SAMPLE)
                counts = {
                    sign: len(re.findall(DECIMALS.format(other, sign), sample, re.M))
                    for sign, other in THOUSANDS.items()
                }
                options['decimal'] = ',' if counts[','] > counts['.'] else '.'
            file.seek(0)
            lines = csv.reader(file, delimiter=separator, skipinitialspace=True)
            numbers = _check_lines(lines, separator, skip, options['nrows'])
        options |= {'encoding': 'utf-8-sig', 'index_col': False, 'low_memory': False}
        options |= {'skipinitialspace': True, 'sep': separator, 'skiprows': int(skip)}
        columns = pd.read_csv(path, **options | {'nrows': 0}).columns.str.strip()
        frame = pd.read_csv(path, names=columns, header=0, **EXACT, **options)
        if len(numbers) == len(frame):  # error texts then name lines of the file
            frame.index = pd.Index(numbers, name=LINE)
        others = frame.columns.difference([*options.get('dtype', ())])
        return _with_thousands(frame, others, options.get('decimal', '.'))
    except pd.errors.EmptyDataError:
        raise ValueError(f"'{path}' is empty; add a header line") from None
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # also from pandas
        raise ValueError(f"'{path}' cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == '.gz' else path.open('rb')


def _encoding_error(path: Path) -> str:
    """The error text for a file that is not UTF-8; it names the first such line."""
    with _open(path) as file:
        lines = enumerate(file, 1)
        odd = (n for n in lines if n[1].decode(errors='ignore').encode() != n[1])
        number, line = next(odd)
    for start, suffix in MAGIC.items():
        if number == 1 and line.startswith(start):
            return f"'{path}' is a file of type {suffix}; rename or convert it"
    code = 'utf-16' if b'\0' in line else 'cp1252'
    return (
        f"'{path}' is not UTF-8 text in line {number} ({line!r:.60}); save it as 'CSV "
        f"UTF-8', or convert it, for example with iconv -f {code} -t utf-8"
    )


def _codes(path: Path, frame: pd.DataFrame) -> pd.Index:
    """Numeric columns of a text file in which some cells have leading zeros."""
    if _suffix(path, READ) not in TEXT:
        return pd.Index([])
    texts = dict.fromkeys(frame, str)
    head = _read(path, nrows=1000, dtype=texts, keep_default_na=False)
    head = head[[*frame.select_dtypes('number')]]
    for column, cells in head.items():
        _warn_of_thousands(f"'{path}': column '{column}'", cells)
    return head.columns[[head[c].str.fullmatch(r'0\d+').any() for c in head]]


def _warn_of_thousands(name: str, cells: pd.Series) -> None:
    """Warns if a column has 980 and 1.250: the latter may mean 1250."""
    small = cells.str.fullmatch(r'-?\d{1,3}')
    others = cells[~small & (cells != '')]
    is_group = others.str.fullmatch(r'-?[1-9]\d{0,2}\.\d{3}')
    if small.any() and len(others) and is_group.all():
        warn(
            f'{name} has whole numbers up to 999, and others with three decimals, '
            f"such as '{others.iloc[0]}', read as {float(others.iloc[0]):g}; "
            f'write thousands without a separator'
        )


def _with_thousands(frame: pd.DataFrame, columns: Any, decimal: str) -> pd.DataFrame:
    """Converts columns of texts if at least half of them are like 1.250,00 or 9,50."""
    thousands = re.escape(THOUSANDS[decimal])
    whole = rf'-?(\d{{1,3}}({thousands}\d{{3}})+|\d+)'
    for column in columns:
        if infer_dtype(frame[column]) != 'string':
            continue
        cells = frame[column].dropna()
        texts = cells.str.strip()
        is_number = texts.str.fullmatch(rf'{whole}({re.escape(decimal)}\d+)?')
        texts = texts[is_number]
        is_decimal = texts.str.contains(decimal, regex=False)
        if 2 * len(texts) >= len(cells) and is_decimal.any():
            plain = texts.str.replace(THOUSANDS[decimal], '', regex=False)
            number = pd.to_numeric(plain.str.replace(decimal, '.', regex=False))
            # Other cells stay texts: an error then names their line.
            others = cells[~is_number].astype(object)
            made = pd.concat([number, others]) if len(others) else number
            frame[column] = made.reindex(frame.index)
    return frame


def _check_lines(
    lines: Any, separator: str, skip: bool, count: int | None
) -> list[int]:
    """The line numbers of rows; ``ValueError`` if one is not as wide as the header."""
    numbers = []
    try:
        # An empty line has no cells, and pandas skips it.
        last = None if count is None else count + 2 + skip
        rows = islice(filter(None, lines), int(skip), last)
        header = [name.strip() for name in next(rows, [])]
        _check_names(header)
        width = len(header)
        for row in rows:
            first = numbers[-1] + 1 if numbers else 2 + skip
            numbers.append(lines.line_num)
            if len(row) != width and any('\n' in cell for cell in row):
                raise ValueError(
                    f'a quote that opens in line {first} or later is not closed before '
                    f'line {numbers[-1]}; close or remove it'
                )
            if len(row) != width:  # pandas would pad or cut the row
                raise ValueError(
                    f'there are {width} columns, but {len(row)} cells in line '
                    f'{numbers[-1]}; complete or drop it, quote cells with '
                    f'{separator!r}, or drop lines above the header'
                )
    except csv.Error as error:
        raise ValueError(f'after line {lines.line_num}, {error}; correct it') from error
    return numbers


def _check_names(columns: Sequence[str], prefix: str = '') -> None:
    for name, count in Counter(columns).items():
        if name and count > 1:
            raise ValueError(
                f"{prefix}it has {count} columns called '{name}'; drop or rename one"
            )


def _read_lines(path: Path) -> pd.DataFrame:
    """A frame of objects from a file with a JSON object in each line."""
    rows = {}
    with TextIOWrapper(_open(path), encoding='utf-8-sig') as file:
        for number, line in enumerate(file, 1):
            row = line
            with suppress(ValueError, RecursionError):
                row = json.loads(line) if line.strip() else {}
            if not isinstance(row, dict):
                raise ValueError(
                    f"'{path}' has no JSON object in line {number} ({row!r:.60}); "
                    f'correct or drop the line, or write an array as JSON lines'
                )
            if row:
                rows[number] = row
    if not rows:
        raise ValueError(f"'{path}' is empty; add a JSON object in each line")
    index = pd.Index([*rows], name=LINE)
    return pd.DataFrame([*rows.values()], index, dtype=object)


def as_lists(cells: pd.Series, separator: str = '|', name: str = 'cells') -> pd.Series:
    """Converts each cell to a list, without words that stand for a missing value.

    A cell may be a list, a text of separated values, or a text with a list in brackets,
    as Python, NumPy and databases write it.
    """
    cells = cells.astype(object).map(_literal)
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    held = {s: sum(s in text for text in texts) for s in (separator, *'|;,/')}
    other = max(held, key=held.get)
    if not held[separator] and 10 * held[other] >= max(1, len(texts)):
        warn(
            f"'{name}': no cell of column '{cells.name}' holds the list separator "
            f'{separator!r}, and {held[other]:,} of {len(texts):,} hold {other!r}, so '
            f'each cell is one value; name it, in a shell --list-separator {other!r}, '
            f'or write JSON lines if other columns need {separator!r}'
        )
    dropped = Counter()

    def split(cell: Any) -> Any:
        if isinstance(cell, str):
            cell = [part.strip() for part in cell.split(separator)]
        elif not hasattr(cell, '__len__'):
            cell = [] if pd.isna(cell) else [cell]
        elif isinstance(cell, dict):
            return cell  # the encoder raises an error
        dropped.update(filter(is_nothing, cell))
        return [part for part in cell if not is_nothing(part)]

    made = cells.map(split)
    for word, count in [w for w in dropped.most_common() if w[0]][:1]:
        warn(
            f"'{name}': {word!r} in {count:,} cells of column '{cells.name}' is read "
            f'as missing; rename it if it is a value'
        )
    return made


def _literal(cell: Any) -> Any:
    """Parses a list written as a text, "['a', 'b']"; returns other cells unchanged."""
    if not isinstance(cell, str) or cell[:1] not in ('[', '(', '{'):
        return cell
    # NumPy writes spaces instead of commas, and type names such as np.int64(1).
    is_text = "'" in cell or '"' in cell
    gap = r'(?<=[\'"])\s+(?=[\'"])' if is_text else r'(?<=[.\d])\s+(?=[-.\d])'
    text = re.sub(r'np\.\w+\(([^()]*)\)', r'\1', re.sub(gap, ', ', cell))
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        made = ast.literal_eval(text)
        if isinstance(made, set):
            return sorted(made, key=str)
        return made if hasattr(made, '__len__') else cell
    if cell[0] + cell[-1] in ('[]', '{}') and ':' not in cell:  # texts without quotes
        return [part.strip(' "') for part in cell[1:-1].split(',')]
    return cell


def _suffix(path: Path, allowed: Sequence[str]) -> str:
    suffix = path.suffix.lower()
    if suffix == '.gz':
        suffix = ''.join(path.suffixes[-2:]).lower()
    if suffix not in allowed:
        raise ValueError(
            f"'{path}' must end in one of {', '.join(allowed)}; rename or convert it"
        )
    if suffix in PARQUET and importlib.util.find_spec('pyarrow') is None:
        raise ImportError(
            f"'{path}' needs the package pyarrow: pip install pyarrow, or use .csv"
        )
    return suffix.removesuffix('.gz')
