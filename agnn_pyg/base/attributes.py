"""Which columns of a table are attributes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pandas as pd

from agnn_pyg.base.columns import CONSTANT, normalize_cells
from agnn_pyg.base.frames import check_columns

Columns = Sequence[str] | Mapping[str, str | None]


def attribute_columns(
    frame: pd.DataFrame, name: str, column: str, attributes: Columns | None
) -> Columns:
    """The columns to encode: those that are named, or all that can mean something.

    Of those that are left out, a warning tells.

    Args:
        frame (pandas.DataFrame): The table.
        name (str): What messages call it.
        column (str): Its column of ids.
        attributes (sequence or mapping, optional): Columns that were asked for.
            (default: all but those in which most values occur once, and those of
            neither numbers nor texts, such as dates)

    Returns:
        Columns, for want of any the one that :func:`with_constant` adds.
    """
    if attributes is not None:
        if not len(attributes):
            return [CONSTANT]
        check_columns(frame, name, list(attributes))
        return attributes if isinstance(attributes, Mapping) else list(attributes)
    others = [other for other in frame.columns if other != column]
    check_columns(frame, name, others)
    unfit = {other: _unfit(frame[other]) for other in others}
    dropped = [f'{other} ({why})' for other, why in unfit.items() if why]
    if dropped:
        warnings.warn(
            f"Columns of '{name}' left out: {', '.join(dropped)}; to keep one, name it "
            f"in '{name.removesuffix('s')}_attributes', and make a number or a text "
            f'of a date, such as the year',
            stacklevel=2,
        )
    return [other for other, why in unfit.items() if not why] or [CONSTANT]


def _unfit(cells: pd.Series) -> str | None:
    """Why a column is no attribute, as far as it can be seen, or nothing."""
    try:
        cells = normalize_cells(cells)
    except ValueError:
        return 'neither numbers nor texts'
    if pd.api.types.is_numeric_dtype(cells):
        return None if cells.notna().any() else 'nothing in it'
    values = pd.Series(cells.to_numpy()).astype(object).explode().dropna()
    sharing = values.index[values.map(values.value_counts()) > 1]
    if 2 * sharing.nunique() >= max(1, values.index.nunique()):
        return None
    return 'most values occur once'


def with_constant(frame: pd.DataFrame) -> pd.DataFrame:
    """A table and a column in which all rows are equal."""
    return frame.assign(**{CONSTANT: 'all'})


def with_missing(
    frame: pd.DataFrame, column: str, attributes: Iterable[str]
) -> pd.DataFrame:
    """A table, and attributes of which nothing is known if all it has is ids.

    A table that has some of them should have all: a column of another name is
    more likely than one that is meant to be missing.
    """
    if frame.columns.tolist() != [column]:
        return frame
    return frame.reindex(columns=[column, *attributes])


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Says in an error which table an attribute column is of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"'{name}': {error}") from error
