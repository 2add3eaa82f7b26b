"""Wording that the errors of this package share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

import numpy as np


def first(values: Iterable[object], count: int = 5) -> str:
    """The first few values as text, and how many more there are.

    Args:
        values: Vocabulary, labels or tuples of them.
        count: How many to spell out.
    """
    values = list(values)
    # NumPy 2 prints scalars as `np.int64(3)`: nobody looks for that in a file.
    shown = ', '.join(repr(_plain(v)) for v in islice(values, count))
    more = len(values) - count
    return f'{shown} and {more:,} more' if more > 0 else shown


def nearest(name: object, known: Iterable[str]) -> str:
    """A question such as ``" (did you mean 'genre'?)"``, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ''


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return value.item() if isinstance(value, np.generic) else value
