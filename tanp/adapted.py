"""Users that a recommender has adapted to, and what is predicted for them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from agnn_pyg.base.checks import check_columns
from agnn_pyg.base.config import NonNegativeInt, PositiveInt, check_argument
from agnn_pyg.base.frames import as_table
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_ids
from tanp.catalogue import CatalogueScorer
from tanp.episodes import Episodes
from tanp.frames import episodes_of_supports, episodes_to_rate
from tanp.inference import predict
from tanp.loader import EpisodeLoader
from tanp.model import TaNP
from tanp.ranking import predict_catalogue

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender

# Pairs to rate at a time, as far as a single user leaves the choice.
BLOCK_PAIRS = 2**17


class Scorers:
    """Of each of some models what scores its catalogue, made when first asked for.

    Args:
        models (list): In evaluation mode.
    """

    def __init__(self, models: list[TaNP]) -> None:
        self.models = models

    @cached_property
    def made(self) -> list[CatalogueScorer | None]:
        suits = CatalogueScorer.suits
        return [CatalogueScorer(m) if suits(m) else None for m in self.models]

    def __reduce__(self) -> tuple:
        # What is made of models is not pickled beside them.
        return type(self), (self.models,)


class AdaptedUsers:
    """What :meth:`TaNPRecommender.adapt` returns: users with their supports.

    Args:
        recommender (TaNPRecommender): The fit.
        models (list): Its models, which know the attributes of these users.
        users (Ids): Their ids.
        row (numpy.ndarray): Their rows in the models' tables, :obj:`[N]`.
        support (tuple): Of each support interaction the row in :obj:`users`, the
            item and the label, each :obj:`[S]`.
    """

    def __init__(
        self,
        recommender: TaNPRecommender,
        models: list[TaNP],
        users: Vocabulary,
        row: np.ndarray,
        support: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        # As it is now: it may be fitted again.
        self.recommender, self.models = copy.copy(recommender), models
        self.users, self._row, self._support = users, row, support
        shared = models is recommender.models_
        self._scorers = recommender._scorers if shared else Scorers(models)

    def __repr__(self) -> str:
        support = len(self._support[0])
        return f'{type(self).__name__}({len(self.users):,}, support={support:,})'

    def predict(self, pairs: pd.DataFrame, samples: int = 0) -> pd.DataFrame:
        r"""Rates pairs of these users and items of the fit.

        Args:
            pairs (pandas.DataFrame): A row a pair: user and item.
            samples (int, optional): Samples of :math:`\mathbf{z}` to average
                over, and to take the predictive spread from: how unsure the
                support leaves the model, noise of ratings not included. It needs a
                model with a latent path, which is no default.
                (default: :obj:`0`: the mean of :math:`\mathbf{z}`)

        Returns:
            By the index of :obj:`pairs`, a column of ratings and, with samples or
            two members at least, their standard deviation :obj:`std`.

        Raises:
            ValueError: If a user was not adapted to, or the fit does not know
                an item.
        """
        fit = self.recommender
        samples = check_argument('samples', samples, NonNegativeInt)
        check_columns(pairs, 'pairs', [fit.user, fit.item])
        user = self._rows(read_ids(pairs, fit.user, 'pairs'))
        item = fit._item_rows(read_ids(pairs, fit.item, 'pairs'))
        if not len(user):
            columns = [fit.rating, *self._spread(samples)]
            return pd.DataFrame(columns=columns, index=pairs.index, dtype=float)
        made = [self._rate(model, user, item, samples) for model in self.models]
        rating, std = _average(made)
        columns = {fit.rating: self._clamped(rating)} | (
            {} if std is None else {'std': fit.rating_scale_.unit * std}
        )
        return pd.DataFrame(columns, index=pairs.index)

    def recommend(
        self,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        k: int = 10,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        exclude_seen: bool = True,
        samples: int = 0,
    ) -> pd.DataFrame:
        """The items that users will rate highest.

        Args:
            users (pandas.DataFrame or sequence, optional): Ids of users, or a table
                of users. (default: all adapted ones)
            k (int, optional): Items a user. (default: :obj:`10`)
            items (pandas.DataFrame or sequence, optional): Ids of items to choose
                from, or a table of items. (default: all items of the fit)
            exclude_seen (bool, optional): Leave out a user's own support.
                (default: :obj:`True`)
            samples (int, optional): See :meth:`predict`. (default: :obj:`0`)

        Returns:
            Columns of user, item, predicted rating, :obj:`std` as in :meth:`predict`,
            and :obj:`rank`, from 1; the users in the order given, fewer than
            :obj:`k` rows where fewer items are left.

        Raises:
            ValueError: As in :meth:`predict`, and if an id is repeated, or :obj:`k`
                is not positive and whole.
        """
        fit = self.recommender
        k = check_argument('k', k, PositiveInt)
        samples = check_argument('samples', samples, NonNegativeInt)
        rows = np.arange(len(self.users))
        if users is not None:
            rows = self._rows(_each_once(users, 'users', fit.user))
        choice = np.arange(len(fit.items_))
        if items is not None:
            choice = np.sort(fit._item_rows(_each_once(items, 'items', fit.item)))
        step = max(1, BLOCK_PAIRS // max(1, len(choice)))
        blocks = range(0, len(rows), step)
        parts = [
            self._top(rows[start : start + step], choice, k, exclude_seen, samples)
            for start in tqdm(blocks, disable=not fit.progress, unit='block')
        ]
        if not parts:
            columns = [fit.user, fit.item, fit.rating, *self._spread(samples), 'rank']
            return pd.DataFrame(columns=columns)
        return pd.concat(parts, ignore_index=True)

    def _top(
        self,
        rows: np.ndarray,
        choice: np.ndarray,
        k: int,
        exclude_seen: bool,
        samples: int,
    ) -> pd.DataFrame:
        """The best items of some users, as a table."""
        fit = self.recommender
        if samples:
            pairs = np.repeat(rows, len(choice)), np.tile(choice, len(rows))
            made = [self._rate(model, *pairs, samples) for model in self.models]
        else:
            made = [
                (self._rate_all(model, scorer, rows)[:, choice], None)
                for model, scorer in zip(self.models, self._scorers.made, strict=True)
            ]
        size = len(rows), len(choice)
        rating, std = (v if v is None else v.reshape(size) for v in _average(made))
        if exclude_seen:
            seen = self._support[0] * len(fit.items_) + self._support[1]
            rating[np.isin(rows[:, None] * len(fit.items_) + choice, seen)] = -np.inf
        order = np.argsort(-rating, axis=1, kind='stable')[:, :k]
        value = np.take_along_axis(rating, order, axis=1)
        task, rank = np.nonzero(value > -np.inf)
        columns = {
            fit.user: self.users.values[rows[task]],
            fit.item: fit.items_.values[choice[order[task, rank]]],
            fit.rating: self._clamped(value[task, rank]),
        }
        if std is not None:
            columns['std'] = fit.rating_scale_.unit * std[task, order[task, rank]]
        return pd.DataFrame(columns | {'rank': rank + 1})

    def _rate(
        self, model: TaNP, user: np.ndarray, item: np.ndarray, samples: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels of pairs and, with samples, their spread."""
        fit = self.recommender
        if samples and model.latent is None:
            raise ValueError(
                f"'samples' needs a latent path to draw from (got {samples}); fit with "
                f"'members' of 2 or more, whose differences are a spread, too"
            )
        episodes, position = episodes_to_rate(self._support, (user, item))
        loader = EpisodeLoader(self._with_rows(episodes), fit.batch_size)
        made = predict(model, loader, samples, fit.seed, torch.double)
        parts = []
        for value in (made.mean, made.std):
            placed = None if value is None else np.empty(len(user))
            if value is not None:
                placed[position] = value.numpy()
            parts.append(placed)
        return tuple(parts)

    def _rate_all(
        self, model: TaNP, scorer: CatalogueScorer | None, rows: np.ndarray
    ) -> np.ndarray:
        """Labels of all items for some users, :obj:`[len(rows), I]`."""
        episodes = episodes_of_supports(self._support, rows)
        label = np.empty((len(episodes), len(self.recommender.items_)))
        episodes, task = self._with_rows(episodes), episodes.user.numpy()
        blocks = predict_catalogue(model, episodes, scorer=scorer)
        for position, _, value in blocks:
            label[position.numpy()] = value.double().cpu().numpy()
        return label[np.searchsorted(task, rows)]

    def _with_rows(self, episodes: Episodes) -> Episodes:
        """Episodes of these users, with the users' rows in the models' tables."""
        row = torch.from_numpy(self._row)[episodes.user]
        return dataclasses.replace(episodes, user=row)

    def _spread(self, samples: int) -> list[str]:
        """The column of standard deviations, if there are any."""
        return ['std'] if samples or len(self.models) > 1 else []

    def _clamped(self, label: np.ndarray) -> np.ndarray:
        return self.recommender.rating_scale_.to_rating_scale(label)

    def _rows(self, ids: IdColumn) -> np.ndarray:
        rows = self.users.rows(ids)
        ids.refuse(
            rows < 0,
            'names a user that was not adapted to in',
            'add what this user has rated to the support',
        )
        return rows


def _each_once(given: Any, name: str, column: str) -> IdColumn:
    """Ids, or those of a table, none of which is repeated."""
    ids = read_ids(as_table(given, name, column), column, name)
    ids.vocabulary()
    return ids


def _average(
    made: list[tuple[np.ndarray, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean over models, and the spread between and within them, if there is any."""
    if len(made) == 1:
        return made[0]
    mean = np.stack([mean for mean, _ in made])
    variance = mean.var(axis=0, ddof=1)
    if made[0][1] is not None:
        variance = variance + np.mean([std**2 for _, std in made], axis=0)
    return mean.mean(axis=0), np.sqrt(variance)
