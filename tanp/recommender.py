"""The few-shot recommender: fit, adapt, predict, recommend, save."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from agnn_pyg.base.checks import check_columns, warn
from agnn_pyg.base.config import PositiveInt, check_argument
from agnn_pyg.base.frames import read_ends, read_ratings
from agnn_pyg.base.metrics import evaluate_rankings, rating_metrics
from agnn_pyg.base.nodes import warn_of_bare, with_titles
from agnn_pyg.base.ranking import excluded, highest
from agnn_pyg.base.recommender import Recommender
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_distinct
from tanp.config import PUBLISHED, TaNPRecommenderConfig
from tanp.episodes import Episodes
from tanp.fitting import BLOCK_PAIRS, Fitted, Validation, fit_models
from tanp.loader import pad
from tanp.model import NeuralProcess

# Users per block; their supports are encoded together.
BLOCK_USERS = 16


class TaNPRecommender(Recommender):
    r"""Predicts and recommends for new users with a few known interactions.

    Fit it once on the interactions of many users. A new user then needs a *support*:
    the few items that the user has rated so far. Adapting takes no gradient step, and
    the predictions for one user do not depend on other users.

    .. code-block:: python

        recommender = TaNPRecommender(ensemble_size=3).fit(ratings, items=items)
        today = recommender.adapt(first_ratings_of_new_users)
        today.predict(pairs)
        today.recommend(k=10)

    With :obj:`rating=None`, each row is a positive interaction. Items without
    interactions, such as items that arrive after the fit, are read through their
    attributes; AttentiveTaNP also uses statistics of the most similar items, see
    :meth:`~tanp.ItemStatistics.with_unseen`. For users without any interaction, use
    :class:`agnn_pyg.AGNNRecommender`.

    Attributes:
        models_: The trained models, one for each member of the ensemble.
        history_: Metrics of the first model in each epoch.
        best_epoch_: Epoch of the first model that was kept, counted from 0.
    """

    Config = TaNPRecommenderConfig
    Fitted = Fitted
    VERSION = 14
    PUBLISHED = PUBLISHED

    def fit(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
        validation: Validation = None,
    ) -> TaNPRecommender:
        """Trains on the interactions of many users.

        Args:
            ratings (pandas.DataFrame): One row per interaction: user, item, rating.
            users (pandas.DataFrame, optional): One row per user, with id and
                attributes, for all users in the other tables.
            items (pandas.DataFrame, optional): The same for items.
            validation (pandas.DataFrame or tuple, optional): Interactions of other
                users, to select the epoch: one table, half of each user's rows being
                the support, or two, supports and queries. None keeps the last epoch.

        ``ValueError`` names the invalid table or setting, and what to change.
        """
        fitted = fit_models(self.config, validation, ratings, users, items)
        self._fitted_, self.best_epoch_, self.history_ = fitted
        return self

    def adapt(
        self,
        support: pd.DataFrame,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        name: str = 'support',
    ) -> AdaptedUsers:
        """Adapts to the interactions of users so far; nothing is trained.

        Args:
            support (pandas.DataFrame): One row per interaction: user, item, rating. For
                users of the fit, these rows replace their rows in the fit.
            users (pandas.DataFrame or sequence, optional): Attributes of new users, if
                the fit had any. If only ids are given, as a table or a list, attributes
                are missing. None also leaves them missing, with a warning.
            name (str, optional): Name for errors. (default: :obj:`"support"`)

        ``ValueError`` names an unknown item or a rating outside of :obj:`rating_range`.
        """
        config, fitted = self._served()
        fitted = replace(fitted, config=config)
        ratings = read_ratings(support, name, config)
        ratings.user.check_rows('adapting needs an interaction of each user')
        label = fitted.to_labels(ratings)
        ids = Vocabulary.from_ids(ratings.user)
        # This refuses ids of another type: they would make all users new.
        rows, user = fitted.ids['user'].rows(ratings.user), ids.rows(ratings.user)
        if users is not None and not fitted.has_users:
            raise ValueError(
                "'users' was not given to 'fit', so its attributes are unknown; leave "
                'it out, or fit again with the attributes of all users'
            )
        if 'user' in fitted.encoders:
            if users is None and (rows < 0).any():
                users = pd.unique(ratings.user.values[rows < 0])
                warn_of_bare(name, 'user')
            fitted = fitted.with_nodes('user', users)
            rows = ratings.user.check_known(fitted.ids['user'], 'users')
        row = torch.from_numpy(rows[np.unique(user, return_index=True)[1]])
        histories = user, fitted.item_rows(ratings.item, is_support=True), label
        nothing = [value[:0] for value in histories]
        episodes = Episodes.from_parts(np.arange(len(ids)), histories, nothing)
        models = [model.for_users(row) for model in fitted.models]
        return AdaptedUsers(replace(fitted, models=models), ids, episodes)

    def evaluate(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        items: pd.DataFrame | None = None,
        k: int = 20,
    ) -> dict[str, float]:
        """Adapts to the first half of each user's rows and evaluates on the other half.

        If the number of rows is odd, the first half is larger. Items new to the fit are
        in the other half. For :obj:`users` see :meth:`adapt`; for all else see
        :meth:`AdaptedUsers.evaluate`. The result also has the number of evaluated rows,
        :obj:`ratings`. ``ValueError`` if no user has two rows.
        """
        check_columns(ratings, 'ratings', [self.user, self.item])
        known = ratings[self.item].isin(self._served()[1].ids['item'].values)
        known |= not known.any()  # then adapt raises an error that names an id
        user = ratings[self.user]
        before = known.groupby(user).cumsum() - known
        first = known & (2 * before < user.groupby(user).transform('size'))
        if len(ratings) and first.all():
            raise ValueError(
                "'ratings' must have a user with two rows, one for the support and one "
                'for the query (got one row of each user); give more rows of the same '
                "users, or call 'evaluate' on the result of 'adapt(support)'"
            )
        if alone := user.nunique() - user[~first].nunique():
            warn(
                f"'ratings' has one row of each of {alone:,} users; it is their "
                f'support, so they are not evaluated; add further rows of them'
            )
        adapted = self.adapt(ratings[first], users, 'ratings')
        found = adapted.evaluate(ratings[~first], items, k)
        return {'ratings': int((~first).sum()), **found}

    def __getattr__(self, name: str) -> NoReturn:
        hint = ''
        if name in ('predict', 'recommend', 'explain'):
            hint = "; call it on the result of 'adapt(first_ratings)'"
        elif name == 'update':
            hint = "; 'adapt' reads new ratings of any users, or fit again"
        text = f"'{type(self).__name__}' has no attribute '{name}'{hint}"
        raise AttributeError(text, name=name, obj=self)

    @property
    def models_(self) -> list[NeuralProcess]:
        return self._served()[1].models


@dataclass(frozen=True, eq=False)
class Explanation:
    """The score of an item and the effect of each support interaction on it."""

    score: float
    without: float  # the score without any support, a case that training lacks
    support: pd.DataFrame  # items and their effects, the largest first

    def __str__(self) -> str:
        scores = f'score {self.score:.4f} ({self.without:.4f} without any support)'
        return f'{scores}\n{self.support.to_string(index=False)}'


@dataclass(frozen=True, eq=False)
class AdaptedUsers:
    """N users and their supports, see :meth:`TaNPRecommender.adapt`."""

    fitted: Fitted = field(repr=False)  # with current settings and these users' rows
    users: Vocabulary  # ids
    episodes: Episodes  # supports

    def predict(
        self,
        pairs: pd.DataFrame,
        items: pd.DataFrame | None = None,
        samples: int = 0,
        clip: bool = True,
        return_std: bool = False,
    ) -> pd.Series | tuple[pd.Series, pd.Series]:
        r"""Predicts ratings of pairs of these users and items.

        Args:
            pairs (pandas.DataFrame): One row per pair: user and item.
            items (pandas.DataFrame, optional): Attributes of items new to the fit.
            samples (int, optional): Samples of :math:`\mathbf{z}` to average over. They
                need a latent path. (default: :obj:`0`, the mean of :math:`\mathbf{z}`)
            clip (bool, optional): Clip to the range of ratings. (default: :obj:`True`)
            return_std (bool, optional): Also return standard deviations between samples
                and models, without the noise of ratings. (default: :obj:`False`)

        Returns:
            The predicted ratings, or scores if the fit has no ratings, with the index
            of :obj:`pairs`. ``ValueError`` names unknown ids.
        """
        clip = check_argument('clip', clip, bool)
        fitted = self.fitted.with_nodes('item', items)
        columns = [fitted.config.user, fitted.config.item]
        users, named = read_ends(pairs, columns, 'pairs')
        user, item = self._rows(users), fitted.item_rows(named)
        labels = fitted.predict(self.episodes, user, item, samples)
        made = pd.DataFrame(fitted.to_columns(labels), pairs.index)
        if return_std and 'std' not in made:
            raise ValueError(
                "'return_std' needs 'ensemble_size' or 'samples' above 1 (got 1 and 0)"
            )
        rating = made.iloc[:, 0] if clip else made['score'].rename(made.columns[0])
        return (rating, made['std']) if return_std else rating

    def recommend(
        self,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        k: int = 10,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        exclude_seen: bool = True,
        samples: int = 0,
    ) -> pd.DataFrame:
        """Recommends the items with the highest scores.

        Args:
            users (pandas.DataFrame or sequence, optional): Ids or a table of users.
            k (int, optional): Items per user. (default: :obj:`10`)
            items (pandas.DataFrame or sequence, optional): Ids of items to choose from,
                or a table of items, which may be new to the fit.
            exclude_seen (bool, optional): Leave out the user's support items.
            samples (int, optional): See :meth:`predict`. (default: :obj:`0`)

        Returns:
            Columns of user, item, predictions (with :obj:`std`, if any) and
            :obj:`rank`, from 1, for users in the given order. A user has fewer than
            :obj:`k` rows if fewer items are left.
            ``ValueError`` names an id that is unknown or repeated.
        """
        is_table = isinstance(items, pd.DataFrame)
        fitted = self.fitted.with_nodes('item', items if is_table else None)
        config = fitted.config
        k = check_argument('k', k, PositiveInt)
        exclude_seen = check_argument('exclude_seen', exclude_seen, bool)
        ids = fitted.ids['item'].values
        rows, choice = np.arange(len(self.users)), np.arange(len(ids))
        if users is not None:
            rows = self._rows(read_distinct(users, 'users', config.user))
        if items is not None:
            items = read_distinct(items, 'items', config.item)
            choice = np.sort(fitted.item_rows(items))
        places, parts = [], []
        nodes = map(torch.from_numpy, (rows, choice))
        for labels in self._blocks(fitted, *nodes, exclude_seen, samples):
            places.append(highest(labels[0], k))
            parts.append(labels.take_along_dim(places[-1][None], dim=2))
        place, labels = torch.cat(places).numpy(), torch.cat(parts, dim=1).numpy()
        task, rank = np.nonzero(labels[0] > -np.inf)
        columns = {
            config.user: self.users.values[rows[task]],
            config.item: ids[choice[place[task, rank]]],
            **fitted.to_columns(labels[:, task, rank]),
            'rank': rank + 1,
        }
        return pd.DataFrame(columns)

    def evaluate(
        self, ratings: pd.DataFrame, items: pd.DataFrame | None = None, k: int = 20
    ) -> dict[str, float]:
        """Evaluates predictions on other ratings or positives of these users.

        Args:
            ratings (pandas.DataFrame): One row per interaction: user, item, rating.
                Positives and ratings in the upper quarter of the range are relevant.
            items (pandas.DataFrame, optional): See :meth:`predict`.
            k (int, optional): Length of the ranked lists. (default: :obj:`20`)

        Returns:
            :obj:`rmse` and :obj:`mae` of ratings, and metrics of rankings of all items
            without the support (:func:`~agnn_pyg.base.metrics.evaluate_rankings`).
            ``ValueError`` names invalid input.
        """
        fitted = self.fitted.with_nodes('item', items)
        config, scale = fitted.config, fitted.scale
        k = check_argument('k', k, PositiveInt)
        metrics = {}
        held = read_ratings(ratings, 'ratings', config)
        held.user.check_rows('there is nothing to compare with')
        index = np.stack([self._rows(held.user), fitted.item_rows(held.item)])
        held = held._replace(index=index)
        known = np.arange(len(self.users)).repeat(self.episodes.size)
        held.warn_of_known((known, self.episodes.item.numpy()), 'the support')
        statistics = fitted.models[0].statistics
        if statistics is not None:
            user, item = map(torch.from_numpy, index)
            held.pair.remark(
                statistics.features(user, item[:, None]).own.any(-1).flatten().numpy(),
                'repeats pairs of the fit in',
                'evaluate on users that were held out from it',
            )
        if config.rating is not None:
            scale.check(held)
            labels = fitted.predict(self.episodes, *index)
            metrics = rating_metrics(scale.to_rating_scale(labels[0]), held.rating)
            index = index[:, scale.is_high(held.rating)]
        every = torch.arange(len(fitted.ids['item']))

        def score_all(users: Tensor) -> Iterator[Tensor]:
            return (labels[0] for labels in self._blocks(fitted, users, every, True, 0))

        index = torch.from_numpy(index)
        return metrics | evaluate_rankings(score_all, index, len(every), k)[0]

    def explain(
        self, user: Hashable, item: Hashable, items: pd.DataFrame | None = None
    ) -> Explanation:
        """Explains the score of an item by the interactions of a user's support.

        The effect of an interaction is the score minus the score without it, exactly;
        effects of similar interactions overlap. For :obj:`items` see :meth:`predict`; a
        column :obj:`title` or :obj:`name` is shown next to ids.
        """
        fitted = self.fitted.with_nodes('item', items)
        config = fitted.config
        row = self._rows(read_distinct([user], 'user', config.user))
        target = fitted.item_rows(read_distinct([item], 'item', config.item))
        mine = self.episodes.select(torch.from_numpy(row))
        count = len(mine.item)
        # Tasks with the full support, with none, and without one interaction each.
        kept = np.vstack([np.ones(count), np.zeros(count), 1 - np.eye(count)]) > 0
        size, place = map(torch.from_numpy, (kept.sum(axis=1), kept.nonzero()[1]))
        parts = mine.user.expand(len(kept)), size, mine.item[place], mine.label[place]
        pairs = np.arange(len(kept)), target.repeat(len(kept))
        labels = fitted.predict(Episodes(*parts, size), *pairs)
        score = fitted.to_columns(labels)['score']
        effect = score[0] - score[2:]
        order = np.argsort(-np.abs(effect), kind='stable')
        ids = fitted.ids['item'].values[mine.item[order]]
        frame = pd.DataFrame({config.item: ids, 'effect': effect[order]})
        frame = with_titles(frame, {config.item: items})
        return Explanation(float(score[0]), float(score[1]), frame)

    def _blocks(
        self, fitted: Fitted, rows: Tensor, choice: Tensor, exclude: bool, samples: int
    ) -> Iterator[Tensor]:
        """Yields labels of items in blocks of users, -inf if excluded, [*, B, n]."""
        step = max(1, min(BLOCK_USERS, BLOCK_PAIRS // len(fitted.ids['item'])))

        def labels(block: Tensor) -> Tensor:
            if len(block) and not samples:
                found = fitted.score_all(pad(self.episodes, block))
                return torch.from_numpy(found)[..., choice]
            pairs = torch.cartesian_prod(block, choice).numpy().T
            found = fitted.predict(self.episodes, *pairs, samples)
            return torch.from_numpy(found).view(len(found), len(block), len(choice))

        progress = {'disable': not fitted.config.progress, 'unit': 'block'}
        blocks = map(labels, tqdm(rows.split(step), **progress))
        if not exclude:
            return blocks
        seen = torch.repeat_interleave(self.episodes.size), self.episodes.item
        return excluded(blocks, torch.stack(seen), rows, choice)

    def _rows(self, ids: IdColumn) -> np.ndarray:
        problem = 'names a user that was not adapted to in'
        remedy = 'add ratings of this user to the support'
        return ids.known_rows(self.users, problem, remedy)
