"""Strict cold-start splits, and a validation part as cold as the test part.

==============  ==============================================================
``item_cold``   Test items have no rating in training.
``user_cold``   Test users have no rating in training.
``both_cold``   Test pairs join a user and an item that both have none.
``warm``        Test ratings are drawn at random; ids usually have others.
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
# Fractions; in both_cold of users and of items each, so pairs are the square.
VALIDATION = {'item_cold': 0.1, 'user_cold': 0.1, 'both_cold': 0.2, 'warm': 0.1}
_CODES = {'item_cold': 1, 'user_cold': 2, 'warm': 3, 'both_cold': 4}
_MAX_SEED = (2**32 - 1000) // 1000


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Rating frames, each with the index and the order of the ratings' frame.

    Choose settings on :attr:`validation` after training on :attr:`train`; then train
    once more on :attr:`fit` for the figure on :attr:`test`.

    :attr:`validation` is as cold to :attr:`train` as :attr:`test` is to :attr:`fit`,
    which holds :attr:`train`, :attr:`validation` and, in ``both_cold``, the pairs with
    one cold end that neither may hold.
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
    nor :attr:`Split.test`: in training it would make that end warm, and in the test
    part its other end is warm already. With the defaults a test part holds about 4 %
    of the ratings there, and :attr:`Split.fit` 64 %.

    Args:
        tables: What to split.
        scenario: One of :data:`SCENARIOS`.
        test: Fraction of the items (``item_cold``), users (``user_cold``), users and
            items each (``both_cold``) or ratings (``warm``) whose ratings are the
            test part. (default: :obj:`0.2`)
        validation: The same for validation, as a fraction of what test leaves.
            (default: the scenario's in :data:`VALIDATION`)
        seed: Names the split: the same for ever on the same tables.

    Raises:
        ValueError: If the scenario is unknown, a fraction is not between 0 and 1 or
            leaves a part empty, or the seed is negative.
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
    """Makes a split of fit and test ratings that are given, such as published ones.

    Args:
        fit: Ratings to train on; validation is carved from them.
        test: Ratings to report on.
        scenario: The scenario that the two frames claim to be.
        validation: As in :func:`split`.
        seed: Of the validation part.

    Raises:
        ValueError: As in :func:`split`, and if the frames share pairs or are not as
            cold as the scenario says.
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
    """Parts validation ratings from training ratings, as cold as the scenario says.

    The outcome depends on these arguments alone, not on where ``train`` comes from.
    In ``both_cold`` the pairs with one cold end are in neither result.

    Args:
        train: Ratings that test has left: ``user``, ``item``, ``rating``.
        scenario: As in :func:`split`.
        fraction: Of the distinct users and items of ``train`` that turn cold, or of
            its rows (``warm``). (default: the scenario's in :data:`VALIDATION`)
        seed: Names the draw.

    Returns:
        The remaining training ratings and the validation ratings, in order.
    """
    rng = _stream(scenario, seed, offset=500)
    check_columns(train, 'train', ['user', 'item', 'rating'])
    size = VALIDATION[scenario] if fraction is None else fraction
    # Sorted, so that the draw of ids does not depend on the order of the rows.
    sides = [pd.factorize(train[key], sort=True) for key in COLD_SIDES[scenario]]
    ids = [(codes, len(distinct)) for codes, distinct in sides]
    chosen, kept = _part(ids, len(train), size, 'validation', rng)
    return train[kept], train[chosen]


def check_strict(split: Split) -> None:
    """Checks what a split promises; those of this module have passed.

    No part is empty, no pair is in two, :attr:`Split.fit` holds train and validation,
    and the ids that the scenario calls cold are in no training part.

    Raises:
        ValueError: Naming the parts and the first offending ids or pairs.
    """
    _check_scenario(split.scenario)
    parts = split.parts
    for name, frame in parts.items():
        if frame.empty:
            raise ValueError(
                f"'{name}' of the split must have rows (got 0); give more ratings, or "
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
                f'(got {len(shared):,}, such as {shared[0]}); leave each in one'
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
    """Returns the stream of random numbers that a scenario and a seed name.

    NumPy guarantees that the legacy ``RandomState`` never changes, which it does not
    for ``default_rng``: so a seed names one test set for ever, and the same one as in
    runs already published. Do not modernise this.
    """
    _check_scenario(scenario)
    seed = check_argument('seed', seed, Annotated[int, Ge(0), Le(_MAX_SEED)])
    return np.random.RandomState(1000 * seed + offset + _CODES[scenario])


def _draw(
    count: int, fraction: float, name: str, rng: np.random.RandomState
) -> np.ndarray:
    """Returns a mask :obj:`[count]` that is true for a random fraction."""
    check_argument(name, fraction, Annotated[float, Gt(0), Lt(1)])
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
    """Returns masks :obj:`[num_rows]` of the rows to part off and those to keep.

    ``ids`` holds, for each side that turns cold, the number of each row's id and how
    many ids there are. Without any side, each row is an id of its own.
    """
    ids = ids or [(np.arange(num_rows), num_rows)]
    cold = [_draw(count, fraction, name, rng)[rows] for rows, count in ids]
    chosen, kept = np.all(cold, axis=0), ~np.any(cold, axis=0)
    for mask, use, change in ((chosen, name, 'raise'), (kept, 'train on', 'lower')):
        if not mask.any():
            raise ValueError(
                f"'{name}' must be a fraction that leaves ratings to {use} (got "
                f'{fraction}, which leaves none); {change} it, or give more ratings'
            )
    return chosen, kept
