"""Users and films that arrive after the fit, and the recommenders that meet them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from agnn_pyg.recommender import AGNNRecommender
from data.tables import RatingTables
from tanp.recommender import TaNPRecommender

USERS, FILMS = 0.15, 0.18  # shares that are held out: 141 and 303 of ML-100K's
R = TypeVar('R', AGNNRecommender, TaNPRecommender)


@dataclass(frozen=True)
class HeldOut:
    """Today's users and films, and what is learnt of those who come tomorrow.

    Attributes:
        tables: All of it.
        new_users: Users without a rating in the fit.
        new_films: Films without one.
        known: Ratings of known films by known users.
    """

    tables: RatingTables
    new_users: pd.DataFrame
    new_films: pd.DataFrame
    known: pd.DataFrame

    @property
    def ratings(self) -> pd.DataFrame:
        """What the new users, and users of the new films, really gave."""
        return self.tables.ratings.drop(self.known.index)

    def of_new_films(self) -> pd.DataFrame:
        """Ratings of new films by known users."""
        rated = self.ratings
        return rated[~rated['user'].isin(self.new_users['user'])]

    def of_new_users(self) -> pd.DataFrame:
        """Ratings of known films by new users."""
        rated = self.ratings
        return rated[~rated['item'].isin(self.new_films['item'])]


def hold_out(tables: RatingTables, seed: int = 0) -> HeldOut:
    """Holds out users and films at random."""
    users = tables.users.sample(frac=USERS, random_state=seed).sort_index()
    films = tables.items.sample(frac=FILMS, random_state=seed).sort_index()
    rated = tables.ratings
    new = rated['user'].isin(users['user']) | rated['item'].isin(films['item'])
    return HeldOut(tables, users, films, rated[~new])


def fitted_agnn(
    held: HeldOut, folder: Path, force: bool = False, **settings: Any
) -> AGNNRecommender:
    """AGNN on the known ratings, from the folder if it was fitted before.

    Args:
        held (HeldOut): What is known.
        folder (Path): Where it is kept.
        force (bool, optional): Fit it anew. (default: :obj:`False`)
        **settings (optional): Of the recommender.
    """
    users = held.tables.users.drop(held.new_users.index)
    films = held.tables.items.drop(held.new_films.index)
    return _cached(
        AGNNRecommender(**settings),
        folder,
        force,
        lambda made: made.fit(held.known, users, films),
    )


def fitted_tanp(
    held: HeldOut, folder: Path, force: bool = False, **settings: Any
) -> TaNPRecommender:
    """TaNP on the known ratings, likewise."""
    films = held.tables.items.drop(held.new_films.index)
    return _cached(
        TaNPRecommender(**settings),
        folder,
        force,
        lambda made: made.fit(held.known, items=films),
    )


def _cached(made: R, folder: Path, force: bool, fit: Callable[[R], Any]) -> R:
    try:
        found = type(made).load(folder)
        if not force and found.get_params() == made.get_params():
            return found
    except ValueError:  # not there, or of another version
        pass
    print(f'fitting {type(made).__name__}, to keep in {folder}', file=sys.stderr)
    fit(made)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.save(folder)
    return made
