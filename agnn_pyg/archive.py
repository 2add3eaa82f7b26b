"""A fitted recommender as a folder of plain data and tensors, and back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.base.frames import RatingScale
from agnn_pyg.base.store import load_module, read_store, write_store
from agnn_pyg.fitting import Fitted, Side
from agnn_pyg.old.feature_map import RelationMap
from agnn_pyg.old.messages import Messages
from agnn_pyg.old.model import AGNN

if TYPE_CHECKING:
    from agnn_pyg.recommender import AGNNRecommender

VERSION = 6


def save_recommender(
    recommender: AGNNRecommender, fitted: Fitted, path: str | os.PathLike
) -> None:
    """Writes a recommender, see :meth:`AGNNRecommender.save`."""
    config = {
        'settings': recommender.config.to_dict(),
        'model': fitted.model_config,
        'scale': dataclasses.asdict(fitted.scale),
        'history': fitted.history,
        'best_epoch': fitted.best_epoch,
        'tables': {side: table.to_dict() for side, table in fitted.tables.items()},
        'relations': {side: made.to_dict() for side, made in fitted.relations.items()},
    }
    tensors = {
        'model': fitted.model.state_dict(),
        'graph': _flat(fitted.graph),
        'table': {side: t.tensors() for side, t in fitted.tables.items()},
        'relation': {side: made.tensors() for side, made in fitted.relations.items()},
    }
    write_store(path, type(recommender).__name__, VERSION, config, tensors)


def load_recommender(
    kind: str, path: str | os.PathLike
) -> tuple[dict[str, Any], Fitted]:
    """Reads what :func:`save_recommender` wrote: settings and fit."""
    config, tensors = read_store(path, kind, VERSION)
    try:
        tables = {
            side: Side.from_dict(state, tensors['table'][side])
            for side, state in config['tables'].items()
        }
        relations = {
            side: RelationMap.from_dict(
                tables[side].compared, state, tensors['relation'][side]
            )
            for side, state in config['relations'].items()
        }
        messages = _under(tensors['model'], 'messages.')
        messages = Messages.from_state(messages) if messages else None
        model = load_module(
            lambda: AGNN(**config['model'], messages=messages),
            tensors['model'],
        )
        fitted = Fitted(
            tables,
            _graph(tensors['graph']),
            model.eval(),
            config['model'],
            relations,
            RatingScale(**config['scale']),
            config['history'],
            config['best_epoch'],
        )
    except Exception as error:
        raise ValueError(f"'{path}' is damaged ({error!r})") from error
    return config['settings'], fitted


def _flat(graph: HeteroData) -> dict[str, Tensor]:
    """The tensors of a graph by ``kind.key``, an edge type's parts joined."""
    flat = {}
    for kind, store in zip(graph.metadata()[0], graph.node_stores, strict=True):
        flat |= {f'{kind}.{key}': torch.as_tensor(v) for key, v in store.items()}
    for kind, store in zip(graph.metadata()[1], graph.edge_stores, strict=True):
        flat |= {f'{"/".join(kind)}.{key}': v for key, v in store.items()}
    return flat


def _graph(flat: Mapping[str, Tensor]) -> HeteroData:
    graph = HeteroData()
    for name, tensor in flat.items():
        kind, _, key = name.rpartition('.')
        kind = tuple(kind.split('/')) if '/' in kind else kind
        graph[kind][key] = int(tensor) if key == 'num_nodes' else tensor
    return graph


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: t for k, t in tensors.items() if k.startswith(prefix)}
