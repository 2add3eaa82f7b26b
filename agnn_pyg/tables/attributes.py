"""Which columns of a table are attributes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pandas as pd

from agnn_pyg.tables.checks import check_columns

logger = logging.getLogger('agnn_pyg')

# The attribute that all nodes of a side share of which nothing is known.
CONSTANT = '(constant)'

Columns = Sequence[str] | Mapping[str, str | None]


def attribute_columns(
    frame: pd.DataFrame, name: str, column: str, attributes: Columns | None
) -> Columns:
    """The columns to encode: those that are named, or all that can mean something.

    Args:
        frame (pandas.DataFrame): The table.
        name (str): What messages call it.
        column (str): Its column of ids.
        attributes (sequence or mapping, optional): Columns that were asked for.
            (default: all but those in which most values occur once)

    Returns:
        Columns, for want of any the one that :func:`with_constant` adds.
    """
    if attributes is not None:
        if not len(attributes):
            return [CONSTANT]
        check_columns(frame, name, list(attributes))
        return attributes
    found, dropped = [], []
    for other in frame.columns:
        if other != column:
            (found if _is_shared(frame[other]) else dropped).append(other)
    if dropped:
        logger.info(
            "Columns of '%s' left out, as most of their values occur once: %s",
            name,
            ', '.join(map(str, dropped)),
        )
    if found:
        check_columns(frame, name, found)
    return found or [CONSTANT]


def _is_shared(cells: pd.Series) -> bool:
    """Whether half of the rows at least share a value with another row."""
    if pd.api.types.is_numeric_dtype(cells):
        return bool(cells.notna().any())
    values = pd.Series(cells.to_numpy()).astype(object).explode().dropna()
    sharing = values.index[values.map(values.value_counts()) > 1]
    return 2 * sharing.nunique() >= max(1, values.index.nunique())


def with_constant(frame: pd.DataFrame) -> pd.DataFrame:
    """A table and a column in which all rows are equal."""
    return frame.assign(**{CONSTANT: 'all'})


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Says in an error which table an attribute column is of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"'{name}': {error}") from error
