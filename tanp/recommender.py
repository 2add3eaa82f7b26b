"""Recommendations after a few interactions: fit, adapt, predict, recommend, save."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.config import Estimator
from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.base.frames import (
    Ratings,
    RatingScale,
    read_new_nodes,
    read_ratings,
)
from agnn_pyg.base.store import read_store, write_store
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary
from tanp.adapted import AdaptedUsers, Scorers
from tanp.config import TaNPRecommenderConfig
from tanp.fitting import check_range, fit_frames
from tanp.inputs import with_users
from tanp.model import TaNP
from tanp.serialization import build_model

VERSION = 5


class TaNPRecommender(Estimator):
    r"""Rates and recommends for users of whom a few interactions are known.

    Fitted once on the interactions of many users; then a new user's *support*,
    the few things rated so far, is all it takes. No gradient step is made for
    anyone, and what is predicted for one user does not depend on who else is
    adapted to.

    .. code-block:: python

        recommender = TaNPRecommender(members=3).fit(ratings, items=items)
        today = recommender.adapt(first_ratings_of_new_users)
        today.predict(pairs)
        today.recommend(k=10)

    Items are those of the fit: of an item that nobody had rated then, TaNP knows
    the attributes at most. For items that arrive later, and for users without
    any interaction, there is :class:`agnn_pyg.recommender.AGNNRecommender`.

    Attributes:
        models_: The trained :class:`~tanp.TaNP`, one a member.
        model_: The first of them.
        users_: The ids of the users.
        items_: The ids of the items.
        rating_scale_: The scale of the ratings of the fit, from the lowest to the
            highest; for likelihood :obj:`"bernoulli"` from 0 to 1.
        history_: Metrics of every epoch, of the first member.
        best_epoch_: The epoch that was kept of it, from 0.
    """

    Config = TaNPRecommenderConfig

    def fit(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
        validation: pd.DataFrame | None = None,
    ) -> TaNPRecommender:
        """Trains on the interactions of many users.

        Args:
            ratings (pandas.DataFrame): A row an interaction: user, item, rating.
            users (pandas.DataFrame, optional): A row a user, id and attributes; of
                all users in the other tables. Then users to adapt to need one, too.
            items (pandas.DataFrame, optional): Likewise of items.
            validation (pandas.DataFrame, optional): Interactions of further
                users, to select the epoch on; the last one is kept without.

        Raises:
            ValueError: If a table or a setting is unfit; the message says which row
                or which value, and how to mend it.
        """
        fitted = fit_frames(self.config, ratings, users, items, validation)
        self._hold(fitted.models)
        self.users_, self.items_ = fitted.users.ids, fitted.items.ids
        self.user_encoder_ = fitted.users.encoder
        self.rating_scale_ = fitted.scale
        self.history_, self.best_epoch_ = fitted.history, fitted.best_epoch
        return self

    def adapt(
        self, support: pd.DataFrame, users: pd.DataFrame | None = None
    ) -> AdaptedUsers:
        """Takes in what users have rated so far; nothing is trained.

        Args:
            support (pandas.DataFrame): A row an interaction: user, item, rating.
                Users of the fit may be among them: then only these rows count for
                them, and what the fit has read of them is left out.
            users (pandas.DataFrame, optional): Attributes of users that the fit has
                not seen, if it was given any, or ids alone, of which all attributes
                are missing then. Rows of known users are ignored.

        Raises:
            ValueError: If the fit does not know an item, a rating lies outside
                :attr:`rating_scale_`, ids of users are not of the type of those of
                the fit, or a table is unfit.
        """
        self._check_fitted()
        config, scale = self.config, self.rating_scale_
        ratings = read_ratings(support, 'support', config)
        if not len(ratings.rating):
            raise ValueError(
                "'support' has no rows; adapting needs an interaction of each user"
            )
        # Ids of another type are refused: all users would be new.
        rows = self.users_.rows(ratings.user)
        ids = Vocabulary.from_ids(ratings.user)
        user = ids.rows(ratings.user)
        # Rows of new users follow those of the fit.
        row = np.arange(len(ids)) + len(self.users_)
        row[user[rows >= 0]] = rows[rows >= 0]
        models = self._models(ratings, user, ids, row, users)
        item = self._item_rows(ratings.item)
        check_range(
            support,
            'support',
            config.rating,
            ratings.rating,
            (scale.low, scale.high),
            'of the fit',
        )
        label = scale.to_unit_scale(ratings.rating)
        return AdaptedUsers(self, models, ids, row, (user, item, label))

    def save(self, path: str | os.PathLike) -> None:
        """Writes a folder: plain data as JSON, the model beside it.

        Args:
            path (path): The folder, new or of a recommender saved before.

        Raises:
            ValueError: If something else is in its place.
        """
        self._check_fitted()
        config = {
            'settings': self.config.model_dump(mode='json', exclude_unset=True),
            'users': self.users_.to_dict(),
            'items': self.items_.to_dict(),
            'user_encoder': self.user_encoder_ and self.user_encoder_.to_dict(),
            'models': [model.config for model in self.models_],
            'rating_scale': dataclasses.asdict(self.rating_scale_),
            'history': self.history_,
            'best_epoch': self.best_epoch_,
        }
        # Tensors that models have in common are written once.
        states = {str(n): model.state_dict() for n, model in enumerate(self.models_)}
        write_store(path, type(self).__name__, VERSION, config, states)

    @classmethod
    def load(cls, path: str | os.PathLike) -> TaNPRecommender:
        """Reads what :meth:`save` wrote; nothing of it is executed.

        Raises:
            ValueError: If it is something else, damaged, or of another version.
        """
        config, states = read_store(path, cls.__name__, VERSION)
        try:
            made = cls.from_dict(config['settings'])
            made.users_ = Vocabulary.from_dict(config['users'])
            made.items_ = Vocabulary.from_dict(config['items'])
            encoder = config['user_encoder']
            made.user_encoder_ = encoder and AttributeEncoder.from_dict(encoder)
            made.rating_scale_ = RatingScale(**config['rating_scale'])
            made.history_ = config['history']
            made.best_epoch_ = config['best_epoch']
            models = zip(config['models'], states.values(), strict=True)
            made._hold(_built(models))
        except Exception as error:
            raise ValueError(f"'{path}' is damaged ({error!r})") from error
        return made

    @property
    def vocabularies_(self) -> dict[str, Vocabulary]:
        """The ids of the fit by side, :obj:`"user"` and :obj:`"item"`."""
        return {'user': self.users_, 'item': self.items_}

    @property
    def column_encoders_(self) -> list[ColumnEncoder]:
        """What the fit knows of the attributes of users, if there were any."""
        return self.user_encoder_.column_encoders if self.user_encoder_ else []

    def _hold(self, models: list[TaNP]) -> None:
        self.models_, self.model_ = models, models[0]
        self._scorers = Scorers(models)

    def _models(
        self,
        support: Ratings,
        user: np.ndarray,
        ids: Vocabulary,
        row: np.ndarray,
        users: pd.DataFrame | None,
    ) -> list[TaNP]:
        """The models, with the attributes of users that the fit has not seen."""
        if self.user_encoder_ is None:
            if users is not None:
                raise ValueError(
                    "'users' was not given to 'fit', so attributes mean nothing; leave "
                    'it out, or fit again with the attributes of all users'
                )
            return self.models_
        new = row >= len(self.users_)
        if not new.any():
            return self.models_
        encoders = [self.user_encoder_]
        found = read_new_nodes(users, 'user', self.config, self.users_, encoders)
        values, (attributes,) = found or (ids.values[:0], [None])
        # Rows of known users are not read.
        place = np.where(new, pd.Index(values).get_indexer(ids.values), 0)
        support.user.check_known(place[user], 'users')
        attributes = attributes.take(torch.from_numpy(place))
        return [with_users(model, attributes) for model in self.models_]

    def _item_rows(self, ids: IdColumn) -> np.ndarray:
        rows = self.items_.rows(ids)
        ids.refuse(
            rows < 0,
            'names an item that the fit does not know in',
            "drop the row, or fit again with the item in 'items'",
        )
        return rows

    def _check_fitted(self) -> None:
        if not hasattr(self, 'model_'):
            raise ValueError("Call 'fit' first, or 'load' a recommender")


def _built(saved: Iterable[tuple[dict, dict]]) -> list[TaNP]:
    models = []
    for config, state in saved:
        models.append(build_model(config, state).eval())
        statistics = models[-1].inputs.statistics
        if statistics is not None:
            # Counts of all pairs of items are as large as they are equal.
            statistics.share(models[0].inputs.statistics)
    return models
