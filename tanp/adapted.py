"""Users that a recommender has adapted to, and predictions for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from agnn_pyg.base.checks import TableColumn, check_columns
from agnn_pyg.base.config import NonNegativeInt, PositiveInt, check_argument
from agnn_pyg.base.frames import as_table, read_ratings
from agnn_pyg.base.metrics import rating_metrics
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_ids
from tanp.catalogue import STEP
from tanp.episodes import Episodes
from tanp.loader import EpisodeLoader, pad
from tanp.loss import LIKELIHOODS
from tanp.prediction import predict

# Pairs of users and items at a time, as far as a single user leaves the choice.
BLOCK_PAIRS = 2**17
# Labels, and their standard deviations if there are any.
Labels = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Explanation:
    """The score of an item, and how the interactions of a support moved it."""

    score: float
    without: float  # the score without any support
    support: pd.DataFrame  # items and their effects, the largest first

    def __str__(self) -> str:
        lines = f'score {self.score:.4f}, without the support {self.without:.4f}'
        return f'{lines}\n{self.support.to_string(index=False)}'


@dataclass(frozen=True, eq=False, repr=False)
class AdaptedUsers:
    """N users and their supports, see :meth:`TaNPRecommender.adapt`; immutable."""

    recommender: Any
    users: Vocabulary  # ids
    row: Tensor  # in the models, [N]
    episodes: Episodes  # supports
    vectors: list[Tensor | None]  # of the users, [N, F_user], by model

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.users}, {self.episodes})'

    def predict(
        self, pairs: pd.DataFrame, samples: int = 0, items: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        r"""Rates pairs of these users and items of the fit.

        Args:
            pairs (pandas.DataFrame): A row a pair: user and item.
            samples (int, optional): Samples of :math:`\mathbf{z}` to average over, and
                to take the predictive spread from: how uncertain the support leaves
                the model, without the noise of ratings. It needs a latent path.
                (default: :obj:`0`, the mean of :math:`\mathbf{z}`)
            items (pandas.DataFrame, optional): Attributes of items that arrived after
                the fit.

        Returns:
            By the index of :obj:`pairs` the ratings, clipped to their range, if the fit
            had any; the :obj:`score`, which is not; and, with samples or several
            models, its standard deviation :obj:`std`. ``ValueError`` names unknown ids.
        """
        self = self._with_items(items)
        fit = self.recommender
        check_columns(pairs, 'pairs', [fit.user, fit.item])
        user = self._rows(read_ids(pairs, fit.user, 'pairs'))
        item = fit._item_rows(read_ids(pairs, fit.item, 'pairs'))
        columns = self._columns(*self._predict(user, item, samples))
        return pd.DataFrame(columns, index=pairs.index)

    def recommend(
        self,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        k: int = 10,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        exclude_seen: bool = True,
        samples: int = 0,
    ) -> pd.DataFrame:
        """The items of the highest scores.

        Args:
            users (pandas.DataFrame or sequence, optional): Ids or a table of users.
            k (int, optional): Items a user. (default: :obj:`10`)
            items (pandas.DataFrame or sequence, optional): Ids of items to choose from,
                or a table of items, which may have arrived after the fit.
            exclude_seen (bool, optional): Leave out a user's own support.
            samples (int, optional): See :meth:`predict`. (default: :obj:`0`)

        Returns:
            Columns of user, item, those of :meth:`predict` and :obj:`rank`, from 1;
            the users in the order given, fewer than :obj:`k` rows where fewer items are
            left. ``ValueError`` names an id that is unknown or repeated.
        """
        self = self._with_items(items if isinstance(items, pd.DataFrame) else None)
        fit, ids = self.recommender, self.recommender.vocabularies_['item'].values
        k = check_argument('k', k, PositiveInt)
        exclude_seen = check_argument('exclude_seen', exclude_seen, bool)
        rows, choice = np.arange(len(self.users)), np.arange(len(ids))
        if users is not None:
            rows = self._rows(_distinct(users, 'users', fit.user))
        if items is not None:
            choice = np.sort(fit._item_rows(_distinct(items, 'items', fit.item)))
        step, parts = max(1, BLOCK_PAIRS // len(ids)), []
        blocks = range(0, max(1, len(rows)), step)
        for start in tqdm(blocks, disable=not fit.progress, unit='block'):
            block = rows[start : start + step]
            labels = self._label_all(block, choice, samples)
            value = np.full((len(block), len(ids)), -np.inf)
            value[:, choice] = labels[0]
            if exclude_seen:
                seen = self.episodes.select(torch.from_numpy(block))
                value[np.arange(len(block)).repeat(seen.size), seen.item] = -np.inf
            order = np.argsort(-value, axis=1, kind='stable')[:, :k]
            task, rank = np.nonzero(np.take_along_axis(value, order, axis=1) > -np.inf)
            item = order[task, rank]
            place = task, np.searchsorted(choice, item)
            labels = (v if v is None else v[place] for v in labels)
            columns = {fit.user: self.users.values[block[task]], fit.item: ids[item]}
            columns |= self._columns(*labels) | {'rank': rank + 1}
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def evaluate(
        self, ratings: pd.DataFrame, items: pd.DataFrame | None = None
    ) -> dict[str, float]:
        """:obj:`rmse` and :obj:`mae` of other ratings of these users.

        For :obj:`items` see :meth:`predict`. ``ValueError`` names what is unfit.
        """
        self = self._with_items(items)
        fit = self.recommender
        if fit.rating is None:
            raise ValueError(
                "'rating' is None, so that there are no ratings to compare; count the "
                "later items of a user among those of 'recommend'"
            )
        held = read_ratings(ratings, 'ratings', fit.config)
        held.check_rows('there is nothing to compare with')
        column = TableColumn(ratings, fit.rating, 'ratings')
        fit.rating_scale_.check(column, held.rating)
        pairs = self._rows(held.user), fit._item_rows(held.item)
        known, item = self.episodes.size.numpy(), self.episodes.item.numpy()
        known = np.arange(len(known)).repeat(known), item
        held.warn_of_known(pairs, known, 'the support')
        return rating_metrics(self.predict(ratings)[fit.rating], held.rating)

    def explain(
        self, user: Hashable, item: Hashable, items: pd.DataFrame | None = None
    ) -> Explanation:
        """Which interactions of a user's support moved the score of an item.

        The effect of one is the score less that without it, exactly; those of alike
        interactions overlap. For :obj:`items` see :meth:`predict`.
        """
        self = self._with_items(items)
        fit = self.recommender
        (row,) = self._rows(_distinct([user], 'user', fit.user))
        target = fit._item_rows(_distinct([item], 'item', fit.item))
        mine = self.episodes.select(torch.tensor([row]))
        size, known = len(mine.item), (mine.item.numpy(), mine.label.numpy())
        # Tasks with all of the support, without it, and without one of each.
        kept = np.vstack([np.ones(size), np.zeros(size), 1 - np.eye(size)]) > 0
        task, place = kept.nonzero()
        support, every = [task, *(v[place] for v in known)], np.arange(len(kept))
        episodes = Episodes.from_parts(every, support, [v[:0] for v in support])
        rows = [row] * len(kept)
        vectors = [v if v is None else v[rows] for v in self.vectors]
        made = AdaptedUsers(fit, self.users, self.row[rows], episodes, vectors)
        label, _ = made._predict(every, target.repeat(len(kept)), 0)
        score = self._columns(label, None)['score']
        columns = {fit.item: fit.vocabularies_['item'].values[known[0]]}
        columns |= {'effect': score[0] - score[2:]}
        order = np.argsort(-np.abs(columns['effect']), kind='stable')
        frame = pd.DataFrame(columns).iloc[order].reset_index(drop=True)
        return Explanation(float(score[0]), float(score[1]), frame)

    def _with_items(self, items: Any) -> AdaptedUsers:
        known = self.recommender._with_items(items)
        return dataclasses.replace(self, recommender=known)

    def _label_all(self, rows: np.ndarray, choice: np.ndarray, samples: int) -> Labels:
        """Labels of some items for some users, :obj:`[len(rows), len(choice)]`."""
        if not samples:
            return self._average(lambda n: (self._score_all(n, rows)[:, choice], None))
        pairs = np.repeat(rows, len(choice)), np.tile(choice, len(rows))
        labels, size = self._predict(*pairs, samples), (len(rows), len(choice))
        return tuple(v if v is None else v.reshape(size) for v in labels)

    def _predict(self, user: np.ndarray, item: np.ndarray, samples: int) -> Labels:
        """Labels of pairs."""
        check_argument('samples', samples, NonNegativeInt)
        fit, tasks = self.recommender, np.unique(user)
        if samples and fit.models_[0].latent is None:
            raise ValueError(
                f"'samples' needs a latent path to draw from (got {samples}); fit with "
                f"'ensemble_size' of 2 or more, whose differences are a spread, too"
            )
        if not len(user):
            has_spread = samples or len(fit.models_) > 1
            return np.empty(0), np.empty(0) if has_spread else None
        support = self.episodes.select(torch.from_numpy(tasks))
        known = np.repeat(tasks, support.size), support.item, support.label
        query = user, item, np.zeros(len(user))
        episodes = Episodes.from_parts(tasks, (*map(np.asarray, known),), query)
        episodes = dataclasses.replace(episodes, user=self.row[episodes.user])
        most = BLOCK_PAIRS // int(episodes.num_query.max())
        loader = EpisodeLoader(episodes, max(1, min(fit.batch_size, most)))
        # Back from the order of the episodes.
        place = np.argsort(np.argsort(user, kind='stable'))

        def values(number: int) -> Labels:
            vectors = self.vectors[number]
            vectors = None if vectors is None else vectors[tasks]
            made = predict(fit.models_[number], loader, samples, fit.seed, vectors)
            return tuple(v if v is None else v.numpy()[place] for v in made)

        return self._average(values)

    @torch.inference_mode()
    def _score_all(self, number: int, rows: np.ndarray) -> np.ndarray:
        """Labels of all items for some users, :obj:`[len(rows), I]`."""
        catalogue, vectors = self.recommender._catalogue(number), self.vectors[number]
        link = LIKELIHOODS[catalogue.model.likelihood].predict
        label = np.empty((len(rows), catalogue.model.num_items))
        for start in range(0, len(rows), STEP):
            task = torch.from_numpy(rows[start : start + STEP])
            batch = pad(self.episodes, task)._replace(user=self.row[task])
            user = None if vectors is None else vectors[task]
            score = catalogue(batch, user).double()
            label[start : start + STEP] = link(score).numpy()
        return label

    def _average(self, values: Callable[[int], Labels]) -> Labels:
        """Mean over models, and the spread between and within them, if there is any."""
        made = [values(number) for number in range(len(self.recommender.models_))]
        if len(made) == 1:
            return made[0]
        mean = np.stack([mean for mean, _ in made])
        variance = mean.var(axis=0, ddof=1)
        if made[0][1] is not None:
            variance = variance + np.mean([std**2 for _, std in made], axis=0)
        return mean.mean(axis=0), np.sqrt(variance)

    def _columns(self, label: np.ndarray, std: np.ndarray | None) -> dict[str, Any]:
        """Labels as ratings and scores, and their spread on the same scale."""
        fit, scale = self.recommender, self.recommender.rating_scale_
        score = scale.unit * label + scale.center
        columns = {fit.rating: score.clip(scale.low, scale.high), 'score': score}
        if fit.rating is None:
            columns, scale = {'score': label}, dataclasses.replace(scale, unit=1.0)
        return columns if std is None else columns | {'std': scale.unit * std}

    def _rows(self, ids: IdColumn) -> np.ndarray:
        rows = self.users.rows(ids)
        problem = 'names a user that was not adapted to in'
        ids.refuse(rows < 0, problem, 'add what this user has rated to the support')
        return rows


def _distinct(given: Any, name: str, column: str) -> IdColumn:
    """Ids, or those of a table, none of which is repeated."""
    ids = read_ids(as_table(given, name, column), column, name)
    ids.vocabulary()
    return ids
