"""Recommendations after a few interactions: fit, adapt, predict, recommend, save."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.base.attributes import Columns, naming, with_constant, with_missing
from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.base.frames import check_columns, check_known, where
from agnn_pyg.base.settings import Settings
from agnn_pyg.base.store import read_store, write_store
from agnn_pyg.base.vocabulary import Vocabulary, read_ids, read_rated_pairs
from tanp.adapted import AdaptedUsers, Scorers
from tanp.fitting import check_range, fit_frames
from tanp.inputs import with_users
from tanp.model import TaNP
from tanp.serialization import build_model
from tanp.setting_rules import check_serving

VERSION = 4


class TaNPRecommender(Settings):
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

    Args:
        user (str, optional): The column of user ids. (default: :obj:`"user"`)
        item (str, optional): The column of item ids. (default: :obj:`"item"`)
        rating (str, optional): The column of ratings, or of labels 0 and 1.
            (default: :obj:`"rating"`)
        user_attributes (sequence or mapping, optional): Attribute columns of
            users, see :class:`~agnn_pyg.AttributeEncoder`. (default: all but
            those in which most values occur once, such as names)
        item_attributes (sequence or mapping, optional): Likewise of items.
        min_count (int, optional): Rated users or items a value must occur in to
            have a meaning of its own. (default: :obj:`5`)
        support_size (int, optional): The largest support that serving will
            meet; training deals supports of 1 to so many. (default: :obj:`20`)
        max_size (int, optional): Interactions of a user that an epoch reads, at
            most, drawn anew every epoch. Statistics are of all interactions; users
            with fewer than five are not trained on, unless most have fewer.
            (default: :obj:`200`)
        likelihood (str, optional): :obj:`"bernoulli"` or :obj:`"gaussian"`.
            (default: the former if all ratings are 0 or 1)
        statistics (bool, optional): Tell the model what other users say of items,
            see :class:`~tanp.InteractionStatistics`, and read it with attention: the
            benchmarks' choice. Without, a model reads ids and attributes alone.
            (default: :obj:`True`)
        members (int, optional): Models, of different seeds, to average; two or more
            give predictions a spread. (default: :obj:`1`)
        epochs (int, optional): (default: :obj:`30`)
        batch_size (int, optional): Users a batch. (default: :obj:`64`)
        lr (float, optional): Learning rate. (default: :obj:`3e-3`)
        weight_decay (float, optional): (default: :obj:`1e-4`)
        ema_decay (float, optional): Of the moving average of the weights that is
            kept. (default: :obj:`0.98`)
        patience (int, optional): Stop after so many epochs without a better
            validation, which a fit then needs. (default: :obj:`None`)
        model_options (dict, optional): Further arguments of
            :class:`~tanp.TaNP`, instead of those chosen. (default: none)
        seed (int, optional): (default: :obj:`0`)
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)
        accelerator (str, optional): Where to train, for Lightning.
            (default: :obj:`"cpu"`)

    Attributes:
        models_: The trained :class:`~tanp.TaNP`, one a member.
        model_: The first of them.
        users_: The ids of the users.
        items_: The ids of the items.
        rating_range_: Lowest and highest rating of the fit; for likelihood
            :obj:`"bernoulli"` 0 and 1.
        history_: Metrics of every epoch, of the first member.
        best_epoch_: The epoch that was kept of it, from 0.
    """

    def __init__(
        self,
        user: str = 'user',
        item: str = 'item',
        rating: str = 'rating',
        user_attributes: Columns | None = None,
        item_attributes: Columns | None = None,
        min_count: int = 5,
        support_size: int = 20,
        max_size: int = 200,
        likelihood: str | None = None,
        statistics: bool = True,
        members: int = 1,
        epochs: int = 30,
        batch_size: int = 64,
        lr: float = 3e-3,
        weight_decay: float = 1e-4,
        ema_decay: float | None = 0.98,
        patience: int | None = None,
        model_options: dict[str, Any] | None = None,
        seed: int = 0,
        progress: bool = False,
        accelerator: str = 'cpu',
    ) -> None:
        self.user, self.item, self.rating = user, item, rating
        self.user_attributes, self.item_attributes = user_attributes, item_attributes
        self.min_count = min_count
        self.support_size, self.max_size = support_size, max_size
        self.likelihood, self.model_options = likelihood, model_options
        self.statistics, self.members = statistics, members
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.weight_decay, self.ema_decay = weight_decay, ema_decay
        self.patience, self.seed = patience, seed
        self.progress, self.accelerator = progress, accelerator

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
        fitted = fit_frames(self, ratings, users, items, validation)
        self._hold(fitted.models)
        self.users_, self.items_ = fitted.users.ids, fitted.items.ids
        self.user_encoder_ = fitted.users.encoder
        self.centre_, self.unit_ = fitted.centre, fitted.unit
        self.rating_range_ = fitted.rating_range
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
                :attr:`rating_range_`, ids of users are not of the fit's kind, or a
                table is unfit.
        """
        self._check_fitted()
        check_serving(self)
        label = self._labels(support, 'support')
        if not len(label):
            raise ValueError(
                "'support' has no rows; adapting needs an interaction of each user"
            )
        # Ids of another kind are refused: all users would be strangers.
        rows = self.users_.rows(support, self.user, 'support')
        ids = Vocabulary.distinct(*read_ids(support, self.user, 'support'))
        user = ids.rows(support, self.user, 'support')
        # Rows of strangers follow those of the fit.
        row = np.arange(len(ids)) + len(self.users_)
        row[user[rows >= 0]] = rows[rows >= 0]
        models = self._models(support, user, ids, row, users)
        item = self._item_rows(support, 'support')
        check_range(
            support, 'support', self.rating, label, self.rating_range_, 'of the fit'
        )
        label = (label - self.centre_) / self.unit_
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
            'settings': self.get_params(),
            'users': self.users_.to_dict(),
            'items': self.items_.to_dict(),
            'user_encoder': self.user_encoder_ and self.user_encoder_.to_dict(),
            'models': [model.config for model in self.models_],
            'centre': self.centre_,
            'unit': self.unit_,
            'rating_range': self.rating_range_,
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
            made = cls(**config['settings'])
            made.users_ = Vocabulary.from_dict(config['users'])
            made.items_ = Vocabulary.from_dict(config['items'])
            encoder = config['user_encoder']
            made.user_encoder_ = encoder and AttributeEncoder.from_dict(encoder)
            made.centre_, made.unit_ = config['centre'], config['unit']
            made.rating_range_ = tuple(config['rating_range'])
            made.history_ = config['history']
            made.best_epoch_ = config['best_epoch']
            models = zip(config['models'], states.values(), strict=True)
            made._hold(_built(models))
        except Exception as error:
            raise ValueError(f"'{path}' is damaged ({error!r})") from error
        return made

    def _hold(self, models: list[TaNP]) -> None:
        self.models_, self.model_ = models, models[0]
        self._scorers = Scorers(models)

    def _labels(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        return read_rated_pairs(frame, name, self.user, self.item, self.rating)

    def _models(
        self,
        support: pd.DataFrame,
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
        table = support[[self.user]].iloc[:0] if users is None else users
        check_columns(table, 'users', [self.user])
        self.users_.rows(table, self.user, 'users')  # refuses another kind
        _, known = read_ids(table, self.user, 'users', distinct=True)
        # Rows of known users are not read.
        place = np.where(new, pd.Index(known).get_indexer(ids.values), 0)
        check_known(support, place[user], self.user, 'support', 'users')
        columns = [field.column for field in self.user_encoder_.fields]
        frame = with_constant(with_missing(table, self.user, columns)).iloc[place]
        with naming('users'):
            attributes = self.user_encoder_.transform(frame)
        return [with_users(model, attributes) for model in self.models_]

    def _item_rows(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        rows = self.items_.rows(frame, self.item, name)
        if (rows < 0).any():
            raise ValueError(
                f"'{name}' names an item that the fit does not know, in "
                f'{where(frame, rows < 0, self.item)}; drop the row, or fit again with '
                f"the item in 'items'"
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
