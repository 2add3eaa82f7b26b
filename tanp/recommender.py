"""Recommendations after a few interactions: fit, adapt, predict, recommend, save."""

from __future__ import annotations

import copy
import dataclasses
import os
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agnn_pyg.base.checks import TableColumn, check_columns
from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.config import Estimator
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.frames import RatingScale, read_new_nodes, read_ratings
from agnn_pyg.base.store import read_store, write_store
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary
from tanp.adapted import AdaptedUsers
from tanp.catalogue import Catalogue
from tanp.config import PUBLISHED, TaNPRecommenderConfig
from tanp.episodes import Episodes
from tanp.fitting import ModelParts, Validation, fit_models
from tanp.item_statistics import ItemStatistics
from tanp.model import TaNP

VERSION = 7
# Fitted attributes that are plain data.
PLAIN = ('has_users_', 'history_', 'best_epoch_')


class TaNPRecommender(Estimator):
    r"""Rates and recommends for users of whom a few interactions are known.

    It is fitted once, on the interactions of many users. A new user then needs a
    *support*, the few items that it has rated so far. There is no gradient step for new
    users, and the predictions for one user do not depend on the others.

    .. code-block:: python

        recommender = TaNPRecommender(ensemble_size=3).fit(ratings, items=items)
        today = recommender.adapt(first_ratings_of_new_users)
        today.predict(pairs)
        today.recommend(k=10)

    With :obj:`rating=None` each row is a positive interaction. Items that arrive after
    the fit are known by their attributes. For users without any interaction, there is
    :class:`agnn_pyg.AGNNRecommender`.

    Attributes:
        models_: The trained models, one a member of the ensemble.
        vocabularies_: Ids of the fit by side, :obj:`"user"` and :obj:`"item"`.
        rating_scale_: The scale of ratings; labels 0 and 1 stay as they are.
        history_: Metrics of every epoch, of the first model.
        best_epoch_: Its epoch that was kept, from 0.
    """

    Config = TaNPRecommenderConfig

    @classmethod
    def as_published(cls, **changes: Any) -> TaNPRecommender:
        """The model of the paper with the settings and errors of its published code."""
        return cls(**PUBLISHED | changes)

    def fit(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
        validation: Validation | None = None,
    ) -> TaNPRecommender:
        """Trains on the interactions of many users.

        Args:
            ratings (pandas.DataFrame): A row an interaction: user, item, rating.
            users (pandas.DataFrame, optional): A row a user, id and attributes; of
                all users in the other tables.
            items (pandas.DataFrame, optional): Likewise of items.
            validation (pandas.DataFrame or tuple, optional): Interactions of other
                users, to select the epoch on: a table, half of each user being its
                support, or tables of supports and queries. Without, the last epoch is
                kept.

        ``ValueError`` names what is unfit of a table or a setting, and what to change.
        """
        return self._set(fit_models(self.config, (ratings, users, items), validation))

    def adapt(
        self, support: pd.DataFrame, users: pd.DataFrame | None = None
    ) -> AdaptedUsers:
        """Reads what users have rated so far; nothing is trained.

        Args:
            support (pandas.DataFrame): A row an interaction: user, item, rating. Of
                users of the fit, only these rows count: what the fit has read of them
                is left out.
            users (pandas.DataFrame, optional): Attributes of new users, if the fit had
                any; or ids alone, of which all attributes are missing.

        ``ValueError`` names an unknown item, or a rating of another scale.
        """
        self._check_fitted()
        ratings = read_ratings(support, 'support', self.config)
        ratings.check_rows('adapting needs an interaction of each user')
        # The column may have been renamed since the fit.
        column = TableColumn(support, self.rating, 'support')
        label = self.parts_.to_labels(column, ratings.rating)
        known, ids = self.vocabularies_['user'], Vocabulary.from_ids(ratings.user)
        # Ids of another type are refused: all users would be new.
        rows, user = known.rows(ratings.user), ids.rows(ratings.user)
        # Rows of new users follow those of the fit.
        row = np.arange(len(ids)) + len(known)
        row[user[rows >= 0]] = rows[rows >= 0]
        bags = self._new_attributes(ratings.user, ids, row, users)
        vectors = [self._embed_users(model, row, bags) for model in self.models_]
        item = self._item_rows(ratings.item, is_support=True)
        histories = user, item, label
        nothing = [value[:0] for value in histories]
        episodes = Episodes.from_parts(np.arange(len(ids)), histories, nothing)
        # As it is now: it may be fitted again.
        fitted = object.__new__(type(self))
        vars(fitted).update(vars(self))
        return AdaptedUsers(fitted, ids, torch.from_numpy(row), episodes, vectors)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a folder, new or saved before; ``ValueError`` for any other."""
        self._check_fitted()
        parts, encoders = self.parts_, self.encoders_
        statistics = self.models_[0].statistics
        config = {
            'settings': self.config.model_dump(mode='json'),
            'config': parts.config.model_dump(mode='json'),
            'likelihood': parts.likelihood,
            'scale': dataclasses.asdict(parts.scale),
            'ids': {side: ids.to_dict() for side, ids in parts.ids.items()},
            'encoders': {s: e and e.to_dict() for s, e in encoders.items()},
            'statistics': statistics and statistics.plain(),
            'plain': {name: getattr(self, name) for name in PLAIN},
        }
        # Tensors that members share are written once.
        tensors = {
            str(number): {
                'model': model.state_dict(),
                'statistics': model.statistics.state_dict() if statistics else {},
            }
            for number, model in enumerate(self.models_)
        }
        write_store(path, type(self).__name__, VERSION, config, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike) -> TaNPRecommender:
        """Reads what :meth:`save` wrote, or raises ``ValueError``; executes nothing."""
        stored, tensors = read_store(path, cls.__name__, VERSION)
        try:
            scale, encoders = RatingScale(**stored['scale']), stored['encoders']
            parts = ModelParts(
                cls.Config(**stored['config']),
                stored['likelihood'],
                scale,
                {side: Vocabulary.from_dict(v) for side, v in stored['ids'].items()},
                {side: _bags(side, tensors['0']['model']) for side in stored['ids']},
            )
            models, plain = [], stored['statistics']
            for member in tensors.values():
                statistics = plain and ItemStatistics(**plain, **member['statistics'])
                models.append(parts.build(statistics).eval())
                models[-1].load_state_dict(member['model'])
            read = AttributeEncoder.from_dict
            encoders = {side: e and read(e) for side, e in encoders.items()}
            fitted = {'models_': models, 'parts_': parts, 'encoders_': encoders}
            settings = dict(cls.Config(**stored['settings']))
            return cls(**settings)._set(fitted | stored['plain'])
        except Exception as error:
            raise ValueError(f"'{path}' is damaged ({error!r})") from error

    @property
    def vocabularies_(self) -> dict[str, Vocabulary]:
        self._check_fitted()
        return self.parts_.ids

    @property
    def rating_scale_(self) -> RatingScale:
        self._check_fitted()
        return self.parts_.scale

    @property
    def column_encoders_(self) -> list[ColumnEncoder]:
        """The attributes of users and items that the fit knows."""
        self._check_fitted()
        fitted = filter(None, self.encoders_.values())
        return [column for encoder in fitted for column in encoder.column_encoders]

    def _catalogue(self, number: int) -> Catalogue:
        # Made once, also for adapted users.
        if number not in self._catalogues:
            self._catalogues[number] = Catalogue(self.models_[number])
        return self._catalogues[number]

    def __getstate__(self) -> dict[str, Any]:
        # What is computed from the models is not pickled beside them.
        return vars(self) | {'_catalogues': {}}

    def _set(self, fitted: dict[str, Any]) -> TaNPRecommender:
        vars(self).update(fitted, _catalogues={})
        return self

    def _check_fitted(self) -> None:
        if not hasattr(self, 'models_'):
            raise ValueError("Call 'fit' first, or 'load' a recommender")

    def _new_attributes(
        self, support: IdColumn, ids: Vocabulary, row: np.ndarray, users: Any
    ) -> TokenBags | None:
        """Attributes of new users, and anything for known ones."""
        if users is not None and not self.has_users_:
            raise ValueError(
                "'users' was not given to 'fit', so attributes mean nothing; leave it "
                'out, or fit again with the attributes of all users'
            )
        known = self.vocabularies_['user']
        is_new = row >= len(known)
        encoder = self.encoders_['user']
        if encoder is None or not is_new.any():
            return None
        found = read_new_nodes(users, 'user', self.config, known, [encoder])
        values, (bags,) = found or (ids.values[:0], [None])
        place = np.where(is_new, pd.Index(values).get_indexer(ids.values), 0)
        support.check_known(place[ids.rows(support)], 'users')
        return bags.take(torch.from_numpy(place))

    @torch.no_grad()
    def _embed_users(self, model: TaNP, row: np.ndarray, bags: Any) -> Tensor | None:
        """Vectors of adapted users, if users have any."""
        if model.user is None:
            return None
        row = torch.from_numpy(row)
        is_known = row < len(self.vocabularies_['user'])
        vectors = model.user.embed_new(bags, len(row))
        vectors[is_known] = model.user(row[is_known])
        return vectors

    def _with_items(self, items: Any) -> TaNPRecommender:
        """This recommender with the new items of a table, as far as it has any."""
        known, encoder = self.vocabularies_['item'], self.encoders_['item']
        if items is not None:
            check_columns(items, 'items', [self.item])
        if encoder is None or items is None:
            return self
        found = read_new_nodes(items, 'item', self.config, known, [encoder])
        if found is None:
            return self
        made, (values, (bags,)) = copy.copy(self), found
        ids = self.parts_.ids | {'item': known.append(values)}
        made.parts_ = dataclasses.replace(self.parts_, ids=ids)
        made.models_ = [model.with_items(bags) for model in self.models_]
        return made

    def _item_rows(self, ids: IdColumn, is_support: bool = False) -> np.ndarray:
        remedy = 'drop the row'
        if not is_support and self.encoders_['item'] is None:
            remedy += ", or fit with a table 'items' of attributes"
        elif not is_support:
            remedy += ", or give a table 'items' with attributes of it"
        rows = self.vocabularies_['item'].rows(ids)
        ids.refuse(rows < 0, 'names an item that the fit does not know in', remedy)
        return rows


def _bags(side: str, state: dict[str, Tensor]) -> TokenBags | None:
    """The attributes of a side in the state of a model, if it has any."""
    if f'{side}.token' not in state:
        return None
    is_value = torch.ones(len(state[f'{side}.token_weight']), dtype=torch.bool)
    return TokenBags(state[f'{side}.token'], state[f'{side}.token_count'], is_value)
