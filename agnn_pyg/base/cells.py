"""Cells of files as ids and as lists."""

from __future__ import annotations

import re
import uuid
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pandas as pd
from pandas.api.types import is_float_dtype

from agnn_pyg.base.checks import TableColumn
from agnn_pyg.base.vocabulary import EXACT_FLOATS, check_floats

# What stands for nothing in a list, in small letters.
NOTHING = re.compile(
    r'|n/?a|none|nan|null|nil|unknown|undefined|unspecified|missing|-+|\?+'
    r'|\(no .+ listed\)'
)


def as_ids(frame: pd.DataFrame, column: str, dtype: str, name: str) -> pd.Series:
    """Ids as texts, whole numbers or UUIDs; missing ones stay missing.

    Raises:
        ValueError: Naming the first row that holds no id of :obj:`dtype`.
    """
    cells = frame[column]
    present = cells.notna().to_numpy()
    ids = TableColumn(frame, column, name)
    if is_float_dtype(cells):
        check_floats(ids, present)
    convert = {'str': _text, 'int': _int, 'uuid': _uuid}[dtype]
    # No `map`, which makes floats of whole numbers beside a missing one.
    made = (convert(c) if p else None for c, p in zip(cells, present, strict=True))
    made = pd.Series([*made], frame.index, object)
    bad = made.isna().to_numpy() & present
    remedy = f'correct it: the ids that the model knows are {dtype}'
    ids.refuse(bad, f'has no {dtype} id in', remedy)
    return made.astype('Int64') if dtype == 'int' else made


def _text(cell: object) -> str:
    # A missing cell elsewhere has made floats of whole numbers.
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell)) if whole else str(cell)


def _int(cell: object) -> int | None:
    text = str(cell).replace('_', 'x')  # Python reads 1_0 as 10
    with suppress(ValueError):
        number = float(text)
        exact = abs(number) < EXACT_FLOATS and number.is_integer()
        number = int(number) if exact else int(text)
        return number if -(2**63) <= number < 2**63 else None
    return None


def _uuid(cell: object) -> uuid.UUID | None:
    with suppress(ValueError):
        return uuid.UUID(str(cell))
    return None


def as_lists(cells: pd.Series, separator: str, name: str) -> pd.Series:
    """Lists of the values in each cell, without words that stand for nothing."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    _check_separator(texts, separator, cells.name, name)
    dropped = Counter()

    def split(cell: Any) -> Any:
        if isinstance(cell, str):
            cell = [part.strip() for part in cell.split(separator)]
        elif not hasattr(cell, '__len__'):
            cell = [] if pd.isna(cell) else [cell]
        elif isinstance(cell, dict):
            return cell  # for the encoder to refuse
        kept = []
        for part in cell:
            nothing = isinstance(part, str) and NOTHING.fullmatch(part.lower())
            if not nothing:
                kept.append(part)
            elif part:
                dropped[part] += 1
        return kept

    made = cells.astype(object).map(split)
    if dropped:
        word, count = dropped.most_common(1)[0]
        warnings.warn(
            f"'{name}': {word!r} in {count:,} cells of column '{cells.name}' counts as "
            f'no value; rename it if it is one',
            stacklevel=3,
        )
    return made


def _check_separator(
    texts: Sequence[str], separator: str, column: str, name: str
) -> None:
    """Warns if no cell holds the separator, and many hold another one."""
    if any(separator in text for text in texts):
        return
    held = {s: sum(s in text for text in texts) for s in ('|', ';', ',', '/')}
    other = max(held, key=held.__getitem__)
    if texts and 2 * held[other] >= len(texts):
        warnings.warn(
            f"'{name}': no cell of column '{column}' holds the list separator "
            f'{separator!r}, and {held[other]:,} of {len(texts):,} hold {other!r}; '
            f'name the separator, or each cell is one value',
            stacklevel=4,
        )
