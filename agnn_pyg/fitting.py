"""From three frames to a trained model: what a recommender keeps of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.frames import SIDES, RatingScale, read_pairs, read_tables
from agnn_pyg.base.node_table import NodeTable
from agnn_pyg.base.vocabulary import Vocabulary
from agnn_pyg.old.feature_map import RelationMap
from agnn_pyg.old.message_fitting import learn_messages
from agnn_pyg.old.messages import Messages
from agnn_pyg.old.graph_build import rating_graph
from agnn_pyg.old.link_loader import rating_loader
from agnn_pyg.old.model import AGNN

if TYPE_CHECKING:
    from agnn_pyg.recommender import AGNNRecommenderConfig

# An epoch of fewer steps, on a small table, would hardly train.
MAX_BATCH, MIN_STEPS = 2048, 32
# Far from every training seed, so that no draw of theirs is predicted with.
EVALUATION_SEED = 1_000_003
# Metrics of a fit in ratings, and those in squares of them.
METRICS = {'val_rmse': 1, 'val_mae': 1, 'train_mse': 2}


@dataclass
class Side:
    """The users or the items of a fit.

    Attributes:
        ids: The ids, one a row.
        embedded: Encodes what is embedded: the vocabulary of rated nodes.
        compared: Encodes what is compared: the vocabulary of all nodes.
        profiles: The compared attributes of all rows.
    """

    ids: Vocabulary
    embedded: AttributeEncoder
    compared: AttributeEncoder
    profiles: TokenBags

    def to_dict(self) -> dict[str, Any]:
        """All but tensors as plain data, ready for JSON."""
        parts = ('ids', 'embedded', 'compared')
        return {name: getattr(self, name).to_dict() for name in parts}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that :meth:`to_dict` leaves out."""
        return dict(vars(self.profiles))

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Side:
        """The inverse of :meth:`to_dict` and :meth:`tensors`."""
        return cls(
            Vocabulary.from_dict(state['ids']),
            AttributeEncoder.from_dict(state['embedded']),
            AttributeEncoder.from_dict(state['compared']),
            TokenBags(**tensors),
        )


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
        scale: The scale of the ratings for graph, model and messages.
        history: Metrics of every epoch: those named in :data:`METRICS` of ratings as
            they were given, the others of ratings divided by the unit.
        best_epoch: The epoch that was kept.
    """

    tables: dict[str, Side]
    graph: HeteroData
    model: AGNN
    model_config: dict[str, Any]
    relations: dict[str, RelationMap]
    scale: RatingScale
    history: list[dict[str, float]]
    best_epoch: int


# Whoever draws random numbers of PyTorch goes on where they were before the fit.
@torch.random.fork_rng(devices=[])
def fit_frames(
    config: AGNNRecommenderConfig,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None,
    items: pd.DataFrame | None,
    validation: pd.DataFrame | None,
) -> Fitted:
    """Trains on frames, see :meth:`AGNNRecommender.fit`."""
    from agnn_pyg.base.training import fit

    has_validation = validation is not None and len(validation) > 0
    config.check_fit(has_validation)
    read = read_tables(config, ratings, users, items, validation)
    rating = torch.tensor(read.ratings.rating, dtype=torch.float)
    scale = RatingScale.fit(rating.numpy())
    rating = scale.to_unit_scale(rating)
    index = torch.from_numpy(read.ratings.index)
    tables, embedded = _sides(config, read.nodes, read.ratings.index)
    graph = rating_graph(
        *embedded,
        index,
        rating,
        user_proximity=tables['user'].profiles,
        item_proximity=tables['item'].profiles,
        preference=config.use_rating_proximity,
        pool=config.candidate_fraction,
        max_pool=config.max_candidates,
        seed=config.seed,
    )
    loaders = [
        rating_loader(
            graph,
            index,
            rating,
            batch_size=batch_size_of(config, len(rating)),
            num_neighbors=config.num_neighbors,
            cold_rate=config.cold_dropout,
            shuffle=True,
            seed=config.seed,
        )
    ]
    if has_validation:
        held_out = torch.tensor(read.validation.rating, dtype=torch.float)
        rows = torch.from_numpy(read.validation.index)
        held_out = scale.to_unit_scale(held_out)
        loaders.append(serving_loader(config, graph, rows, held_out))
    model_config = {
        'num_users': graph['user'].num_nodes,
        'num_items': graph['item'].num_nodes,
        'num_user_tokens': embedded[0].num_tokens,
        'num_item_tokens': embedded[1].num_tokens,
        'channels': config.channels,
        'hidden_channels': config.hidden_channels,
        'mean': float(rating.mean()),
        'dropout': config.dropout,
        'negative_slope': 1.0,
        'message_share': config.kernel_weight,
    }
    relations, messages = _messages(config, tables, index, rating)
    module = _module(config, model_config, messages, rating)
    result = fit(
        module,
        *loaders,
        epochs=config.epochs,
        patience=config.patience,
        ema_decay=config.ema_decay,
        ema_every=4,
        progress=config.progress,
        accelerator=config.accelerator,
    )
    return Fitted(
        tables,
        graph,
        module.model.eval(),
        model_config,
        relations,
        scale,
        [_in_ratings(epoch, scale.unit) for epoch in result.history],
        result.best_epoch,
    )


def pair_rows(
    config: AGNNRecommenderConfig,
    frame: pd.DataFrame,
    name: str,
    ids: dict[str, Vocabulary],
) -> Tensor:
    """See :func:`~agnn_pyg.base.frames.read_pairs`."""
    return torch.from_numpy(read_pairs(frame, name, config, ids))


def batch_size_of(config: AGNNRecommenderConfig, num_ratings: int) -> int:
    """The ratings of a training batch, chosen by their number unless set."""
    if config.batch_size is not None:
        return config.batch_size
    return max(1, min(MAX_BATCH, num_ratings // MIN_STEPS))


def serving_loader(
    config: AGNNRecommenderConfig,
    graph: HeteroData,
    index: Tensor,
    rating: Tensor | None = None,
) -> Any:
    """The loader that predictions are made with."""
    return rating_loader(graph, index, rating, **serving_options(config))


def serving_options(config: AGNNRecommenderConfig) -> dict[str, int]:
    """Arguments of :func:`~agnn_pyg.old.link_loader.rating_loader` to predict."""
    return {
        'batch_size': max(config.batch_size or 0, 4096),
        'num_neighbors': config.num_neighbors,
        'seed': EVALUATION_SEED,
    }


def _in_ratings(metrics: dict[str, float], unit: float) -> dict[str, float]:
    """Metrics of an epoch, as of ratings that were not divided by a unit."""
    return {n: value * unit ** METRICS.get(n, 0) for n, value in metrics.items()}


def _sides(
    config: AGNNRecommenderConfig, nodes: Mapping[str, NodeTable], index: np.ndarray
) -> tuple[dict[str, Side], list[TokenBags]]:
    sides, attributes = {}, []
    for (side, table), rows in zip(nodes.items(), index, strict=True):
        if len(table.ids) == 1:
            raise ValueError(
                f"'{side}s' has a single row, which leaves no neighbors to draw; add "
                f'another, rated or not'
            )
        embedded, bags = table.encode(config.min_count, config.num_knots, rows)
        compared, profiles = table.encode(1, config.num_knots)
        sides[side] = Side(table.ids, embedded, compared, profiles)
        attributes.append(bags)
    return sides, attributes


def _messages(
    config: AGNNRecommenderConfig,
    tables: dict[str, Side],
    index: Tensor,
    rating: Tensor,
) -> tuple[dict[str, RelationMap], Messages | None]:
    if not config.kernel_weight:
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
        patterns=config.scenarios,
        kinds=config.components,
        shared=config.num_factors,
        steps=config.kernel_steps,
        folds=config.cv_folds,
        seed=config.seed,
        progress=config.progress,
    )
    return maps, messages


def _module(
    config: AGNNRecommenderConfig,
    model_config: dict[str, Any],
    messages: Messages | None,
    rating: Tensor,
) -> Any:
    from agnn_pyg.old.rating_module import RatingModule

    torch.manual_seed(config.seed)
    return RatingModule(
        AGNN(**model_config, messages=messages),
        lr=config.lr,
        weight_decay=config.weight_decay,
        free_lr=config.embedding_lr,
        preference_weight=config.embedding_l2,
        rating_range=(float(rating.min()), float(rating.max())),
        seed=config.seed,
    )
