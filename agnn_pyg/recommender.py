"""Recommendations from three tables: fit, predict, recommend, explain, save."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from annotated_types import Gt, Le, MinLen
from pydantic import Field

from agnn_pyg.archive import load_recommender, save_recommender
from agnn_pyg.base.checks import where
from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.config import (
    Config,
    DropoutRate,
    Estimator,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    check_argument,
)
from agnn_pyg.base.frames import SIDES, as_table
from agnn_pyg.base.recommender_config import (
    ColumnsConfig,
    EncoderConfig,
    TrainingConfig,
)
from agnn_pyg.base.vocabulary import Vocabulary, read_ids
from agnn_pyg.explain import Explanation, carriers, explain_pair
from agnn_pyg.fitting import (
    Fitted,
    fit_frames,
    pair_rows,
    serving_loader,
    serving_options,
)
from agnn_pyg.old.gates import KINDS
from agnn_pyg.old.messages import PATTERNS
from agnn_pyg.old.inference import predict
from agnn_pyg.serving import Filter, serve, top_items


class GraphConfig(Config):
    """The attribute graph."""

    num_neighbors: NonNegativeInt = Field(
        10, description='Neighbors a node draws; 0 switches the graph off.'
    )
    use_rating_proximity: bool = Field(
        True, description='Compare nodes by their ratings, too.'
    )
    candidate_fraction: Annotated[float, Gt(0), Le(1)] = Field(
        0.05,
        description='The fraction of all nodes that are candidates for the neighbors '
        'of a node, see :func:`~agnn_pyg.attribute_graph`.',
    )
    max_candidates: PositiveInt = Field(500, description='Candidates at most.')
    num_neighbor_samples: PositiveInt = Field(
        8, description='Draws of neighbors that a prediction is the mean of.'
    )


class NetworkConfig(Config):
    """The network."""

    channels: PositiveInt = Field(32, description='Size of embeddings.')
    hidden_channels: PositiveInt = Field(
        32, description="Size of the MLP's hidden layer."
    )
    dropout: DropoutRate = Field(0.0, description='Dropout.')
    embedding_lr: PositiveFloat = Field(
        3e-2, description='Learning rate of embeddings and biases of nodes.'
    )
    embedding_l2: NonNegativeFloat = Field(
        0.01,
        description='Penalty on embeddings of nodes, see :func:`~agnn_pyg.agnn_loss`.',
    )
    cold_dropout: tuple[Fraction, Fraction] = Field(
        (0.1, 0.5),
        description='The fractions of users and of items of a batch that are treated '
        'as cold.',
    )


class KernelConfig(Config):
    """The kernel model."""

    kernel_weight: Fraction = Field(
        0.75,
        description='The weight of the kernel model in a prediction, the network has '
        'the rest. With 0 the network is trained alone, which is less accurate and '
        'takes a fraction of the time.',
    )
    scenarios: Annotated[tuple[Literal[tuple(PATTERNS)], ...], MinLen(1)] = Field(
        tuple(PATTERNS),
        description='Pairs that the kernel model is fitted for: :obj:`"warm"`, '
        ':obj:`"user_cold"`, :obj:`"item_cold"`, :obj:`"both_cold"`. All others are '
        'rated by the network alone. Time is in proportion to their number.',
    )
    components: Annotated[tuple[Literal[tuple(KINDS)], ...], MinLen(1)] = Field(
        tuple(KINDS),
        description='Components of the kernel: :obj:`"user"`, :obj:`"item"`, '
        ':obj:`"attribute"`.',
    )
    num_factors: NonNegativeInt = Field(
        64,
        description='Features of each kernel between nodes that rated the same, or '
        'rated it alike; 0 leaves these kernels out.',
    )
    kernel_steps: NonNegativeInt = Field(
        12,
        description='Steps that learn the hyperparameters of the kernel. They take '
        'most of the time of a fit; twice as many bring little.',
    )
    cv_folds: int = Field(
        5, ge=2, description='Parts of the ratings that are held out in turn for it.'
    )


class AGNNRecommenderConfig(
    ColumnsConfig,
    EncoderConfig,
    GraphConfig,
    NetworkConfig,
    KernelConfig,
    TrainingConfig,
):
    """Settings of :class:`AGNNRecommender`."""

    reserved = ('rank', 'proximity', 'drawn', 'gate', 'message')


class AGNNRecommender(Estimator):
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

    Attributes:
        fitted_: The trained model, its graph, ids and vocabularies; see
            :class:`~agnn_pyg.fitting.Fitted`.
    """

    Config = AGNNRecommenderConfig

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
        self.fitted_ = fit_frames(self.config, ratings, users, items, validation)
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
        fitted, config = self._fitted(), self.config
        serving = serve(config, fitted, users, items)
        index = serving.nodes(pair_rows(config, pairs, 'pairs', serving.ids))
        rating = np.empty(0)
        if index.size(1):
            loader = serving_loader(config, serving.graph, index)
            value = predict(serving.model, loader, config.num_neighbor_samples)
            rating = fitted.scale.to_rating_scale(value.numpy())
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
        fitted, config = self._fitted(), self.config
        k = check_argument('k', k, PositiveInt)
        frames = [self._frame('user', users), self._frame('item', items)]
        serving = serve(config, fitted, *frames)
        rows = [
            self._rows(side, frame, serving.ids[side])
            for side, frame in zip(SIDES, frames, strict=True)
        ]
        user = item = np.empty(0, np.int64)
        rating = np.empty(0)
        if len(rows[0]) and len(rows[1]):
            user, item, rating = top_items(
                config, serving, *rows, k, exclude_seen, filter
            )
        result = pd.DataFrame(
            {
                self.user: serving.ids['user'].values[rows[0]][user],
                self.item: serving.ids['item'].values[rows[1]][item],
                self.rating: fitted.scale.to_rating_scale(rating.astype(float)),
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
        fitted, config = self._fitted(), self.config
        serving = serve(config, fitted, users, items)
        pair = pd.DataFrame({self.user: [user], self.item: [item]})
        index = serving.nodes(
            pair_rows(config, pair, 'the pair to explain', serving.ids)
        )
        parts, neighbours = explain_pair(
            serving.model,
            serving.graph,
            *index[:, 0].tolist(),
            draws=config.num_neighbor_samples,
            **serving_options(config),
        )
        rating = float(fitted.scale.to_rating_scale(sum(parts.values())))
        parts = {name: fitted.scale.unit * part for name, part in parts.items()}
        found = carriers(serving.model, serving.graph, *index[:, 0].tolist())
        frames = []
        for columns_of, side in itertools.product((neighbours, found), SIDES):
            columns = {k: v.numpy() for k, v in columns_of[side].items()}
            ids = serving.ids[side].values[columns.pop('node')]
            frames.append(pd.DataFrame({getattr(self, side): ids, **columns}))
        for carried in frames[2:]:
            carried['message'] *= fitted.scale.unit
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
            recommender = cls.from_dict(settings)
        except ValueError as error:
            raise ValueError(f"'{path}' is damaged ({error})") from error
        recommender.fitted_ = fitted
        return recommender

    @property
    def vocabularies_(self) -> dict[str, Vocabulary]:
        """The ids of the fit by side, :obj:`"user"` and :obj:`"item"`."""
        return {side: part.ids for side, part in self._fitted().tables.items()}

    @property
    def column_encoders_(self) -> list[ColumnEncoder]:
        """What the fit knows of the attributes of users and of items."""
        sides = self._fitted().tables.values()
        return [column for side in sides for column in side.compared.column_encoders]

    @property
    def history_(self) -> list[dict[str, float]]:
        """Metrics of every epoch."""
        return self._fitted().history

    @property
    def best_epoch_(self) -> int:
        """The epoch that was kept, from 0."""
        return self._fitted().best_epoch

    def _fitted(self) -> Fitted:
        if not hasattr(self, 'fitted_'):
            raise ValueError("Call 'fit' first, or 'load' a recommender")
        return self.fitted_

    def _frame(self, side: str, given: Any) -> pd.DataFrame | None:
        """A table of a side, from a table or from ids."""
        if given is None or isinstance(given, pd.DataFrame):
            return given
        column = getattr(self, side)
        frame = as_table(given, f'{side}s', column)
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
        return ids.rows(read_ids(frame, getattr(self, side), f'{side}s'))
