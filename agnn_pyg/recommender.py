"""Recommendations from three tables: fit, predict, recommend, explain, save, load."""

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
from agnn_pyg.base.config import Config, Fraction, PositiveInt, check_argument
from agnn_pyg.base.frames import read_pairs, read_ratings, read_tables
from agnn_pyg.base.metrics import rating_metrics
from agnn_pyg.base.ranking import excluded
from agnn_pyg.base.rating_scale import RatingScale
from agnn_pyg.base.recommender import Recommender
from agnn_pyg.base.recommender_config import ColumnsConfig, EncoderConfig
from agnn_pyg.base.vocabulary import read_distinct
from agnn_pyg.evaluation import evaluate_ranking
from agnn_pyg.explain import Explanation, explain_pair
from agnn_pyg.fitted import Fitted
from agnn_pyg.kernel.scenarios import KernelConfig
from agnn_pyg.ranking import Filter, Groups, filtered, top_items
from agnn_pyg.rating_data import SIDES
from agnn_pyg.scorers import Blend


class BlendConfig(Config):
    """Blend."""

    kernel_weight: Fraction | None = Field(
        None,
        description='Weight of the kernel model in a prediction; the network has the '
        'rest. By default it is fitted for each scenario on a held-out part. It may '
        'be changed after a fit of both. A fit with 0 fits the network alone, and one '
        'with 1 the kernel model alone, if that serves all scenarios; then settings of '
        'the other have no effect.',
    )


class AGNNRecommenderConfig(
    ColumnsConfig, EncoderConfig, AGNNConfig, KernelConfig, BlendConfig
):
    """Settings of the recommender."""

    reserved = ('score', 'rank', 'contribution', 'proximity')
    tuned_first = ('lr', 'attribute_dropout', 'weight_decay', 'dropout')
    # Positives have all scenarios and components, no learned kernel weights, no mean
    # rating, and the last epoch.
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
                "'share_user_sum_layer' needs 'separate_neighbors', whose layer it "
                'shares (got True and False); set both, or neither'
            )


class AGNNRecommender(Recommender):
    r"""Predicts ratings and recommends items, for known and for new users and items.

    Three data frames in, predictions out. New users and items are passed to
    :meth:`predict`, :meth:`recommend` or :meth:`explain` as rows of attributes. Nothing
    is trained again, and a prediction does not depend on which other new users and
    items are passed along.

    .. code-block:: python

        recommender = AGNNRecommender().fit(ratings, users, items)
        recommender.predict(pairs, items=new_items)
        recommender.recommend(new_users, k=10)

    A prediction is the weighted mean (:class:`~agnn_pyg.scorers.Blend`) of a graph
    neural network (:class:`~agnn_pyg.AGNN`) and of pairwise kernel ridge regression
    (:class:`~agnn_pyg.kernel.KernelScorer`).

    With :obj:`rating=None` each row is a positive, such as a click or a purchase, with
    an optional weight. Then predictions are scores that rank, on one scale for known
    and new users and items but no probabilities: those of the network, trained by
    :func:`~agnn_pyg.loss.sampled_softmax`, and of kernel ridge regression on all pairs
    (:class:`~agnn_pyg.kernel.implicit.ImplicitKernelScorer`), see
    :class:`~agnn_pyg.scorers.RankBlend`.

    Ids are whole numbers, texts or UUIDs. An attribute cell holds a number, a text, a
    date, a list of texts or of numbers, or nothing. How a value is encoded that the fit
    has not seen, see :class:`~agnn_pyg.AttributeEncoder`. Without a table of users
    (items), new users (items) are predicted as the average one. Ratings are numbers on
    any scale. The published model (:meth:`as_published`) has a node's own learned
    embedding among its neighbours, so it serves only users and items of the fit.

    Attributes:
        scorer_: The fitted :class:`~agnn_pyg.scorers.Blend`, with the weights of the
            kernel model by scenario, :obj:`weights_`.
        history_: Metrics of every epoch of the network, on the scale of the ratings.
        best_epoch_: The epoch that was selected, or the last one.
    """

    Config = AGNNRecommenderConfig
    Fitted = Fitted
    VERSION = 19
    # Without the kernel model, and with tokens of all values.
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
            ratings (pandas.DataFrame): A row for each rating: user, item, rating, each
                pair once. Other columns are ignored. With :obj:`rating=None` a row for
                each positive; those of repeated pairs are summed.
            users (pandas.DataFrame, optional): A row for each user, id and attributes;
                all users with ratings, and others that are known already.
            items (pandas.DataFrame, optional): Likewise for items.
            validation (pandas.DataFrame, optional): Ratings to select the epoch of the
                network on. Without, a part of the ratings is held out for that, as long
                as :obj:`hold_out` is set; then the network is trained again on all of
                them, up to that epoch. Else, and of positives, the last one is kept.
            stop_after (int, optional): Epochs to run, if fewer than :obj:`epochs`: to
                repeat a schedule up to an epoch that was selected before.
            folder (path, optional): Folder for checkpoints and logs of the training.
            resume (bool, optional): Continue from the checkpoint in :obj:`folder`, if
                there is one. Tables and settings must be those of the fit that wrote
                it; :obj:`stop_after` may differ. (default: :obj:`False`)
            user_edges (pandas.DataFrame, optional): A graph of users, such as of
                friends: a row for each undirected edge. The first two columns, of any
                names, hold the ids of its ends, and a column :obj:`weight`, if there is
                one, a positive number. Of a repeated edge, in either direction, the
                largest weight counts. Ids must be in :obj:`users`; without that table,
                they may be of users without ratings.
            item_edges (pandas.DataFrame, optional): Likewise a graph of items.

        Raises:
            ValueError: If a table or a setting is unfit, naming the row or the value,
                and the remedy.
        """
        config = self.config
        has_validation = validation is not None
        # The network watches ratings that it holds out where there are no others.
        config.check_fit(has_validation or (config.hold_out and stop_after is None))
        if has_validation and config.rating is None:
            raise ValueError(
                f"'validation' must be None where 'rating' is, as the last epoch is "
                f'kept (got {type(validation).__name__}); leave it out'
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

        The kernel model is solved for all ratings with the kernel weights of the fit,
        and the network is trained on for one epoch, new users and items included.
        All that a fit chooses stays: weights of the blend, the vocabularies of the
        attributes, the range of the ratings, and :attr:`history_`. So fit again when
        the data has become another. For nodes with a few ratings :obj:`ratings` of
        :meth:`predict` is quicker and, for new items with three or less, also better.

        Args:
            ratings (pandas.DataFrame): New ratings, as in :meth:`fit`. One of a pair
                that is rated already replaces the old rating; with :obj:`rating=None`
                it is added to the old one.
            users (pandas.DataFrame or sequence, optional): Attributes of new users,
                with ratings or without, as in :meth:`predict`. Rows of known users are
                ignored.
            items (pandas.DataFrame or sequence, optional): Likewise for items.
            user_edges (pandas.DataFrame, optional): Edges of new users, as in
                :meth:`predict`.
            item_edges (pandas.DataFrame, optional): Likewise for items.

        Raises:
            ValueError: As in :meth:`fit`. Then the recommender stays as it was.
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
            pairs (pandas.DataFrame): A row for each pair: user and item.
            users (pandas.DataFrame or sequence, optional): Attributes of users that the
                fit has not seen, or their ids alone, a table or a list: then all
                attributes are missing. Rows of known users are ignored, with a warning
                if attributes of theirs are not those of the fit.
            items (pandas.DataFrame or sequence, optional): Likewise for items.
            ratings (pandas.DataFrame, optional): A few ratings by new users of items of
                the fit, or of new items by users of the fit; for others, see
                :meth:`update`. They become edges of the graph, and the kernel model
                gives these nodes a bias and slopes of their own or, of positives, adds
                what it says of nodes of the fit. Nothing is trained again, and
                predictions for others stay the same.
            user_edges (pandas.DataFrame, optional): Edges of new users to users of the
                fit or to other new users, as in :meth:`fit`, which must have had edges
                of users, too. Those between users of the fit are ignored. Without
                :obj:`users`, all attributes of these new users are missing.
            item_edges (pandas.DataFrame, optional): Likewise for items.
            clip (bool, optional): Clip to the range of ratings; items are ranked by
                what is not. (default: :obj:`True`)

        Returns:
            The predicted ratings, or scores where there are none, with the index of
            :obj:`pairs`.

        Raises:
            ValueError: If a pair names a user or an item that is in no table, or a
                table is unfit.
        """
        serving = self._serve(users, items, ratings, user_edges, item_edges)
        config = serving.config
        rows = read_pairs(pairs, 'pairs', config, serving.ids)
        score = np.empty(0)
        if rows.size:
            score = serving.scorer.score(*serving.pairs(rows)).numpy()
        return serving.scale.to_series(score, config.rating, clip, pairs.index)

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
            users (pandas.DataFrame or sequence): Ids of users, or a table of users, new
                ones with their attributes. Ids may be new if :obj:`ratings` or
                :obj:`user_edges` name them; then all attributes are missing.
            k (int, optional): Items for each user. (default: :obj:`10`)
            items (pandas.DataFrame or sequence, optional): Ids of the items to choose
                from, or a table of items, new ones among them.
                (default: all items of the fit)
            exclude_seen (bool, optional): Leave out the items that a user has rated, in
                the fit or in :obj:`ratings`. (default: :obj:`True`)
            filter (callable, optional): Called with the id of a user and the array of
                candidate ids; returns a mask of those to choose from.
            ratings (pandas.DataFrame, optional): As in :meth:`predict`.
            user_edges (pandas.DataFrame, optional): As in :meth:`predict`.
            item_edges (pandas.DataFrame, optional): As in :meth:`predict`.

        Returns:
            Columns of user, item, predicted rating, :obj:`score` and :obj:`rank` from
            1; the users in the order given, fewer than :obj:`k` rows where fewer items
            are left. The score is the prediction before it is clipped to the range of
            ratings: items are ranked by it. Without ratings there is none of these.

        Raises:
            ValueError: If a user or an item is unknown, or :obj:`k` is not a positive
                whole number.
        """
        k = check_argument('k', k, PositiveInt)
        exclude_seen = check_argument('exclude_seen', exclude_seen, bool)
        # Mere ids are those of the fit, or of new nodes that ratings or edges name.
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

        The tables are those of :meth:`predict`, and so are the errors. A column
        :obj:`title` or :obj:`name` of theirs is shown beside ids, of known ones, too.

        Returns:
            An :class:`~agnn_pyg.explain.Explanation`, to print or to take apart: the
            predicted :obj:`rating` and its :obj:`score`; :obj:`terms`, a dictionary
            whose values add up to the score; :obj:`ratings`, a table of what each
            training rating contributes; :obj:`users` and :obj:`items`, tables of the
            neighbours in the network.
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
            ratings (pandas.DataFrame): As in :meth:`fit`. Ratings in the upper quarter
                of the range of the fit, and all positives, are relevant.
            users (pandas.DataFrame or sequence, optional): As in :meth:`predict`.
            items (pandas.DataFrame or sequence, optional): As in :meth:`predict`.
            k (int, optional): Length of the ranked lists. (default: :obj:`20`)
            among (sequence, optional): Ids of the items to rank.
                (default: all, those of the fit and new ones)
            support (pandas.DataFrame, optional): A few other ratings by new users, or
                of new items: the :obj:`ratings` of :meth:`predict`.
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
        held.user.check_rows('there is nothing to compare with')
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
            score = serving.scorer.score(*serving.pairs(held.index))
            made = rating_metrics(scale.to_rating_scale(score.numpy()), held.rating)
            held = held._replace(rating=scale.is_high(held.rating))
        return made | evaluate_ranking(serving, held, k, among)

    def embeddings(self, side: str) -> pd.DataFrame:
        """Features of the kernel model for all users or items of the fit, by id.

        They hold attributes and co-rated nodes. ``ValueError`` without a kernel model.
        """
        config, fitted = self._served()
        side = check_argument('side', side, Literal['user', 'item'])
        kernel = fitted.scorer.kernel
        if kernel is None:
            raise ValueError(
                f"'kernel_weight' must be above 0 in the fit for embeddings (got "
                f'{fitted.config.kernel_weight}); fit again'
            )
        ids = pd.Index(fitted.ids[side].values, name=getattr(config, side))
        return pd.DataFrame(kernel.embeddings(side).numpy(), index=ids)

    def similar_items(self, item: Hashable, k: int = 10) -> pd.DataFrame:
        """The items closest to one of the fit, by the cosine of :meth:`embeddings`.

        Columns of item, :obj:`score` (the cosine) and :obj:`rank` from 1; errors as in
        :meth:`embeddings`, and if the item is unknown.
        """
        return self._similar('item', item, k)

    def similar_users(self, user: Hashable, k: int = 10) -> pd.DataFrame:
        """The users closest to a user of the fit, see :meth:`similar_items`."""
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
        """What is fitted, with new users and items, and with the settings as they are.

        ``ValueError`` if nothing is fitted, or a table is unfit.
        """
        config, fitted = self._served()
        edges = {'user': user_edges, 'item': item_edges}
        return fitted.serve(config, users, items, ratings, edges, name)

    def _similar(self, side: str, node: Hashable, k: int) -> pd.DataFrame:
        found = self.embeddings(side)
        k = check_argument('k', k, PositiveInt)
        name = found.index.name
        ids = read_distinct([node], side, name)
        problem = 'names an id that the fit does not know in'
        row = ids.known_rows(self._fitted_.ids[side], problem, 'name another')
        unit = F.normalize(torch.tensor(found.to_numpy()).double(), dim=1)
        score = unit @ unit[row[0]]
        score[row[0]] = -torch.inf
        order = score.argsort(descending=True, stable=True)[: min(k, len(score) - 1)]
        best = {name: found.index[order.numpy()], 'score': score[order].numpy()}
        return pd.DataFrame({**best, 'rank': np.arange(1, len(order) + 1)})


def _on_scale(metrics: Mapping[str, float], unit: float) -> dict[str, float]:
    """Metrics of an epoch, with errors on the scale of the ratings."""
    power = {'val_rmse': 1, 'val_mae': 1, 'train_mse': 2}
    return {name: value * unit ** power.get(name, 0) for name, value in metrics.items()}


def _rank(
    serving: Fitted,
    rows: Mapping[str, np.ndarray],
    k: int,
    exclude_seen: bool,
    filter: Filter | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions in the rows of users and of items, and scores, see `top_items`."""
    groups, nodes = [], []
    for side in SIDES:
        node = serving.node[side][rows[side]]
        # A filter may treat ids of the same node differently.
        group = Groups(node if filter is None else np.arange(len(node)))
        groups.append(group)
        nodes.append(torch.from_numpy(node[group.first]))
    blocks = serving.scorer.score_all(*nodes)
    if exclude_seen:
        blocks = excluded(blocks, serving.rated, *nodes)
    if filter is not None:
        ids = (serving.ids[side].values[rows[side]] for side in SIDES)
        blocks = filtered(blocks, *ids, filter)
    return top_items(blocks, k, *groups)
