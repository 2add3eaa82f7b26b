"""Edge types of a graph of users and items, and its rated pairs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.storage import EdgeStorage
from torch_geometric.typing import EdgeType, NodeType

# Relations of k-nearest-neighbor edges: by attributes, and by attributes and ratings.
ATTRIBUTE_KNN, RATING_KNN = 'attribute_knn', 'rating_knn'


def check_hetero(data: object) -> None:
    """Raises ``ValueError`` if the graph is no :obj:`HeteroData`."""
    if not isinstance(data, HeteroData):
        raise ValueError(
            f"'data' must be a HeteroData, with users and items as types of nodes (got "
            f'{type(data).__name__})'
        )


def knn_edge_types(data: HeteroData, node_type: NodeType) -> list[EdgeType]:
    """Edge types of the candidate sets of warm nodes, then of cold nodes.

    Warm nodes use :obj:`rating_knn` edges if the graph has any. Cold nodes use
    :obj:`attribute_knn` edges.
    """
    both = [(node_type, name, node_type) for name in (RATING_KNN, ATTRIBUTE_KNN)]
    return [edge_type for edge_type in both if edge_type in data.edge_types]


def types_between(data: HeteroData, rated: EdgeType) -> set[EdgeType]:
    """Edge types between the two node types of the rated edges, in any direction."""
    if rated[0] == rated[-1]:
        return {rated}
    ends = {rated[0], rated[-1]}
    return {t for t in data.edge_types if {t[0], t[-1]} == ends}


def check_edges(
    edge_type: EdgeType, store: EdgeStorage, num_nodes: Mapping[NodeType, int | None]
) -> None:
    """Raises ``ValueError`` if edges are missing or join nodes that do not exist."""
    if 'edge_index' not in store:
        raise ValueError(
            f"'data' must have an 'edge_index' of edges {edge_type} (got none); "
            f"convert an 'adj_t' to it"
        )
    for end, row in zip(edge_type[::2], store.edge_index, strict=True):
        number = num_nodes.get(end)
        if number is None:
            raise ValueError(
                f"'data' must have features 'x', or else 'num_nodes', of '{end}' "
                f'nodes, which edges {edge_type} join'
            )
        outside = ((row < 0) | (row >= number)).nonzero()
        if len(outside):
            place = int(outside[0])
            raise ValueError(
                f"Edges {edge_type} must join '{end}' nodes from 0 to {number - 1} "
                f'(got {int(row[place])} at position {place})'
            )


def rated_pairs(data: HeteroData, rated: EdgeType) -> tuple[Tensor, Tensor]:
    """Rated pairs of a graph, :obj:`[2, R]`, and their ratings, :obj:`[R]`.

    Raises:
        ValueError: If there are no pairs, a pair has no rating or is repeated, or the
            pairs do not join nodes of two types in the graph.
    """
    # Indexing by a missing edge type would add a store to the graph.
    store = data[rated] if rated in data.edge_types else {}
    index, rating = store.get('edge_index'), store.get('rating')
    if index is None or rating is None:
        raise ValueError(
            f"'data' must have 'edge_index' and 'rating' of edges {rated} (got "
            f'{list(store.keys())})'
        )
    if index.dim() != 2 or index.size(0) != 2 or index.dtype != torch.long:
        raise ValueError(
            f"'edge_index' must be of dtype int64 and size [2, pairs] (got "
            f'{index.dtype}, {list(index.size())})'
        )
    if rated[0] == rated[-1]:
        raise ValueError(
            f"'edge_index' must join nodes of two types, as users and items (got "
            f'{rated})'
        )
    if not index.numel():
        raise ValueError("'edge_index' must hold pairs (got none)")
    check_edges(rated, store, {end: data[end].num_nodes for end in rated[::2]})
    if rating.size() != index.size()[1:]:
        raise ValueError(
            f"'edge_index' must have one rating per pair, [{index.size(1)}] (got "
            f'{list(rating.size())})'
        )
    width = data[rated[-1]].num_nodes
    pair = (index[0] * width + index[1]).sort().values
    repeated = pair[1:][pair[1:] == pair[:-1]]
    if len(repeated):  # one copy would leak the rating of the other
        first = divmod(int(repeated[0]), width)
        raise ValueError(
            f"'edge_index' must hold each pair once (got {rated[0]} {first[0]} and "
            f'{rated[-1]} {first[1]} again); aggregate repeated ratings first'
        )
    return index, rating
