"""What a split is, and the check that it is as cold as its mode says."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from data._messages import first, nearest

__all__ = ['COLD_SIDES', 'MODES', 'Split', 'check_mode', 'check_strict']

MODES = ('item_cold', 'user_cold', 'both_cold', 'warm')
# The columns whose ids have no rating in training.
COLD_SIDES = {
    'item_cold': ('item',),
    'user_cold': ('user',),
    'both_cold': ('user', 'item'),
    'warm': (),
}


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Rating frames, each with the index and the order of the ratings' frame.

    Choose settings on :attr:`validation` after training on :attr:`train`; then
    train once more on :attr:`fit` for the figure on :attr:`test`.

    Args:
        mode: One of :data:`MODES`.
        train: Ratings to train on while settings are chosen.
        validation: Ratings to choose by, as cold to :attr:`train` as
            :attr:`test` is to :attr:`fit`.
        test: Ratings to report on.
        fit: All ratings that may be trained on once the choice is made:
            :attr:`train`, :attr:`validation` and, in ``both_cold``, the pairs
            with one cold end that neither could hold.
    """

    mode: str
    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    fit: pd.DataFrame

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}('{self.mode}', train={len(self.train):,}, "
            f'validation={len(self.validation):,}, test={len(self.test):,}, '
            f'fit={len(self.fit):,})'
        )


def check_strict(split: Split) -> None:
    """Check what a split promises; those of :mod:`data.splits` have passed.

    No part is empty, no pair is in two, :attr:`Split.fit` holds train and
    validation, and the ids that the mode calls cold are in no training part.

    Raises:
        ValueError: Naming the parts and the first offending ids or pairs.
    """
    check_mode(split.mode)
    for name in ('train', 'validation', 'test', 'fit'):
        if getattr(split, name).empty:
            raise ValueError(
                f"'{name}' of the split is empty (got 0 rows): give it more "
                'ratings, or other fractions'
            )
    _check_disjoint(split, 'test', 'fit')
    _check_disjoint(split, 'validation', 'train')
    _check_contained(split)
    for key in COLD_SIDES[split.mode]:
        _check_cold(split, key, 'test', 'fit')
        _check_cold(split, key, 'validation', 'train')


def check_mode(mode: str) -> None:
    """Refuse a mode that is not in :data:`MODES`.

    Raises:
        ValueError: Naming the nearest one.
    """
    if mode not in MODES:
        raise ValueError(
            f"'mode' must be one of {', '.join(MODES)} (got {mode!r})"
            f'{nearest(mode, MODES)}'
        )


def _check_disjoint(split: Split, one: str, other: str) -> None:
    left, right = _pairs(split, one), _pairs(split, other)
    shared = left[left.isin(right)]
    if len(shared):
        raise ValueError(
            f"{len(shared):,} (user, item) pair(s) are in '{one}' and in "
            f"'{other}' ({first(shared)}): leave each in one of them"
        )


def _check_contained(split: Split) -> None:
    for name in ('train', 'validation'):
        part = _pairs(split, name)
        lost = part[~part.isin(_pairs(split, 'fit'))]
        if len(lost):
            raise ValueError(
                f"{len(lost):,} (user, item) pair(s) of '{name}' are not in "
                f"'fit' ({first(lost)}): fit must hold all of train and "
                'validation'
            )


def _check_cold(split: Split, key: str, held_out: str, seen: str) -> None:
    ids = getattr(split, held_out)[key].unique()
    known = getattr(split, seen)[key]
    leaked = known[known.isin(ids)].unique()
    if len(leaked):
        raise ValueError(
            f"not {split.mode}: {len(leaked):,} {key} id(s) of '{held_out}' "
            f"have ratings in '{seen}' too ({first(leaked)}): drop these from "
            f"'{seen}', or use mode 'warm'"
        )


def _pairs(split: Split, name: str) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(getattr(split, name)[['user', 'item']])
