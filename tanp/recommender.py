"""Recommendations after a few interactions: fit, adapt, predict, recommend, save."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from agnn_pyg.features import AttributeEncoder, Attributes
from agnn_pyg.tables import (
    Columns,
    Ids,
    Settings,
    attribute_columns,
    check_columns,
    check_known,
    naming,
    read_folder,
    read_ids,
    read_rated_pairs,
    where,
    with_constant,
    write_folder,
)
from tanp.adapted import AdaptedUsers
from tanp.episodes import Episodes
from tanp.frames import episodes_to_train
from tanp.loader import EpisodeLoader
from tanp.model import TaNP
from tanp.serialization import load_model, save_model

VERSION = 1
MODEL = 'model.pt'


class TaNPRecommender(Settings):
    r"""Rates and recommends for users of whom a few interactions are known.

    Fitted once on the interactions of many users; then a new user's *support*,
    the few things rated so far, is all it takes. No gradient step is made for
    anyone, and what is predicted for one user does not depend on who else is
    adapted to.

    .. code-block:: python

        recommender = TaNPRecommender().fit(ratings, items)
        today = recommender.adapt(first_ratings_of_new_users)
        today.predict(pairs, samples=64)
        today.recommend(k=10)

    Items are those of the fit: of an item that nobody had rated then, TaNP knows
    the attributes at most. For items that arrive later, and for users without
    any interaction, there is :class:`agnn_pyg.recommender.AGNNRecommender`.

    Args:
        user (str, optional): The column of user ids. (default: :obj:`"user"`)
        item (str, optional): The column of item ids. (default: :obj:`"item"`)
        rating (str, optional): The column of ratings, or of labels 0 and 1.
            (default: :obj:`"rating"`)
        item_attributes (sequence or mapping, optional): Attribute columns of
            items, see :class:`~agnn_pyg.AttributeEncoder`. (default: all but
            those in which most values occur once, such as names)
        min_count (int, optional): Items a value must occur in to have a meaning
            of its own. (default: :obj:`5`)
        support_size (int, optional): The largest support that serving will
            meet; training deals supports of 1 to so many. (default: :obj:`20`)
        max_size (int, optional): Interactions of a user that an epoch reads, at
            most. (default: :obj:`200`)
        likelihood (str, optional): :obj:`"bernoulli"` or :obj:`"gaussian"`.
            (default: the former if all ratings are 0 or 1)
        epochs (int, optional): (default: :obj:`60`)
        batch_size (int, optional): Users a batch. (default: :obj:`64`)
        lr (float, optional): Learning rate. (default: :obj:`3e-3`)
        patience (int, optional): Stop after so many epochs without a better
            validation. (default: :obj:`None`)
        model_options (dict, optional): Further arguments of
            :class:`~tanp.TaNP`. (default: none)
        seed (int, optional): (default: :obj:`0`)
        progress (bool, optional): Show a progress bar. (default: :obj:`False`)
        accelerator (str, optional): Where to train, for Lightning.
            (default: :obj:`"cpu"`)

    Attributes:
        model_: The trained :class:`~tanp.TaNP`.
        items_: The ids of the items.
        rating_range_: Lowest and highest rating of the fit.
        history_: Metrics of every epoch.
    """

    def __init__(
        self,
        user: str = 'user',
        item: str = 'item',
        rating: str = 'rating',
        item_attributes: Columns | None = None,
        min_count: int = 5,
        support_size: int = 20,
        max_size: int = 200,
        likelihood: str | None = None,
        epochs: int = 60,
        batch_size: int = 64,
        lr: float = 3e-3,
        patience: int | None = None,
        model_options: dict[str, Any] | None = None,
        seed: int = 0,
        progress: bool = False,
        accelerator: str = 'cpu',
    ) -> None:
        self.user, self.item, self.rating = user, item, rating
        self.item_attributes, self.min_count = item_attributes, min_count
        self.support_size, self.max_size = support_size, max_size
        self.likelihood, self.model_options = likelihood, model_options
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.patience, self.seed = patience, seed
        self.progress, self.accelerator = progress, accelerator

    def fit(
        self,
        ratings: pd.DataFrame,
        items: pd.DataFrame | None = None,
        validation: pd.DataFrame | None = None,
    ) -> TaNPRecommender:
        """Trains on the interactions of many users.

        Args:
            ratings (pandas.DataFrame): A row an interaction: user, item, rating.
            items (pandas.DataFrame, optional): A row an item, id and attributes.
            validation (pandas.DataFrame, optional): Interactions of further
                users, to select the epoch on; the last one is kept without.

        Raises:
            ValueError: If a table is unfit; the message says which row, and how
                to mend it.
        """
        from tanp.train import TaskModule, fit

        label = self._labels(ratings, 'ratings')
        ids, attributes = self._items(ratings, items)
        likelihood = self.likelihood
        if likelihood is None:
            likelihood = 'bernoulli' if set(label) <= {0, 1} else 'gaussian'
        # A Gaussian decoder need not learn where the middle of the scale is.
        centre = 0.0 if likelihood == 'bernoulli' else float(label.mean())
        loaders = [
            EpisodeLoader(
                self._episodes(ratings, 'ratings', ids, label - centre),
                self.batch_size,
                context_sizes=(1, self.support_size),
                shuffle=True,
                seed=self.seed,
            )
        ]
        if validation is not None and len(validation):
            other = self._labels(validation, 'validation') - centre
            episodes = self._episodes(validation, 'validation', ids, other)
            loaders.append(EpisodeLoader(episodes, self.batch_size))
        torch.manual_seed(self.seed)
        options = self.model_options or {}
        model = TaNP(
            len(ids), item_attributes=attributes, likelihood=likelihood, **options
        )
        result = fit(
            TaskModule(
                model, lr=self.lr, relevant=0.5 if centre == 0 else 0.0, seed=self.seed
            ),
            *loaders,
            epochs=self.epochs,
            patience=self.patience if len(loaders) > 1 else None,
            progress=self.progress,
            accelerator=self.accelerator,
        )
        self.model_, self.items_, self.centre_ = model.eval(), ids, centre
        self.rating_range_ = float(label.min()), float(label.max())
        self.history_, self.best_epoch_ = result.history, result.best_epoch
        return self

    def adapt(self, support: pd.DataFrame) -> AdaptedUsers:
        """Takes in what users have rated so far; nothing is trained.

        Args:
            support (pandas.DataFrame): A row an interaction: user, item, rating.
                Users of the fit may be among them; only these rows count.

        Raises:
            ValueError: If the fit does not know an item, or the table is unfit.
        """
        self._check_fitted()
        label = self._labels(support, 'support')
        if not len(label):
            raise ValueError(
                "'support' has no rows; adapting needs an interaction of each user"
            )
        kind, values = read_ids(support, self.user, 'support')
        users = Ids.distinct(kind, values)
        return AdaptedUsers(
            self,
            users,
            users.rows(support, self.user, 'support'),
            self._item_rows(support, 'support'),
            label - self.centre_,
        )

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
            'items': self.items_.to_dict(),
            'centre': self.centre_,
            'rating_range': self.rating_range_,
            'history': self.history_,
            'best_epoch': self.best_epoch_,
        }
        write_folder(
            path,
            type(self).__name__,
            VERSION,
            config,
            lambda folder: save_model(self.model_, folder / MODEL),
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> TaNPRecommender:
        """Reads what :meth:`save` wrote; nothing of it is executed.

        Raises:
            ValueError: If it is something else, damaged, or of another version.
        """
        config = read_folder(path, cls.__name__, VERSION)
        try:
            made = cls(**config['settings'])
            made.items_ = Ids.from_dict(config['items'])
            made.centre_ = config['centre']
            made.rating_range_ = tuple(config['rating_range'])
            made.history_ = config['history']
            made.best_epoch_ = config['best_epoch']
            made.model_ = load_model(Path(path) / MODEL).eval()
        except Exception as error:
            raise ValueError(f"'{path}' is damaged ({error!r})") from error
        return made

    def _labels(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        return read_rated_pairs(frame, name, self.user, self.item, self.rating)

    def _items(
        self, ratings: pd.DataFrame, items: pd.DataFrame | None
    ) -> tuple[Ids, Attributes | None]:
        """The ids of all items and their attributes, if there are any."""
        if items is None:
            return Ids.distinct(*read_ids(ratings, self.item, 'ratings')), None
        check_columns(items, 'items', [self.item])
        ids = Ids(*read_ids(items, self.item, 'items', distinct=True))
        columns = attribute_columns(items, 'items', self.item, self.item_attributes)
        with naming('items'):
            encoder = AttributeEncoder(columns, self.min_count)
            return ids, encoder.fit_transform(with_constant(items))

    def _episodes(
        self, frame: pd.DataFrame, name: str, ids: Ids, label: np.ndarray
    ) -> Episodes:
        user = pd.factorize(read_ids(frame, self.user, name)[1])[0]
        item = ids.rows(frame, self.item, name)
        check_known(frame, item, self.item, name, 'items')
        options = {'support_size': self.support_size, 'max_size': self.max_size}
        episodes = episodes_to_train(user, item, label, seed=self.seed, **options)
        if not len(episodes):
            raise ValueError(
                f"'{name}' has no user with two interactions, one to adapt to and one "
                f'to predict'
            )
        return episodes

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
