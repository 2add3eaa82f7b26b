"""Strict cold-start splits, with a validation part that is as cold as the test part.

==============  ==============================================================
``item_cold``   Test items have no rating in training.
``user_cold``   Test users have no rating in training.
``both_cold``   Users and items of test pairs have no rating in training.
``warm``        Test ratings are random; their ids usually have other ratings.
==============  ==============================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from annotated_types import Ge, Gt, Le, Lt

from agnn_pyg.base.checks import check_columns, nearest
from agnn_pyg.base.config import check_argument
from data.tables import RatingTables

# By scenario, the columns whose ids have no rating in training.
COLD_SIDES = {
    'item_cold': ('item',),
    'user_cold': ('user',),
    'both_cold': ('user', 'item'),
    'warm': (),
}
SCENARIOS = tuple(COLD_SIDES)
# Fractions; for both_cold, of users and of items, so pairs are the square.
VALIDATION = {'item_cold': 0.1, 'user_cold': 0.1, 'both_cold': 0.2, 'warm': 0.1}
_CODES = {'item_cold': 1, 'user_cold': 2, 'warm': 3, 'both_cold': 4}
_MAX_SEED = (2**32 - 1000) // 1000


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Parts of the rating frame; each keeps its index and order.

    Choose settings on :attr:`validation` after training on :attr:`train`. Then train
    again on :attr:`fit` and report the score on :attr:`test`.

    :attr:`validation` is as cold with respect to :attr:`train` as :attr:`test` is to
    :attr:`fit`. :attr:`fit` contains :attr:`train`, :attr:`validation` and, in
    ``both_cold``, the pairs with one cold end, which neither of them contains.
    """

    scenario: str
    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    fit: pd.DataFrame

    def __repr__(self) -> str:
        sizes = (f'{name}={len(frame):,}' for name, frame in self.parts.items())
        return f"{type(self).__name__}('{self.scenario}', {', '.join(sizes)})"

    @property
    def parts(self) -> dict[str, pd.DataFrame]:
        """The frames by name."""
        return {name: part for name, part in vars(self).items() if name != 'scenario'}


def split(
    tables: RatingTables,
    scenario: str,
    *,
    test: float = 0.2,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """Splits ratings for a scenario.

    In ``both_cold``, a pair with exactly one cold end is in neither :attr:`Split.fit`
    nor :attr:`Split.test`: training on it would make that end warm, and its other end
    is too warm for the test. With the defaults, the test part then has about 4 % of the
    ratings, and :attr:`Split.fit` 64 %.

    Args:
        tables: Tables to split.
        scenario: One of :data:`SCENARIOS`.
        test: Fraction of the items (``item_cold``), users (``user_cold``), users and
            items each (``both_cold``) or ratings (``warm``) whose ratings are the
            test part. (default: :obj:`0.2`)
        validation: The same for validation, as a fraction of the remaining ratings.
            (default: from :data:`VALIDATION`)
        seed: Seed of the split; the same tables and seed always give the same split.

    Raises:
        ValueError: If the scenario is unknown, if a fraction is not between 0 and 1 or
            leaves a part empty, or if the seed is negative.
    """
    rng = _stream(scenario, seed)
    rows = dict(zip(('user', 'item'), tables.positions(), strict=True))
    sizes = {'user': len(tables.users), 'item': len(tables.items)}
    ids = [(rows[key], sizes[key]) for key in COLD_SIDES[scenario]]
    chosen, kept = _part(ids, len(tables.ratings), test, 'test', rng)
    fit, held_out = tables.ratings[kept], tables.ratings[chosen]
    return given_split(fit, held_out, scenario, validation=validation, seed=seed)


def given_split(
    fit: pd.DataFrame,
    test: pd.DataFrame,
    scenario: str,
    *,
    validation: float | None = None,
    seed: int = 0,
) -> Split:
    """Makes a split from given training and test ratings, such as published ones.

    Args:
        fit: Training ratings, from which the validation part is taken.
        test: Test ratings.
        scenario: The scenario of the two frames.
        validation: As in :func:`split`.
        seed: Seed of the validation part.

    Raises:
        ValueError: As in :func:`split`, and if the frames share pairs or do not match
            the scenario.
    """
    train, held_out = carve_validation(fit, scenario, fraction=validation, seed=seed)
    result = Split(scenario, train, held_out, test, fit)
    check_strict(result)
    return result


def carve_validation(
    train: pd.DataFrame,
    scenario: str,
    *,
    fraction: float | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits validation ratings off the training ratings, according to a scenario.

    The result depends only on these arguments, not on the origin of ``train``. In
    ``both_cold``, the pairs with one cold end are in neither result.

    Args:
        train: Ratings without the test part: ``user``, ``item``, ``rating``.
        scenario: As in :func:`split`.
        fraction: Fraction of the distinct users and items of ``train`` to make cold, or
            of its rows (``warm``). (default: from :data:`VALIDATION`)
        seed: Seed of the draw.

    Returns:
        The remaining training ratings and the validation ratings, in order.
    """
    rng = _stream(scenario, seed, offset=500)
    check_columns(train, 'train', ['user', 'item', 'rating'])
    size = VALIDATION[scenario] if fraction is None else fraction
    # Sort the ids, so that the draw does not depend on the order of the rows.
    sides = [pd.factorize(train[key], sort=True) for key in COLD_SIDES[scenario]]
    ids = [(codes, len(distinct)) for codes, distinct in sides]
    chosen, kept = _part(ids, len(train), size, 'validation', rng)
    return train[kept], train[chosen]


def check_strict(split: Split) -> None:
    """Checks a split for leakage; functions of this module call it themselves.

    No part is empty, training and held-out parts share no pair, :attr:`Split.fit`
    contains train and validation, and cold ids are in no training part.

    Raises:
        ValueError: If a check fails; names the parts and the first such id or pair.
    """
    _check_scenario(split.scenario)
    parts = split.parts
    for name, frame in parts.items():
        if frame.empty:
            raise ValueError(
                f"'{name}' of the split must have rows (got 0); use more ratings or "
                'other fractions'
            )
    pairs = {
        name: pd.MultiIndex.from_frame(frame[['user', 'item']])
        for name, frame in parts.items()
    }
    for held_out, seen in (('test', 'fit'), ('validation', 'train')):
        shared = pairs[held_out][pairs[held_out].isin(pairs[seen])]
        if len(shared):
            raise ValueError(
                f"'{held_out}' and '{seen}' must have no (user, item) pair in common "
                f'(got {len(shared):,}, such as {shared[0]}); drop them from one'
            )
        for key in COLD_SIDES[split.scenario]:
            known = parts[seen][key]
            leaked = known[known.isin(parts[held_out][key])].unique()
            if len(leaked):
                raise ValueError(
                    f"'{seen}' must have no {key} of '{held_out}' in scenario "
                    f'{split.scenario} (got {len(leaked):,}, such as '
                    f'{leaked[:1].tolist()[0]!r}); drop its ratings, or use warm'
                )
    for name in ('train', 'validation'):
        lost = pairs[name][~pairs[name].isin(pairs['fit'])]
        if len(lost):
            raise ValueError(
                f"'fit' must hold all pairs of '{name}' (it lacks {len(lost):,}, such "
                f'as {lost[0]}); add them'
            )


def _check_scenario(scenario: str) -> None:
    if scenario not in SCENARIOS:
        raise ValueError(
            f"There is no scenario '{scenario}'{nearest(scenario, SCENARIOS)}"
        )


def _stream(scenario: str, seed: int, offset: int = 0) -> np.random.RandomState:
    """Returns the stream of random numbers for a scenario and a seed.

    NumPy guarantees that the legacy ``RandomState`` never changes, but does not
    guarantee this for ``default_rng``. A seed therefore always gives the same test set,
    also as in published runs. Do not modernise this.
    """
    _check_scenario(scenario)
    seed = check_argument('seed', seed, Annotated[int, Ge(0), Le(_MAX_SEED)])
    return np.random.RandomState(1000 * seed + offset + _CODES[scenario])


def _draw(
    count: int, fraction: float, name: str, rng: np.random.RandomState
) -> np.ndarray:
    """Returns a mask :obj:`[count]` that is true for a random fraction."""
    check_argument(name, fraction, Annotated[float, Gt(0), Lt(1)])
    # The small term prevents rounding errors, such as 10 * 0.7 falling below 7.
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
    """Returns masks :obj:`[num_rows]` of the rows to hold out and the rows to keep.

    ``ids`` holds, for each side to make cold, the index of each row's id and the number
    of ids. Without any side, each row counts as its own id.
    """
    ids = ids or [(np.arange(num_rows), num_rows)]
    cold = [_draw(count, fraction, name, rng)[rows] for rows, count in ids]
    chosen, kept = np.all(cold, axis=0), ~np.any(cold, axis=0)
    for mask, use, change in ((chosen, name, 'raise'), (kept, 'train on', 'lower')):
        if not mask.any():
            raise ValueError(
                f"'{name}' must be a fraction that leaves ratings to {use} (got "
                f'{fraction}, which leaves none); {change} it, or use more ratings'
            )
    return chosen, kept
