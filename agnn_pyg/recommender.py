"""The recommender for data frames: fit, predict, recommend, explain, save, load."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field

from agnn_pyg.agnn_config import PUBLISHED, AGNNConfig
from agnn_pyg.base.checks import check_columns
from agnn_pyg.base.config import Config, Fraction, PositiveInt, check_argument
from agnn_pyg.base.frames import read_pairs, read_ratings, read_tables
from agnn_pyg.base.metrics import rating_metrics
from agnn_pyg.base.ranking import excluded
from agnn_pyg.base.rating_scale import RatingScale
from agnn_pyg.base.recommender import Recommender
from agnn_pyg.base.recommender_config import ColumnsConfig, EncoderConfig
from agnn_pyg.base.vocabulary import read_distinct, read_one
from agnn_pyg.evaluation import evaluate_ranking
from agnn_pyg.explain import Explanation, explain_pair
from agnn_pyg.fitted import Fitted
from agnn_pyg.kernel.scenarios import KernelConfig
from agnn_pyg.ranking import Filter, filtered, top_items
from agnn_pyg.rating_data import SIDES
from agnn_pyg.scorers import Blend


class BlendConfig(Config):
    """Blend."""

    kernel_weight: Fraction | None = Field(
        None,
        description='Weight of the kernel model in a prediction; the network has the '
        'rest. By default it is fitted for each scenario on held-out ratings. It can '
        'be changed after a fit of both models. With 0, only the network is fitted; '
        'with 1, only the kernel model, if it serves all scenarios. Settings of the '
        'other model then have no effect.',
    )


class AGNNRecommenderConfig(
    ColumnsConfig, EncoderConfig, AGNNConfig, KernelConfig, BlendConfig
):
    """Settings of the recommender."""

    reserved = ('score', 'rank', 'contribution', 'proximity')
    tuned_first = ('lr', 'attribute_dropout', 'weight_decay', 'dropout')
    # A fit on positives uses all scenarios and components and the last epoch. It has no
    # learned kernel weights and no mean rating.
    ratings_only = (
        *ColumnsConfig.ratings_only,
        *('scenarios', 'components', 'num_latent', 'kernel_steps'),
        *('start_at_mean', 'hold_out', 'patience'),
    )
    positives_only = (*ColumnsConfig.positives_only, 'num_negatives')

    def check_settings(self) -> None:
        super().check_settings()
        if self.share_user_sum_layer and not self.separate_neighbors:
            raise ValueError(
                "'share_user_sum_layer' needs 'separate_neighbors' (got True and "
                'False); set both, or neither'
            )


class AGNNRecommender(Recommender):
    r"""Predicts ratings and recommends items, for known and for new users and items.

    It is fitted on up to three data frames. To predict for new users and items, pass
    their attributes to :meth:`predict`, :meth:`recommend` or :meth:`explain`. This does
    not train again, and a prediction does not depend on the other new users and items
    in the same call.

    .. code-block:: python

        recommender = AGNNRecommender().fit(ratings, users, items)
        recommender.predict(pairs, items=new_items)
        recommender.recommend(new_users, k=10)

    A prediction is the weighted mean (:class:`~agnn_pyg.scorers.Blend`) of a graph
    neural network (:class:`~agnn_pyg.AGNN`) and pairwise kernel ridge regression
    (:class:`~agnn_pyg.kernel.KernelScorer`).

    With :obj:`rating=None`, each row is a positive, such as a click or a purchase, with
    an optional weight. Predictions are then ranking scores: on one scale for known and
    new users and items, but not probabilities. :class:`~agnn_pyg.scorers.RankBlend`
    combines the network, trained by :func:`~agnn_pyg.loss.sampled_softmax`, and kernel
    ridge regression on all pairs
    (:class:`~agnn_pyg.kernel.implicit.ImplicitKernelScorer`).

    Ids are whole numbers, texts or UUIDs. An attribute cell holds a number, a text, a
    date, a list of texts or of numbers, or nothing.
    :class:`~agnn_pyg.AttributeEncoder` explains how values that are not in the fit are
    encoded. Without a table of users (items), new users (items) are treated as average.
    Ratings are numbers on any scale. The published model (:meth:`as_published`) uses a
    node's own learned embedding as a neighbor, so it predicts only for users and items
    of the fit.

    Attributes:
        scorer_: The fitted :class:`~agnn_pyg.scorers.Blend`. Its :obj:`weights_` are
            the weights of the kernel model by scenario.
        history_: Metrics of each epoch of the network, on the scale of the ratings.
        best_epoch_: The selected epoch, or the last one.
    """

    Config = AGNNRecommenderConfig
    Fitted = Fitted
    VERSION = 20
    # No kernel model, and tokens for all values.
    PUBLISHED = PUBLISHED | {'kernel_weight': 0.0, 'min_count': 1}

    def fit(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | None = None,
        items: pd.DataFrame | None = None,
        validation: pd.DataFrame | None = None,
        stop_after: int | None = None,
        folder: str | os.PathLike | None = None,
        resume: bool = False,
        user_edges: pd.DataFrame | None = None,
        item_edges: pd.DataFrame | None = None,
    ) -> AGNNRecommender:
        """Fits the network and the kernel model.

        Args:
            ratings (pandas.DataFrame): One row per rating: user, item, rating. Pairs
                must be distinct, and other columns are ignored. With
                :obj:`rating=None`, one row per positive; repeated pairs are summed.
            users (pandas.DataFrame, optional): One row per user: id and attributes. It
                must contain all users with ratings and may contain others.
            items (pandas.DataFrame, optional): One row per item, in the same form.
            validation (pandas.DataFrame, optional): Ratings that select the epoch of
                the network. If None and :obj:`hold_out` is set, a part of the ratings
                is held out to select it, and the network is then trained on all ratings
                up to that epoch. Otherwise, and for positives, the last epoch is used.
            stop_after (int, optional): Number of epochs to run, if fewer than
                :obj:`epochs`, to repeat a schedule up to a selected epoch.
            folder (path, optional): Folder of checkpoints and logs.
            resume (bool, optional): Resume from the checkpoint in :obj:`folder`, if
                any. Tables and settings must be those of the interrupted fit;
                :obj:`stop_after` may differ. (default: :obj:`False`)
            user_edges (pandas.DataFrame, optional): A graph of users, such as
                friendships: one row per undirected edge. The first two columns, with
                any names, are the ids of both ends; an optional column :obj:`weight`
                has positive numbers. A repeated edge, in either direction, has the
                largest of its weights. Ids must be in :obj:`users`; without that table,
                users without ratings are allowed.
            item_edges (pandas.DataFrame, optional): A graph of items, in the same form.

        Raises:
            ValueError: If a table or a setting is invalid; the text names the row or
                the value, and the remedy.
        """
        config = self.config
        has_validation = validation is not None
        # Without validation ratings, the network monitors held-out ones.
        config.check_fit(has_validation or (config.hold_out and stop_after is None))
        if has_validation and config.rating is None:
            raise ValueError(
                f"'validation' must be None if 'rating' is, because the last epoch is "
                f'used (got {type(validation).__name__}); leave it out'
            )
        edges = {'user': user_edges, 'item': item_edges}
        tables = read_tables(config, ratings, users, items, validation, edges=edges)
        if config.rating is None:
            scale = RatingScale.of_weights(tables.ratings.rating)
        else:
            scale = RatingScale.fit(tables.ratings.rating, config.rating_range)
        if has_validation:
            scale.check(tables.validation)
        fitted = Fitted.fit(
            config,
            tables,
            scale,
            progress=config.progress,
            accelerator=config.accelerator,
            stop_after=stop_after,
            folder=folder,
            resume=resume,
        )
        network = fitted.scorer.network
        self.history_ = []
        self.best_epoch_ = None
        if network is not None:
            self.history_ = [_on_scale(e, scale.unit) for e in network.history_]
            self.best_epoch_ = network.best_epoch_
        self._fitted_ = fitted
        return self

    def update(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        user_edges: pd.DataFrame | None = None,
        item_edges: pd.DataFrame | None = None,
    ) -> AGNNRecommender:
        """Adds ratings, users and items to the fit, at a fraction of its cost.

        The kernel model is solved for all ratings with the kernel weights of the fit.
        The network, with new users and items, is trained for one more epoch. All
        choices of the fit are kept: blend weights, vocabularies of attributes, the
        range of ratings, and :attr:`history_`. Fit again if the data has changed a lot.
        For nodes with few ratings, passing :obj:`ratings` to :meth:`predict` is faster
        and, for new items with at most three ratings, also more accurate.

        Args:
            ratings (pandas.DataFrame): New ratings, as in :meth:`fit`. A rating of a
                known pair replaces the old rating; with :obj:`rating=None`, it is added
                to the old one.
            users (pandas.DataFrame or sequence, optional): Attributes of new users,
                with or without ratings, as in :meth:`predict`. Rows of known users are
                ignored.
            items (pandas.DataFrame or sequence, optional): Attributes of new items.
            user_edges (pandas.DataFrame, optional): Edges of new users, as in
                :meth:`predict`.
            item_edges (pandas.DataFrame, optional): Edges of new items.

        Raises:
            ValueError: As in :meth:`fit`; the recommender is then unchanged.
        """
        config, fitted = self._served()
        run = {'progress': config.progress, 'accelerator': config.accelerator}
        edges = {'user': user_edges, 'item': item_edges}
        self._fitted_ = fitted.update(config, ratings, users, items, edges, **run)
        return self

    def predict(
        self,
        pairs: pd.DataFrame,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        ratings: pd.DataFrame | None = None,
        user_edges: pd.DataFrame | None = None,
        item_edges: pd.DataFrame | None = None,
        clip: bool = True,
    ) -> pd.Series:
        """Predicts the ratings of pairs of users and items.

        Args:
            pairs (pandas.DataFrame): One row per pair: user and item.
            users (pandas.DataFrame or sequence, optional): Attributes of new users. It
                may also be a table or list of ids; all attributes are then missing.
                Rows of known users are ignored, with a warning if their attributes
                differ from the fit.
            items (pandas.DataFrame or sequence, optional): Attributes of new items.
            ratings (pandas.DataFrame, optional): A few ratings of items of the fit by
                new users, or of new items by users of the fit; for other ratings, see
                :meth:`update`. They become edges of the graph. The kernel model fits a
                bias and slopes for these nodes, or, for positives, adds predictions
                from nodes of the fit. Nothing is trained again, and predictions for
                other nodes do not change.
            user_edges (pandas.DataFrame, optional): Edges of new users to users of the
                fit or to other new users. The fit must have had :obj:`user_edges`, too.
                Edges between users of the fit are ignored. Without :obj:`users`, all
                attributes of these new users are missing.
            item_edges (pandas.DataFrame, optional): Edges of new items.
            clip (bool, optional): Clip to the range of ratings. :meth:`recommend` ranks
                by predictions before clipping. (default: :obj:`True`)

        Returns:
            The predicted ratings, or scores of positives, with the index of
            :obj:`pairs`.

        Raises:
            ValueError: If a user or an item of a pair is in no table, or a table is
                invalid.
        """
        config, _ = self._served()
        clip = check_argument('clip', clip, bool)
        check_columns(pairs, 'pairs', [config.user, config.item])
        serving = self._serve(users, items, ratings, user_edges, item_edges)
        rows = read_pairs(pairs, 'pairs', config, serving.ids)
        score = np.empty(0)
        if rows.size:
            score = serving.scorer.score(*torch.from_numpy(rows)).numpy()
        columns = serving.scale.to_columns(score, config.rating)
        made = pd.DataFrame(columns, pairs.index)
        return made.iloc[:, 0] if clip else made['score'].rename(made.columns[0])

    def recommend(
        self,
        users: pd.DataFrame | Sequence[Hashable],
        k: int = 10,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        exclude_seen: bool = True,
        filter: Filter | None = None,
        ratings: pd.DataFrame | None = None,
        user_edges: pd.DataFrame | None = None,
        item_edges: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Recommends the items with the highest scores.

        Args:
            users (pandas.DataFrame or sequence): Ids of users, or a table of users with
                the attributes of new ones. Ids may be new if they are in :obj:`ratings`
                or :obj:`user_edges`; all attributes are then missing.
            k (int, optional): Number of items per user. (default: :obj:`10`)
            items (pandas.DataFrame or sequence, optional): Ids of the candidate items,
                or a table of candidate items with the attributes of new ones.
                (default: all items of the fit)
            exclude_seen (bool, optional): Leave out items that the user has rated in
                the fit or in :obj:`ratings`. (default: :obj:`True`)
            filter (callable, optional): Called with the id of a user and the array of
                candidate ids; returns a mask of allowed candidates.
            ratings (pandas.DataFrame, optional): As in :meth:`predict`.
            user_edges (pandas.DataFrame, optional): As in :meth:`predict`.
            item_edges (pandas.DataFrame, optional): As in :meth:`predict`.

        Returns:
            A table with columns of user, item, predicted rating, :obj:`score` and
            :obj:`rank` (from 1), in the order of :obj:`users`. A user with fewer than
            :obj:`k` items left has fewer rows. Items are ranked by the score, which is
            the prediction before clipping. For positives, there is no rating column.

        Raises:
            ValueError: If a user or an item is unknown, or :obj:`k` is not a positive
                whole number.
        """
        k = check_argument('k', k, PositiveInt)
        exclude_seen = check_argument('exclude_seen', exclude_seen, bool)
        # Ids without a table must be in the fit, the ratings or the edges.
        given = users, items
        frames = (g if isinstance(g, pd.DataFrame) else None for g in given)
        serving = self._serve(*frames, ratings, user_edges, item_edges)
        config = serving.config
        rows = {}
        for side, nodes in zip(SIDES, given, strict=True):
            rows[side] = np.arange(len(serving.ids[side]))
            if nodes is not None:
                ids = read_distinct(nodes, f'{side}s', getattr(config, side))
                problem = 'lists an id that the fit does not know, in'
                remedy = f'pass a table of {side}s with its attributes instead of ids'
                rows[side] = ids.known_rows(serving.ids[side], problem, remedy)
        user = item = np.empty(0, np.int64)
        score = np.empty(0)
        if len(rows['user']) and len(rows['item']):
            user, item, score = _rank(serving, rows, k, exclude_seen, filter)
        found = {
            config.user: serving.ids['user'].values[rows['user']][user],
            config.item: serving.ids['item'].values[rows['item']][item],
        }
        found |= serving.scale.to_columns(score, config.rating)
        rank = pd.Series(user).groupby(user).cumcount() + 1
        return pd.DataFrame({**found, 'rank': rank})

    def explain(
        self,
        user: Hashable,
        item: Hashable,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        ratings: pd.DataFrame | None = None,
        user_edges: pd.DataFrame | None = None,
        item_edges: pd.DataFrame | None = None,
    ) -> Explanation:
        """Explains the predicted rating of a user and an item, given by their ids.

        Tables and errors are as in :meth:`predict`. If a table has a column
        :obj:`title` or :obj:`name`, it is shown next to ids, also of known nodes.

        Returns:
            An :class:`~agnn_pyg.explain.Explanation` that can be printed. It has the
            predicted :obj:`rating` and its :obj:`score`; :obj:`terms`, a dictionary
            whose values add up to the score; :obj:`ratings`, a table of contributions
            of training ratings; and :obj:`users` and :obj:`items`, tables of neighbors
            in the network.
        """
        serving = self._serve(users, items, ratings, user_edges, item_edges)
        return explain_pair(serving, user, item, users, items)

    def evaluate(
        self,
        ratings: pd.DataFrame,
        users: pd.DataFrame | Sequence[Hashable] | None = None,
        items: pd.DataFrame | Sequence[Hashable] | None = None,
        k: int = 20,
        among: Sequence[Hashable] | None = None,
        support: pd.DataFrame | None = None,
        user_edges: pd.DataFrame | None = None,
        item_edges: pd.DataFrame | None = None,
    ) -> dict[str, float]:
        """Compares predictions with held-out ratings or positives.

        Args:
            ratings (pandas.DataFrame): Ratings or positives, as in :meth:`fit`. Ratings
                in the upper quarter of the fitted range and all positives are relevant.
            users (pandas.DataFrame or sequence, optional): As in :meth:`predict`.
            items (pandas.DataFrame or sequence, optional): As in :meth:`predict`.
            k (int, optional): Length of the ranked lists. (default: :obj:`20`)
            among (sequence, optional): Ids of the items to rank.
                (default: all items of the fit and new items)
            support (pandas.DataFrame, optional): A few other ratings of new users or
                items: the argument :obj:`ratings` of :meth:`predict`.
            user_edges (pandas.DataFrame, optional): As in :meth:`predict`.
            item_edges (pandas.DataFrame, optional): As in :meth:`predict`.

        Returns:
            :obj:`rmse` and :obj:`mae` of ratings, and the metrics of
            :func:`~agnn_pyg.evaluation.evaluate_ranking`.

        Raises:
            ValueError: As in :meth:`predict`.
        """
        k = check_argument('k', k, PositiveInt)
        edges = user_edges, item_edges
        serving = self._serve(users, items, support, *edges, name='support')
        config = serving.config
        made = {}
        held = read_ratings(ratings, 'ratings', config)
        held.user.check_rows('add ratings or positives to evaluate')
        held = held.pairs(serving.ids)
        known = 'the fit' if support is None else "the fit or of 'support'"
        held.warn_of_known(serving.rated.numpy(), known)
        if among is not None:
            ids = read_distinct(among, 'among', config.item)
            if not len(ids):
                raise ValueError("'among' has no ids; name some, or leave it out")
            among = ids.check_known(serving.ids['item'], 'items')
        if config.rating is not None:
            scale = serving.scale
            scale.check(held)
            score = serving.scorer.score(*torch.from_numpy(held.index))
            made = rating_metrics(scale.to_rating_scale(score.numpy()), held.rating)
            held = held._replace(rating=scale.is_high(held.rating))
        return made | evaluate_ranking(serving, held, k, among)

    def embeddings(self, side: str) -> pd.DataFrame:
        """Features of the kernel model for all users or items of the fit, by id.

        They encode attributes and co-ratings. ``ValueError`` without a kernel model.
        """
        config, fitted = self._served()
        side = check_argument('side', side, Literal['user', 'item'])
        kernel = fitted.scorer.kernel
        if kernel is None:
            raise ValueError(
                f"Embeddings need a fit with 'kernel_weight' above 0 (got "
                f'{fitted.config.kernel_weight}); fit again'
            )
        ids = pd.Index(fitted.ids[side].values, name=getattr(config, side))
        return pd.DataFrame(kernel.embeddings(side).numpy(), index=ids)

    def similar_items(self, item: Hashable, k: int = 10) -> pd.DataFrame:
        """The items most similar to one of the fit, by cosine of :meth:`embeddings`.

        Returns columns of item, :obj:`score` (the cosine) and :obj:`rank` (from 1).
        ``ValueError`` as in :meth:`embeddings`, and if the item is unknown.
        """
        return self._similar('item', item, k)

    def similar_users(self, user: Hashable, k: int = 10) -> pd.DataFrame:
        """The users most similar to a user of the fit, see :meth:`similar_items`."""
        return self._similar('user', user, k)

    @property
    def scorer_(self) -> Blend:
        """The fitted scorers and their weights."""
        return self._served()[1].scorer

    def _serve(
        self,
        users: pd.DataFrame | Sequence | None,
        items: pd.DataFrame | Sequence | None,
        ratings: pd.DataFrame | None,
        user_edges: pd.DataFrame | None,
        item_edges: pd.DataFrame | None,
        name: str = 'ratings',
    ) -> Fitted:
        """The fitted state extended by new users and items, with current settings.

        ``ValueError`` if nothing is fitted, or a table is invalid.
        """
        config, fitted = self._served()
        edges = {'user': user_edges, 'item': item_edges}
        return fitted.serve(config, users, items, ratings, edges, name)

    def _similar(self, side: str, node: Hashable, k: int) -> pd.DataFrame:
        found = self.embeddings(side)
        k = check_argument('k', k, PositiveInt)
        name = found.index.name
        row = read_one(node, side, name, self._fitted_.ids[side], 'name one of the fit')
        unit = F.normalize(torch.tensor(found.to_numpy()).double(), dim=1)
        score = unit @ unit[row]
        score[row] = -torch.inf
        order = score.argsort(descending=True, stable=True)[: min(k, len(score) - 1)]
        best = {name: found.index[order.numpy()], 'score': score[order].numpy()}
        return pd.DataFrame({**best, 'rank': np.arange(1, len(order) + 1)})


def _on_scale(metrics: Mapping[str, float], unit: float) -> dict[str, float]:
    """Converts the errors of an epoch to the scale of the ratings."""
    power = {'val_rmse': 1, 'val_mae': 1, 'train_mse': 2}
    return {name: value * unit ** power.get(name, 0) for name, value in metrics.items()}


def _rank(
    serving: Fitted,
    rows: Mapping[str, np.ndarray],
    k: int,
    exclude_seen: bool,
    filter: Filter | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions in rows of users and items, and scores, see `top_items`."""
    nodes = [torch.from_numpy(rows[side]) for side in SIDES]
    blocks = serving.scorer.score_all(*nodes)
    if exclude_seen:
        blocks = excluded(blocks, serving.rated, *nodes)
    if filter is not None:
        ids = (serving.ids[side].values[rows[side]] for side in SIDES)
        blocks = filtered(blocks, *ids, filter)
    return top_items(blocks, k)
