"""Recommendations after a few interactions: fit, adapt, predict, recommend, save."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pandas as pd
import torch

from agnn_pyg.base.checks import check_columns
from agnn_pyg.base.frames import read_ratings
from agnn_pyg.base.nodes import warn_of_bare
from agnn_pyg.base.recommender import Recommender
from agnn_pyg.base.vocabulary import Vocabulary
from tanp.adapted import AdaptedUsers
from tanp.config import PUBLISHED, TaNPRecommenderConfig
from tanp.episodes import Episodes
from tanp.fitting import Fitted, Validation, fit_models
from tanp.model import NeuralProcess


class TaNPRecommender(Recommender):
    r"""Rates and recommends for users of whom a few interactions are known.

    It is fitted once, on the interactions of many users. A new user then needs a
    *support*, the few items that it has rated so far. There is no gradient step for new
    users, and the predictions for one user do not depend on the others.

    .. code-block:: python

        recommender = TaNPRecommender(ensemble_size=3).fit(ratings, items=items)
        today = recommender.adapt(first_ratings_of_new_users)
        today.predict(pairs)
        today.recommend(k=10)

    With :obj:`rating=None` each row is a positive interaction. Items that nobody has
    interacted with, such as those that arrive after the fit, are read by their
    attributes, and AttentiveTaNP takes statistics of the items most like them, see
    :meth:`~tanp.ItemStatistics.with_unseen`. For users without any interaction, there
    is :class:`agnn_pyg.AGNNRecommender`.

    Attributes:
        models_: The trained models, one a member of the ensemble.
        vocabularies_: Ids of the fit by side, :obj:`"user"` and :obj:`"item"`.
        rating_scale_: The scale of ratings; labels 0 and 1 stay as they are.
        history_: Metrics of every epoch, of the first model.
        best_epoch_: Its epoch that was kept, from 0.
    """

    Config = TaNPRecommenderConfig
    Fitted = Fitted
    VERSION = 13
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
            ratings (pandas.DataFrame): A row an interaction: user, item, rating.
            users (pandas.DataFrame, optional): A row a user, id and attributes; of
                all users in the other tables.
            items (pandas.DataFrame, optional): Likewise of items.
            validation (pandas.DataFrame or tuple, optional): Interactions of other
                users, to select the epoch on: a table, half of each user being its
                support, or tables of supports and queries. Without, the last is kept.

        ``ValueError`` names what is unfit of a table or a setting, and what to change.
        """
        made, result = fit_models(self.config, validation, ratings, users, items)
        self._fitted_ = made
        self.history_ = result.history
        self.best_epoch_ = result.best_epoch
        return self

    def adapt(
        self,
        support: pd.DataFrame,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        name: str = 'support',
    ) -> AdaptedUsers:
        """Reads what users have rated so far; nothing is trained.

        Args:
            support (pandas.DataFrame): A row an interaction: user, item, rating. Of
                users of the fit these rows alone count, not what the fit has read.
            users (pandas.DataFrame or sequence, optional): Attributes of new users, if
                the fit had any. They are missing of ids alone, a table or a list, and
                without, with a warning.
            name (str, optional): What error texts call the table.
                (default: :obj:`"support"`)

        ``ValueError`` names an unknown item, or a rating of another scale.
        """
        config, fitted = self._served()
        fitted = replace(fitted, config=config)
        ratings = read_ratings(support, name, config)
        ratings.check_rows('adapting needs an interaction of each user')
        label = fitted.to_labels(ratings)
        ids = Vocabulary.from_ids(ratings.user)
        # Ids of another type are refused: all users would be new.
        rows, user = fitted.ids['user'].rows(ratings.user), ids.rows(ratings.user)
        if users is not None and not fitted.has_users:
            raise ValueError(
                "'users' was not given to 'fit', so attributes mean nothing; leave it "
                'out, or fit again with the attributes of all users'
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
        """Adapts to the first half of each user's rows, and compares with the others.

        Of an odd number, the larger part is adapted to.

        Tables of :obj:`users` are those of :meth:`adapt`; for all else see
        :meth:`AdaptedUsers.evaluate <tanp.adapted.AdaptedUsers.evaluate>`.
        ``ValueError`` if no user has two rows.
        """
        check_columns(ratings, 'ratings', [self.user])
        by_user = ratings.groupby(self.user)[self.user]
        first = 2 * by_user.cumcount() < by_user.transform('size')
        if len(ratings) and first.all():
            raise ValueError(
                "'ratings' must have a user with two rows, half of them a support and "
                'half a query (got one row of each user); give more rows of the same '
                "users, or 'adapt' to a support and 'evaluate' what that returns"
            )
        adapted = self.adapt(ratings[first], users, 'ratings')
        return adapted.evaluate(ratings[~first], items, k)

    def __getattr__(self, name: str) -> NoReturn:
        hint = ''
        if name in ('predict', 'recommend', 'explain'):
            hint = f", but what 'adapt(first_ratings)' returns has '{name}'"
        text = f"'{type(self).__name__}' has no attribute '{name}'{hint}"
        raise AttributeError(text, name=name, obj=self)

    @property
    def models_(self) -> list[NeuralProcess]:
        return self._served()[1].models
