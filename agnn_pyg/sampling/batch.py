"""Batches of rated pairs with the nodes and edges around them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.data import BaseData
from torch_geometric.typing import EdgeType, NodeType
from torch_geometric.utils import coalesce

from agnn_pyg.graph.edges import types_between
from agnn_pyg.nn.bi_interaction import Features


class RatingBatch(NamedTuple):
    r"""B pairs to rate, with the nodes and edges that their prediction needs.

    All fields but the last are the arguments of :meth:`AGNN.forward
    <agnn_pyg.AGNN.forward>`.

    Attributes:
        x_dict: Features by node type.
        edge_index_dict: Edges neighbor :math:`\rightarrow` node by edge type.
        edge_label_index: The pairs, as positions among the nodes, :obj:`[2, B]`.
        cold_dict: True for nodes whose preference and bias are generated, :obj:`[N]`.
        n_id_dict: Global ids of the nodes, :obj:`[N]`.
        rating_dict: Ratings of the edges that carry messages, by edge type.
        edge_label: Ratings of the pairs, :obj:`[B]`, if they are known.
    """

    x_dict: dict[NodeType, Features]
    edge_index_dict: dict[EdgeType, Tensor]
    edge_label_index: Tensor
    cold_dict: dict[NodeType, Tensor] | None = None
    n_id_dict: dict[NodeType, Tensor] | None = None
    rating_dict: dict[EdgeType, Tensor] | None = None
    edge_label: Tensor | None = None

    @property
    def nodes_and_edges(self) -> dict[str, Any]:
        """The arguments of :meth:`AGNN.encode <agnn_pyg.AGNN.encode>`."""
        others = ('edge_label_index', 'edge_label')
        return {k: v for k, v in self._asdict().items() if k not in others}

    @classmethod
    def from_data(cls, data: HeteroData | RatingBatch) -> RatingBatch:
        """Reads a batch of PyG's :class:`~torch_geometric.loader.LinkNeighborLoader`,
        or a whole graph.

        Features come from :obj:`x` (and :obj:`x_weight`, the weights of token ids) and
        cold masks from :obj:`cold`. The pairs come from the one edge type that has an
        :obj:`edge_label_index`, and ratings from :obj:`rating` of this edge type and of
        its reverse. To prevent target leakage, the pairs are removed from all edges
        between the two node types.

        Raises:
            ValueError: If no edge type has an :obj:`edge_label_index`, or several have.
        """
        if isinstance(data, cls):
            return data
        rated = edge_type_of_pairs(data, 'edge_label_index')
        pairs, label = data[rated].edge_label_index, data[rated].get('edge_label')
        edges = data.edge_index_dict
        ratings = {}
        if 'rating' in data[rated]:
            edges[rated], ratings[rated] = _messages(data, rated)
        for edge_type in types_between(data, rated) - {*ratings}:
            index = edges[edge_type]
            asked = pairs if edge_type[0] == rated[0] else pairs.flip(0)
            is_kept = _differ(index, asked, data[edge_type[-1]].num_nodes)
            edges[edge_type] = index[:, is_kept]
        cold, n_id = (data.collect(key, allow_empty=True) for key in ('cold', 'n_id'))
        x = features(data)
        cold, n_id = ({k: part[k] for k in x if k in part} for part in (cold, n_id))
        return cls(x, edges, pairs, cold, n_id, ratings, label)

    def to(self, device: torch.device | str) -> RatingBatch:
        """The batch on another device."""
        return RatingBatch(*(_to(part, device) for part in self))


def check_loader(name: str, loader: object) -> None:
    """Raises ``ValueError`` if a graph is passed instead of a loader."""
    if isinstance(loader, BaseData):
        raise ValueError(
            f"'{name}' must be a loader (got {type(loader).__name__}); for ratings to "
            f"train on, FullGraphLoader(data, ...), and for 'edge_label_index', [data] "
            f'or a LinkNeighborLoader'
        )


def edge_type_of_pairs(data: HeteroData, name: str) -> EdgeType:
    """The one edge type that has the attribute; raises ``ValueError`` otherwise."""
    found = [t for t in data.edge_types if name in data[t]]
    if len(found) != 1:
        raise ValueError(
            f"'data' must have one edge type with '{name}', of the pairs of a batch of "
            f'LinkNeighborLoader (got {found}); negative triplets give none'
        )
    return found[0]


def features(data: HeteroData) -> dict[NodeType, Features]:
    """Features :obj:`x` by node type, with token weights :obj:`x_weight` if present."""
    return {
        name: (store.x, store.x_weight) if 'x_weight' in store else store.x
        for name, store in data.node_items()
        if 'x' in store
    }


def _messages(data: HeteroData, rated: EdgeType) -> tuple[Tensor, Tensor]:
    """Unique edges of both directions without the target pairs, and their ratings."""
    index, rating = data[rated].edge_index, data[rated].rating
    for edge_type in sorted(types_between(data, rated) - {rated}):
        if edge_type[0] == rated[-1] and 'rating' in data[edge_type]:
            index = torch.cat([index, data[edge_type].edge_index.flip(0)], dim=1)
            rating = torch.cat([rating, data[edge_type].rating])
    size = max(data[end].num_nodes for end in rated[::2])
    is_kept = _differ(index, data[rated].edge_label_index, size)
    return coalesce(index[:, is_kept], rating[is_kept], size, reduce='min')


def _differ(index: Tensor, pairs: Tensor, size: int) -> Tensor:
    """A mask of the edges that are not pairs. Second ends must be below size."""
    edge, pair = (row * size + col for row, col in (index, pairs))
    return torch.isin(edge, pair, invert=True)


def _to(part, device):
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, dict):
        return {key: _to(value, device) for key, value in part.items()}
    return tuple(_to(p, device) for p in part) if isinstance(part, tuple) else part
