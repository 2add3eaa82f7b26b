"""Recommendations from three tables: fit, predict, recommend, explain, save."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.archive import load_recommender, save_recommender
from agnn_pyg.base.attributes import Columns
from agnn_pyg.base.frames import table_of, where
from agnn_pyg.base.rules import check_rule, whole
from agnn_pyg.base.settings import Settings
from agnn_pyg.base.vocabulary import Vocabulary
from agnn_pyg.explain import Explanation, carriers, explain_pair
from agnn_pyg.fitting import (
    SIDES,
    Fitted,
    fit_frames,
    pair_rows,
    serving_loader,
    serving_options,
)
from agnn_pyg.inference import predict
from agnn_pyg.kernel.gates import KINDS
from agnn_pyg.kernel.scenarios import PATTERNS
from agnn_pyg.serving import Filter, serve, top_items
from agnn_pyg.setting_rules import check_serving


class AGNNRecommender(Settings):
    r"""Rates and recommends, for users and items known, new or unrated.

    Three frames in, predictions out. Whoever is not in the tables of the fit is
    handed to :meth:`predict`, :meth:`recommend` or :meth:`explain` as a row of
    attributes: it is encoded, attached to the attribute graph, and its
    preference generated. Nothing is trained again, and what is predicted for
    one does not depend on who else is in the table.

    .. code-block:: python

        recommender = AGNNRecommender().fit(ratings, users, items)
        recommender.predict(pairs, items=new_items)
        recommender.recommend(new_users, k=10)

    Ids are whole numbers, texts or UUIDs. An attribute cell holds a number, a
    text, a list of texts or nothing, but no date: make a number of it, such as the
    year. A value unseen in the fit means what
    :class:`~agnn_pyg.AttributeEncoder` says. Without a table of users (items),
    all have one attribute in common: new ones are then rated as the average.

    Ratings are numbers of any scale. Settings suit those of 1 to 5, to the spread of
    which others are brought, and predictions back from it.

    Args:
        user (str, optional): The column of user ids. (default: :obj:`"user"`)
        item (str, optional): The column of item ids. (default: :obj:`"item"`)
        rating (str, optional): The column of ratings.
            (default: :obj:`"rating"`)
        user_attributes (sequence or mapping, optional): Attribute columns of
            users, see :class:`~agnn_pyg.AttributeEncoder`. (default: all but
            those in which most values occur once, such as names, and those of
            neither numbers nor texts, such as dates; a warning names them)
        item_attributes (sequence or mapping, optional): Likewise of items.
        min_count (int, optional): Rated users or items a value must occur in to
            be embedded on its own. (default: :obj:`5`)
        num_knots (int, optional): Knots of numeric columns.
            (default: :obj:`16`)
        num_neighbors (int, optional): Neighbours a node draws; 0 switches the
            graph off. (default: :obj:`10`)
        preference (bool, optional): Compare ratings, too.
            (default: :obj:`True`)
        pool (float, optional): See :func:`~agnn_pyg.attribute_graph`.
            (default: :obj:`0.05`)
        max_pool (int, optional): See there. (default: :obj:`500`)
        channels (int, optional): Size of embeddings. (default: :obj:`32`)
        hidden_channels (int, optional): Size of the MLP's hidden layer.
            (default: :obj:`32`)
        dropout (float, optional): (default: :obj:`0.0`)
        epochs (int, optional): (default: :obj:`10`)
        batch_size (int, optional): Ratings a training batch.
            (default: 2048, or fewer where an epoch would have less than 32 batches)
        lr (float, optional): Learning rate. (default: :obj:`3e-3`)
        free_lr (float, optional): Learning rate of preferences and biases.
            (default: :obj:`3e-2`)
        preference_weight (float, optional): Penalty on preferences, see
            :func:`~agnn_pyg.agnn_loss`. (default: :obj:`0.01`)
        cold_rate (tuple, optional): The share of users and of items of a batch
            that are treated as cold. (default: :obj:`(0.1, 0.5)`)
        message_share (float, optional): The share of messages of ratings in a
            prediction, see :class:`~agnn_pyg.RatingPropagation`; 0 trains and asks
            the network alone, for less, in a fraction of the time.
            (default: :obj:`0.75`)
        message_patterns (sequence, optional): Pairs that messages are learnt for:
            :obj:`"warm"`, :obj:`"user_cold"`, :obj:`"item_cold"`,
            :obj:`"both_cold"`. All others are rated by the network alone. Time goes
            with their number. (default: all)
        message_kinds (sequence, optional): :obj:`"user"`, :obj:`"item"`,
            :obj:`"attribute"`. (default: all)
        message_shared (int, optional): Features of each of the relations by which
            those are alike who rated the same, and rated it alike; 0 goes without.
            (default: :obj:`64`)
        message_steps (int, optional): Steps that gates learn. Most of the time of a
            fit goes there; twice as many bring little. (default: :obj:`12`)
        message_folds (int, optional): Parts of the ratings that are held out in
            turn for it. (default: :obj:`5`)
        patience (int, optional): Stop after so many epochs without a better
            validation. (default: :obj:`None`)
        draws (int, optional): Draws of neighbours that a prediction is the mean
            of. (default: :obj:`8`)
        seed (int, optional): (default: :obj:`0`)
        progress (bool, optional): Show progress bars. (default: :obj:`False`)
        accelerator (str, optional): Where to train, for Lightning.
            (default: :obj:`"cpu"`)

    Attributes:
        fitted_: The trained model, its graph, ids and vocabularies; see
            :class:`~agnn_pyg.fitting.Fitted`.
    """

    def __init__(
        self,
        user: str = 'user',
        item: str = 'item',
        rating: str = 'rating',
        user_attributes: Columns | None = None,
        item_attributes: Columns | None = None,
        min_count: int = 5,
        num_knots: int = 16,
        num_neighbors: int = 10,
        preference: bool = True,
        pool: float = 0.05,
        max_pool: int = 500,
        channels: int = 32,
        hidden_channels: int = 32,
        dropout: float = 0.0,
        epochs: int = 10,
        batch_size: int | None = None,
        lr: float = 3e-3,
        free_lr: float = 3e-2,
        preference_weight: float = 0.01,
        cold_rate: tuple[float, float] = (0.1, 0.5),
        message_share: float = 0.75,
        message_patterns: Sequence[str] = tuple(PATTERNS),
        message_kinds: Sequence[str] = tuple(KINDS),
        message_shared: int = 64,
        message_steps: int = 12,
        message_folds: int = 5,
        patience: int | None = None,
        draws: int = 8,
        seed: int = 0,
        progress: bool = False,
        accelerator: str = 'cpu',
    ) -> None:
        self.user, self.item, self.rating = user, item, rating
        self.user_attributes, self.item_attributes = user_attributes, item_attributes
        self.min_count, self.num_knots = min_count, num_knots
        self.num_neighbors, self.preference = num_neighbors, preference
        self.pool, self.max_pool = pool, max_pool
        self.channels, self.hidden_channels = channels, hidden_channels
        self.dropout, self.epochs, self.batch_size = dropout, epochs, batch_size
        self.lr, self.free_lr = lr, free_lr
        self.preference_weight, self.cold_rate = preference_weight, cold_rate
        self.message_share, self.message_patterns = message_share, message_patterns
        self.message_kinds, self.message_shared = message_kinds, message_shared
        self.message_steps, self.message_folds = message_steps, message_folds
        self.patience, self.draws, self.seed = patience, draws, seed
        self.progress, self.accelerator = progress, accelerator

    def fit(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
        validation: pd.DataFrame | None = None,
    ) -> AGNNRecommender:
        """Trains on ratings.

        Args:
            ratings (pandas.DataFrame): A row a rating: user, item, rating, each
                pair once. Other columns are ignored.
            users (pandas.DataFrame, optional): A row a user, id and attributes;
                of all rated users, and of others that are known already.
            items (pandas.DataFrame, optional): Likewise of items.
            validation (pandas.DataFrame, optional): Ratings to select the epoch
                on; the last one is kept without.

        Raises:
            ValueError: If a table or a setting is unfit; the message says which row
                or which value, and how to mend it.
        """
        self.fitted_ = fit_frames(self, ratings, users, items, validation)
        return self

    def predict(
        self,
        pairs: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
    ) -> pd.Series:
        """Rates pairs of users and items.

        Args:
            pairs (pandas.DataFrame): A row a pair: user and item.
            users (pandas.DataFrame, optional): Attributes of users that the fit
                has not seen, or ids alone, of which all attributes are missing
                then. Rows of known ones are ignored: what the fit was told of them
                stands.
            items (pandas.DataFrame, optional): Likewise of items.

        Returns:
            The ratings, by the index of :obj:`pairs`.

        Raises:
            ValueError: If a pair names somebody or something that is in no
                table, or a table is unfit.
        """
        fitted = self._fitted()
        serving = serve(self, fitted, users, items)
        index = serving.nodes(
            pair_rows(self, pairs, 'pairs', fitted.tables, serving.ids)
        )
        rating = np.empty(0)
        if index.size(1):
            loader = serving_loader(self, serving.graph, index)
            rating = fitted.rated(predict(serving.model, loader, self.draws).numpy())
        return pd.Series(rating, index=pairs.index, name=self.rating)

    def recommend(
        self,
        users: pd.DataFrame | Sequence[Hashable],
        k: int = 10,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        exclude_seen: bool = True,
        filter: Filter | None = None,
    ) -> pd.DataFrame:
        """The items that users will rate highest.

        Args:
            users (pandas.DataFrame or sequence): Ids of users, or a table of
                users, whose new ones are placed by their attributes.
            k (int, optional): Items a user. (default: :obj:`10`)
            items (pandas.DataFrame or sequence, optional): Ids of the items to
                choose from, or a table of items, new ones among them.
                (default: all items of the fit)
            exclude_seen (bool, optional): Leave out what a user has rated in
                the fit. (default: :obj:`True`)
            filter (callable, optional): Called with a user's id and the array
                of candidate ids; returns a mask of those to choose from.

        Returns:
            Columns of user, item, predicted rating and :obj:`rank`, from 1; the
            users in the order given, fewer than :obj:`k` rows where fewer items
            are left.

        Raises:
            ValueError: If somebody or something is unknown, or :obj:`k` is not
                positive and whole.
        """
        fitted = self._fitted()
        k = check_rule(k, 'k', whole(1))
        frames = [self._frame('user', users), self._frame('item', items)]
        serving = serve(self, fitted, *frames)
        rows = [
            self._rows(side, frame, serving.ids[side])
            for side, frame in zip(SIDES, frames, strict=True)
        ]
        user = item = np.empty(0, np.int64)
        rating = np.empty(0)
        if len(rows[0]) and len(rows[1]):
            user, item, rating = top_items(
                self, serving, *rows, k, exclude_seen, filter
            )
        result = pd.DataFrame(
            {
                self.user: serving.ids['user'].values[rows[0]][user],
                self.item: serving.ids['item'].values[rows[1]][item],
                self.rating: fitted.rated(rating.astype(float)),
            }
        )
        return result.assign(rank=pd.Series(user).groupby(user).cumcount() + 1)

    def explain(
        self,
        user: Hashable,
        item: Hashable,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
    ) -> Explanation:
        """Why a user is predicted to rate an item so.

        Args:
            user (hashable): The user's id.
            item (hashable): The item's id.
            users (pandas.DataFrame, optional): As in :meth:`predict`.
            items (pandas.DataFrame, optional): As in :meth:`predict`.

        Raises:
            ValueError: As in :meth:`predict`.
        """
        fitted = self._fitted()
        serving = serve(self, fitted, users, items)
        pair = pd.DataFrame({self.user: [user], self.item: [item]})
        index = serving.nodes(
            pair_rows(self, pair, 'the pair to explain', fitted.tables, serving.ids)
        )
        parts, neighbours = explain_pair(
            serving.model,
            serving.graph,
            *index[:, 0].tolist(),
            draws=self.draws,
            **serving_options(self),
        )
        rating = float(fitted.rated(sum(parts.values())))
        parts = {name: fitted.unit * part for name, part in parts.items()}
        found = carriers(serving.model, serving.graph, *index[:, 0].tolist())
        frames = []
        for columns_of, side in itertools.product((neighbours, found), SIDES):
            columns = {k: v.numpy() for k, v in columns_of[side].items()}
            ids = serving.ids[side].values[columns.pop('node')]
            frames.append(pd.DataFrame({getattr(self, side): ids, **columns}))
        for carried in frames[2:]:
            carried['message'] *= fitted.unit
        parts['clamped'] = rating - sum(parts.values())
        return Explanation(user, item, rating, parts, *frames)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a folder: plain data as JSON, tensors beside it.

        Args:
            path (path): The folder, new or of a recommender saved before.

        Raises:
            ValueError: If something else is in its place.
        """
        save_recommender(self, self._fitted(), path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> AGNNRecommender:
        """Reads what :meth:`save` wrote; nothing of it is executed.

        Raises:
            ValueError: If it is something else, damaged, or of another version.
        """
        settings, fitted = load_recommender(cls.__name__, path)
        try:
            recommender = cls(**settings)
        except TypeError as error:
            raise ValueError(f"'{path}' is damaged ({error})") from error
        recommender.fitted_ = fitted
        return recommender

    def _fitted(self) -> Fitted:
        if not hasattr(self, 'fitted_'):
            raise ValueError("Call 'fit' first, or 'load' a recommender")
        check_serving(self)
        return self.fitted_

    def _frame(self, side: str, given: Any) -> pd.DataFrame | None:
        """A table of a side, from a table or from ids."""
        if given is None or isinstance(given, pd.DataFrame):
            return given
        column = getattr(self, side)
        frame = table_of(given, f'{side}s', column)
        unknown = self._rows(side, frame, self._fitted().tables[side].ids) < 0
        if unknown.any():
            raise ValueError(
                f"'{side}s' lists an id that the fit does not know, in "
                f'{where(frame, unknown, column)}; pass a table of {side}s with its '
                f'attributes instead of ids'
            )
        return frame

    def _rows(
        self, side: str, frame: pd.DataFrame | None, ids: Vocabulary
    ) -> np.ndarray:
        if frame is None:
            return np.arange(len(ids))
        return ids.rows(frame, getattr(self, side), f'{side}s')
