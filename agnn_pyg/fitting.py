"""From three frames to a trained model: what a recommender keeps of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.base.frames import (
    check_columns,
    check_known,
    check_spread,
    unit_of,
)
from agnn_pyg.base.vocabulary import Vocabulary, read_rated_pairs
from agnn_pyg.graph.build import rating_graph
from agnn_pyg.kernel.feature_map import RelationMap
from agnn_pyg.kernel.fitting import learn_messages
from agnn_pyg.kernel.scenarios import Messages
from agnn_pyg.model import AGNN
from agnn_pyg.node_table import NodeTable
from agnn_pyg.sampling.link_loader import rating_loader
from agnn_pyg.setting_rules import batch_size_of, check_settings

if TYPE_CHECKING:
    from agnn_pyg.base.encoder import TokenBags
    from agnn_pyg.recommender import AGNNRecommender

SIDES = ('user', 'item')
# Far from every training seed, so that no draw of theirs is predicted with.
EVALUATION_SEED = 1_000_003
# Metrics of a fit in ratings, and those in squares of them.
METRICS = {'val_rmse': 1, 'val_mae': 1, 'train_mse': 2}


@dataclass(frozen=True)
class Fitted:
    """What a fit has made.

    Attributes:
        tables: Ids and vocabularies by side, :obj:`"user"` and :obj:`"item"`.
        graph: The rating graph.
        model: The trained model, in evaluation mode, with messages if it has any.
        model_config: What the model was built with, but for messages.
        relations: What makes relation features of attributes, by side; empty
            without messages.
        rating_range: Lowest and highest rating.
        unit: What ratings were divided by for graph, model and messages.
        history: Metrics of every epoch: those named in :data:`METRICS` of ratings as
            they were given, the others of ratings divided by the unit.
        best_epoch: The epoch that was kept.
    """

    tables: dict[str, NodeTable]
    graph: HeteroData
    model: AGNN
    model_config: dict[str, Any]
    relations: dict[str, RelationMap]
    rating_range: tuple[float, float]
    unit: float
    history: list[dict[str, float]]
    best_epoch: int

    def rated(self, made: np.ndarray) -> np.ndarray:
        """What the model makes of pairs, as ratings in their range."""
        return np.clip(self.unit * made, *self.rating_range)


# Whoever draws random numbers of PyTorch goes on where they were before the fit.
@torch.random.fork_rng(devices=[])
def fit_frames(
    settings: AGNNRecommender,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
    validation: pd.DataFrame | None,
) -> Fitted:
    """Trains on frames, see :meth:`AGNNRecommender.fit`."""
    from agnn_pyg.train import fit

    has_validation = validation is not None and len(validation) > 0
    check_settings(settings, has_validation)
    rating = _ratings(settings, ratings, 'ratings')
    if not len(rating):
        raise ValueError("'ratings' has no rows; there is nothing to train on")
    check_spread(rating.numpy(), 'ratings')
    rating_range = float(rating.min()), float(rating.max())
    unit = unit_of(rating_range)
    rating = rating / unit
    tables, embedded = _tables(settings, ratings, users, items)
    index = pair_rows(settings, ratings, 'ratings', tables)
    graph = rating_graph(
        *embedded,
        index,
        rating,
        user_proximity=tables['user'].profiles,
        item_proximity=tables['item'].profiles,
        preference=settings.preference,
        pool=settings.pool,
        max_pool=settings.max_pool,
        seed=settings.seed,
    )
    loaders = [
        rating_loader(
            graph,
            index,
            rating,
            batch_size=batch_size_of(settings, len(rating)),
            num_neighbors=settings.num_neighbors,
            cold_rate=settings.cold_rate,
            shuffle=True,
            seed=settings.seed,
        )
    ]
    if has_validation:
        held_out = _ratings(settings, validation, 'validation') / unit
        rows = pair_rows(settings, validation, 'validation', tables)
        loaders.append(serving_loader(settings, graph, rows, held_out))
    config = {
        'num_users': graph['user'].num_nodes,
        'num_items': graph['item'].num_nodes,
        'num_user_tokens': embedded[0].num_tokens,
        'num_item_tokens': embedded[1].num_tokens,
        'channels': settings.channels,
        'hidden_channels': settings.hidden_channels,
        'mean': float(rating.mean()),
        'dropout': settings.dropout,
        'negative_slope': 1.0,
        'message_share': settings.message_share,
    }
    relations, messages = _messages(settings, tables, index, rating)
    module = _module(settings, config, messages, rating)
    result = fit(
        module,
        *loaders,
        epochs=settings.epochs,
        patience=settings.patience,
        progress=settings.progress,
        accelerator=settings.accelerator,
    )
    return Fitted(
        tables,
        graph,
        module.model.eval(),
        config,
        relations,
        rating_range,
        unit,
        [_in_ratings(epoch, unit) for epoch in result.history],
        result.best_epoch,
    )


def pair_rows(
    settings: AGNNRecommender,
    frame: pd.DataFrame,
    name: str,
    tables: dict[str, NodeTable],
    ids: dict[str, Vocabulary] | None = None,
) -> Tensor:
    """Row numbers of the pairs of a frame, :obj:`[2, R]`.

    Args:
        settings: Names the columns.
        frame: The pairs.
        name: What messages call it.
        tables: The tables of the fit.
        ids: Vocabulary to look pairs up in. (default: those of the tables)

    Raises:
        ValueError: Naming the first pair of somebody or something unknown.
    """
    columns = [settings.user, settings.item]
    check_columns(frame, name, columns)
    rows = []
    for side, column in zip(SIDES, columns, strict=True):
        known = tables[side].ids if ids is None else ids[side]
        rows.append(known.rows(frame, column, name))
        check_known(frame, rows[-1], column, name, tables[side].name)
    return torch.stack([torch.from_numpy(r) for r in rows])


def serving_loader(
    settings: AGNNRecommender,
    graph: HeteroData,
    index: Tensor,
    rating: Tensor | None = None,
) -> Any:
    """The loader that predictions are made with."""
    return rating_loader(graph, index, rating, **serving_options(settings))


def serving_options(settings: AGNNRecommender) -> dict[str, int]:
    """Arguments of :func:`~agnn_pyg.sampling.link_loader.rating_loader` for predictions."""
    return {
        'batch_size': max(settings.batch_size or 0, 4096),
        'num_neighbors': settings.num_neighbors,
        'seed': EVALUATION_SEED,
    }


def _in_ratings(metrics: dict[str, float], unit: float) -> dict[str, float]:
    """Metrics of an epoch, as of ratings that were not divided by a unit."""
    return {n: value * unit ** METRICS.get(n, 0) for n, value in metrics.items()}


def _ratings(settings: AGNNRecommender, frame: pd.DataFrame, name: str) -> Tensor:
    columns = settings.user, settings.item, settings.rating
    rating = read_rated_pairs(frame, name, *columns)
    return torch.tensor(rating, dtype=torch.float)


def _tables(
    settings: AGNNRecommender,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
) -> tuple[dict[str, NodeTable], list[TokenBags]]:
    tables, embedded = {}, []
    for side, frame in zip(SIDES, (users, items), strict=True):
        tables[side], attributes = NodeTable.fit(
            frame,
            ratings,
            name=f'{side}s',
            column=getattr(settings, side),
            attributes=getattr(settings, f'{side}_attributes'),
            min_count=settings.min_count,
            num_knots=settings.num_knots,
        )
        embedded.append(attributes)
    return tables, embedded


def _messages(
    settings: AGNNRecommender,
    tables: dict[str, NodeTable],
    index: Tensor,
    rating: Tensor,
) -> tuple[dict[str, RelationMap], Messages | None]:
    if not settings.message_share:
        return {}, None
    maps, sides = {}, []
    for side, rated in zip(SIDES, index, strict=True):
        table = tables[side]
        trained = table.profiles.take(rated.unique())
        maps[side] = RelationMap(table.compared, trained)
        sides.append(maps[side](table.profiles))
    messages = learn_messages(
        *sides,
        index,
        rating,
        patterns=settings.message_patterns,
        kinds=settings.message_kinds,
        shared=settings.message_shared,
        steps=settings.message_steps,
        folds=settings.message_folds,
        seed=settings.seed,
        progress=settings.progress,
    )
    return maps, messages


def _module(
    settings: AGNNRecommender,
    config: dict[str, Any],
    messages: Messages | None,
    rating: Tensor,
) -> Any:
    from agnn_pyg.train import RatingModule

    torch.manual_seed(settings.seed)
    return RatingModule(
        AGNN(**config, messages=messages),
        lr=settings.lr,
        free_lr=settings.free_lr,
        preference_weight=settings.preference_weight,
        rating_range=(float(rating.min()), float(rating.max())),
        seed=settings.seed,
    )
