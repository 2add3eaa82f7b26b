"""Strict cold-start splits of ratings, and a validation part as cold as test.

==============  ==============================================================
``item_cold``   Test items have no rating in training.
``user_cold``   Test users have no rating in training.
``both_cold``   Test pairs join a user and an item that both have none.
``warm``        Test ratings are drawn at random; ids usually have others.
==============  ==============================================================
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from data.readers import read_table
from data.strict import (
    COLD_SIDES,
    MODES,
    Split,
    check_mode,
    check_strict,
)
from data.tables import RatingTables, validate_ratings

__all__ = [
    'MODES',
    'VALIDATION',
    'Split',
    'both_cold',
    'carve_validation',
    'check_strict',
    'item_cold',
    'split',
    'split_from_files',
    'user_cold',
    'warm',
]

# Of users and of items each where both are cold: pairs are then the square.
VALIDATION = {
    'item_cold': 0.1,
    'user_cold': 0.1,
    'both_cold': 0.2,
    'warm': 0.1,
}
_CODES = {'item_cold': 1, 'user_cold': 2, 'warm': 3, 'both_cold': 4}
_MAX_SEED = (2**32 - 1000) // 1000


def split(
    tables: RatingTables,
    mode: str,
    *,
    test: float = 0.2,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """Split by a mode's name; see the function of that name.

    Args:
        tables: What to split.
        mode: One of :data:`MODES`.
        test: Fraction of the items (``item_cold``), users (``user_cold``),
            users and items each (``both_cold``) or ratings (``warm``) whose
            ratings are the test part. (default: :obj:`0.2`)
        validation: The same for validation, as a fraction of what test
            leaves. (default: the mode's in :data:`VALIDATION`)
        seed: Names the split: the same for ever on the same tables.

    Raises:
        ValueError: If the mode is unknown, a fraction is not between 0 and 1
            or leaves a part empty, or the seed is negative.
    """
    rng = _stream(mode, seed)
    users, items = tables.positions()
    sides = {
        'user': (users, len(tables.users)),
        'item': (items, len(tables.items)),
    }
    ids = [sides[key] for key in COLD_SIDES[mode]]
    chosen, kept = _part(ids, len(tables.ratings), test, 'test', rng)
    return _finish(mode, tables.ratings[kept], tables.ratings[chosen], validation, seed)


def item_cold(
    tables: RatingTables,
    *,
    test: float = 0.2,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """All ratings of a random fraction of the items are the test part.

    Arguments and errors are those of :func:`split`.
    """
    return split(tables, 'item_cold', test=test, validation=validation, seed=seed)


def user_cold(
    tables: RatingTables,
    *,
    test: float = 0.2,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """All ratings of a random fraction of the users are the test part.

    Arguments and errors are those of :func:`split`.
    """
    return split(tables, 'user_cold', test=test, validation=validation, seed=seed)


def both_cold(
    tables: RatingTables,
    *,
    test: float = 0.2,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """Pairs of a cold user and a cold item are the test part.

    A pair with exactly one cold end is in no part: in training it would make
    that end warm, and in the test part its other end is warm already. With the
    default a test holds about 4 % of the ratings and :attr:`Split.fit` 64 %.

    Arguments and errors are those of :func:`split`.
    """
    return split(tables, 'both_cold', test=test, validation=validation, seed=seed)


def warm(
    tables: RatingTables,
    *,
    test: float = 0.2,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """A random fraction of the ratings is the test part.

    Arguments and errors are those of :func:`split`.
    """
    return split(tables, 'warm', test=test, validation=validation, seed=seed)


def split_from_files(
    train_path: str | os.PathLike,
    test_path: str | os.PathLike,
    mode: str,
    *,
    tables: RatingTables,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """A split whose train and test parts someone else has drawn.

    Args:
        train_path: Table with columns ``user``, ``item``, ``rating``; see
            :func:`data.readers.read_table` for the file types. It becomes
            :attr:`Split.fit`; validation is carved from it.
        test_path: The same for :attr:`Split.test`. Its rows are numbered on
            from those of train.
        mode: What the files claim to be, one of :data:`MODES`.
        tables: Users and items, with every id of the two files.
        validation: As in :func:`split`.
        seed: Of the validation part.

    Raises:
        ValueError: If a file cannot be read, names unknown ids, shares pairs
            with the other, or is not as cold as the mode says.
    """
    check_mode(mode)
    fit = _read_part(train_path, tables)
    test = _read_part(test_path, tables)
    # Indices from 0 in both would make one out of two ratings.
    test.index += len(fit)
    return _finish(mode, fit, test, validation, seed)


def carve_validation(
    train: pd.DataFrame,
    mode: str,
    *,
    fraction: float | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part validation ratings from training ratings, as cold as the mode says.

    The outcome depends on these arguments alone, not on where ``train`` came
    from. In ``both_cold`` the pairs with one cold end are in neither result.

    Args:
        train: Ratings that test has left: ``user``, ``item``, ``rating``.
        mode: One of :data:`MODES`.
        fraction: Of the distinct items (``item_cold``), users (``user_cold``),
            users and items each (``both_cold``) or rows (``warm``) of
            ``train``. (default: the mode's in :data:`VALIDATION`)
        seed: Names the draw.

    Returns:
        The remaining training ratings and the validation ratings, in order.

    Raises:
        ValueError: As in :func:`split`.
    """
    rng = _stream(mode, seed, offset=500)
    validate_ratings(train, 'train')
    size = VALIDATION[mode] if fraction is None else fraction
    # Sorted, so that the draw of ids does not depend on the order of the rows.
    sides = [pd.factorize(train[key], sort=True) for key in COLD_SIDES[mode]]
    ids = [(codes, len(distinct)) for codes, distinct in sides]
    chosen, kept = _part(ids, len(train), size, 'validation', rng)
    return train[kept], train[chosen]


def _stream(mode: str, seed: int, offset: int = 0) -> np.random.RandomState:
    """The stream of random numbers that a mode and a seed name.

    NumPy guarantees that the legacy ``RandomState`` never changes, which it
    does not for ``default_rng``: so a seed names one test set for ever, and
    the same one as in runs already published. Do not modernise this.
    """
    check_mode(mode)
    integral = isinstance(seed, (int, np.integer))
    if not integral or not 0 <= seed <= _MAX_SEED:
        raise ValueError(
            f"'seed' must be an integer from 0 to {_MAX_SEED:,} (got {seed!r})"
        )
    return np.random.RandomState(1000 * int(seed) + offset + _CODES[mode])


def _draw(
    count: int, fraction: float, name: str, rng: np.random.RandomState
) -> np.ndarray:
    """A mask :obj:`[count]` that is true for a random fraction."""
    if not isinstance(fraction, Real) or not 0 < fraction < 1:
        raise ValueError(
            f"'{name}' must be a fraction between 0 and 1, both excluded (got "
            f'{fraction!r})'
        )
    # The small term keeps 10 * 0.7, say, from falling below 7.
    size = int(count * fraction + 1e-9)
    mask = np.zeros(count, dtype=bool)
    mask[rng.permutation(count)[:size]] = True
    return mask


def _part(
    ids: Sequence[tuple[np.ndarray, int]],
    num_rows: int,
    fraction: float,
    name: str,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Masks :obj:`[num_rows]` of the rows to part off and of those to keep.

    Args:
        ids: For each side that turns cold, the number of each row's id and how
            many ids there are. Without any side, each row is an id of its own.
        num_rows: Number of ratings.
        fraction: Of the ids of each side.
        name: The argument that errors should name.
        rng: Stream to draw from, once a side.
    """
    ids = ids or [(np.arange(num_rows), num_rows)]
    cold = [_draw(count, fraction, name, rng)[rows] for rows, count in ids]
    chosen, kept = np.all(cold, axis=0), ~np.any(cold, axis=0)
    if not chosen.any():
        raise ValueError(
            f"'{name}' of {fraction} leaves no {name} ratings: raise it, or "
            'give more ratings'
        )
    if not kept.any():
        raise ValueError(
            f"'{name}' of {fraction} leaves nothing to train on: lower it, or "
            'give more ratings'
        )
    return chosen, kept


def _finish(
    mode: str,
    fit: pd.DataFrame,
    test: pd.DataFrame,
    validation: float | None,
    seed: int,
) -> Split:
    train, held_out = carve_validation(fit, mode, fraction=validation, seed=seed)
    result = Split(mode, train, held_out, test, fit)
    check_strict(result)
    return result


def _read_part(path: str | os.PathLike, tables: RatingTables) -> pd.DataFrame:
    frame = read_table(path)
    try:
        return tables.with_ratings(frame).ratings
    except ValueError as error:
        raise ValueError(f"'{Path(path).name}': {error}") from error
