"""Users that a recommender has adapted to, and what is predicted for them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from agnn_pyg.tables import Ids, check_columns, where
from tanp.frames import episodes_to_rate
from tanp.inference import Prediction, predict
from tanp.loader import EpisodeLoader

if TYPE_CHECKING:
    from tanp.recommender import TaNPRecommender

# Pairs to rate at a time, as far as a single user leaves the choice.
BLOCK_PAIRS = 2**17


class AdaptedUsers:
    """What :meth:`TaNPRecommender.adapt` returns: users with their supports.

    Args:
        recommender (TaNPRecommender): The fit.
        users (Ids): Their ids.
        user (numpy.ndarray): Of each support interaction the row in
            :obj:`users`, :obj:`[S]`.
        item (numpy.ndarray): Its item, :obj:`[S]`.
        label (numpy.ndarray): Its label, :obj:`[S]`.
    """

    def __init__(
        self,
        recommender: TaNPRecommender,
        users: Ids,
        user: np.ndarray,
        item: np.ndarray,
        label: np.ndarray,
    ) -> None:
        self.recommender = recommender
        self.users = users
        self._support = user, item, label

    def __repr__(self) -> str:
        support = len(self._support[0])
        return f'{type(self).__name__}({len(self.users):,}, support={support:,})'

    def predict(self, pairs: pd.DataFrame, samples: int = 0) -> pd.DataFrame:
        r"""Rates pairs of these users and items of the fit.

        Args:
            pairs (pandas.DataFrame): A row a pair: user and item.
            samples (int, optional): Samples of :math:`\mathbf{z}` to average
                over, and to take the predictive spread from: how unsure the
                support leaves the model, noise of ratings not included.
                (default: :obj:`0`: the mean of :math:`\mathbf{z}`, no spread)

        Returns:
            By the index of :obj:`pairs`, a column of ratings and, with samples,
            their standard deviation :obj:`std`.

        Raises:
            ValueError: If a user was not adapted to, or the fit does not know
                an item.
        """
        fit = self.recommender
        check_columns(pairs, 'pairs', [fit.user, fit.item])
        user = self._rows(pairs, 'pairs')
        item = fit._item_rows(pairs, 'pairs')
        rating, std = self._rate(user, item, samples)
        columns = {fit.rating: rating} | ({} if std is None else {'std': std})
        return pd.DataFrame(columns, index=pairs.index)

    def recommend(
        self,
        users: Sequence[Hashable] | None = None,
        k: int = 10,
        items: Sequence[Hashable] | None = None,
        exclude_seen: bool = True,
        samples: int = 0,
    ) -> pd.DataFrame:
        """The items that users will rate highest.

        Args:
            users (sequence, optional): Ids of users. (default: all adapted ones)
            k (int, optional): Items a user. (default: :obj:`10`)
            items (sequence, optional): Ids of items to choose from.
                (default: all items of the fit)
            exclude_seen (bool, optional): Leave out a user's own support.
                (default: :obj:`True`)
            samples (int, optional): See :meth:`predict`. (default: :obj:`0`)

        Returns:
            Columns of user, item, predicted rating, with samples :obj:`std`, and
            :obj:`rank`, from 1; the users in the order given.

        Raises:
            ValueError: As in :meth:`predict`, and if :obj:`k` is not positive.
        """
        fit = self.recommender
        if k < 1:
            raise ValueError(f"'k' must be at least 1 (got {k})")
        rows = np.arange(len(self.users))
        if users is not None:
            rows = self._rows(_table(users, fit.user), 'users')
        choice = np.arange(len(fit.items_))
        if items is not None:
            choice = np.unique(fit._item_rows(_table(items, fit.item), 'items'))
        step = max(1, BLOCK_PAIRS // max(1, len(choice)))
        blocks = range(0, len(rows), step)
        parts = [
            self._top(rows[start : start + step], choice, k, exclude_seen, samples)
            for start in tqdm(blocks, disable=not fit.progress, unit='block')
        ]
        columns = [fit.user, fit.item, fit.rating, *(['std'] if samples else [])]
        if not parts:
            return pd.DataFrame(columns=[*columns, 'rank'])
        return pd.concat(parts, ignore_index=True)

    def _top(
        self,
        rows: np.ndarray,
        choice: np.ndarray,
        k: int,
        exclude_seen: bool,
        samples: int,
    ) -> pd.DataFrame:
        fit = self.recommender
        user, item = np.repeat(rows, len(choice)), np.tile(choice, len(rows))
        if exclude_seen:
            width = len(fit.items_)
            seen = self._support[0] * width + self._support[1]
            keep = ~np.isin(user * width + item, seen)
            user, item = user[keep], item[keep]
        rating, std = self._rate(user, item, samples, clamp=False)
        place = np.empty(len(self.users), np.int64)
        place[rows] = np.arange(len(rows))
        order = np.lexsort((-rating, place[user]))
        rank = pd.Series(user[order]).groupby(user[order]).cumcount().to_numpy() + 1
        order, rank = order[rank <= k], rank[rank <= k]
        columns = {
            fit.user: self.users.values[user[order]],
            fit.item: fit.items_.values[item[order]],
            fit.rating: rating[order].clip(*fit.rating_range_),
        }
        if std is not None:
            columns['std'] = std[order]
        return pd.DataFrame(columns | {'rank': rank})

    def _rate(
        self, user: np.ndarray, item: np.ndarray, samples: int, clamp: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None]:
        fit = self.recommender
        if not len(user):
            return np.empty(0), np.empty(0) if samples else None
        episodes, position = episodes_to_rate(self._support, (user, item))
        loader = EpisodeLoader(episodes, fit.batch_size)
        made: Prediction = predict(fit.model_, loader, samples, seed=fit.seed)
        rating = np.empty(len(user))
        rating[position] = made.mean.double().numpy() + fit.centre_
        if clamp:
            rating = rating.clip(*fit.rating_range_)
        if made.std is None:
            return rating, None
        std = np.empty(len(user))
        std[position] = made.std.double().numpy()
        return rating, std

    def _rows(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        column = self.recommender.user
        rows = self.users.rows(frame, column, name)
        if (rows < 0).any():
            raise ValueError(
                f"'{name}' names a user that was not adapted to, in "
                f'{where(frame, rows < 0, column)}; give interactions of this user to '
                f"'adapt'"
            )
        return rows


def _table(ids: Sequence[Hashable], column: str) -> pd.DataFrame:
    return pd.DataFrame({column: pd.Series(list(ids), dtype=object)})
