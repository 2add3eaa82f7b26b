"""What a batch of rated pairs holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.nn.bi_interaction import Features


class RatingBatch(NamedTuple):
    r"""B pairs to rate, with the nodes and edges that their prediction needs.

    Of each node type, the T nodes of the pairs come first (the *targets*), then their
    neighbours. All fields but the last are the arguments of
    :meth:`AGNN.forward <agnn_pyg.AGNN.forward>`.

    Attributes:
        x_dict: Features by node type.
        edge_index_dict: Edges neighbour :math:`\rightarrow` target by edge type.
        edge_label_index: The pairs, as positions among the nodes, :obj:`[2, B]`.
        cold_dict: True for nodes whose preference and bias are generated, :obj:`[N]`.
        n_id_dict: Global ids of the nodes, :obj:`[N]`.
        num_targets_dict: T.
        rating_dict: Ratings of edges that carry messages, by edge type.
        edge_label: Ratings of the pairs, :obj:`[B]`, if they are known.
    """

    x_dict: dict[NodeType, Features]
    edge_index_dict: dict[EdgeType, Tensor]
    edge_label_index: Tensor
    cold_dict: dict[NodeType, Tensor] | None = None
    n_id_dict: dict[NodeType, Tensor] | None = None
    num_targets_dict: dict[NodeType, int] | None = None
    rating_dict: dict[EdgeType, Tensor] | None = None
    edge_label: Tensor | None = None

    @classmethod
    def from_data(cls, data: HeteroData | RatingBatch) -> RatingBatch:
        """Reads a batch of PyG's :class:`~torch_geometric.loader.LinkNeighborLoader`,
        or a whole graph.

        Features are read from :obj:`x` (and :obj:`x_weight`, the weights of token ids),
        coldness from :obj:`cold`, the pairs from the one edge type that has
        an :obj:`edge_label_index`, and the :obj:`rating` of its edges and of reverse
        edges. The pairs themselves are left out of them: no rating meets itself.

        Raises:
            ValueError: If no edge type has an :obj:`edge_label_index`, or several have.
        """
        if isinstance(data, cls):
            return data
        rated = [kind for kind in data.edge_types if 'edge_label_index' in data[kind]]
        if len(rated) != 1:
            raise ValueError(
                f"'data' must have one edge type with an 'edge_label_index', the pairs "
                f'(got {rated})'
            )
        stores = {kind: data[kind] for kind in data.node_types}
        edges, (rated,), ratings = data.edge_index_dict, rated, {}
        if 'rating' in data[rated]:
            edges[rated], ratings[rated] = _messages(data, rated)
        return cls(
            {
                kind: (store.x, store.x_weight) if 'x_weight' in store else store.x
                for kind, store in stores.items()
                if 'x' in store
            },
            edges,
            data[rated].edge_label_index,
            *(
                {kind: store[key] for kind, store in stores.items() if key in store}
                for key in ('cold', 'n_id')
            ),
            {
                kind: store.num_sampled_nodes[0]
                for kind, store in stores.items()
                # With more than one hop, neighbours have neighbours.
                if len(store.get('num_sampled_nodes') or ()) == 2
            },
            ratings,
            data[rated].get('edge_label'),
        )

    def to(self, device: torch.device | str) -> RatingBatch:
        return RatingBatch(*(_to(part, device) for part in self))


def check_pairs(
    name: str,
    index: Tensor,
    num_nodes: Mapping[NodeType, int],
    rating: Tensor | None = None,
) -> None:
    """Raises ``ValueError`` unless there are pairs, of nodes of two types.

    Args:
        name: What error texts call the pairs.
        index: The pairs, :obj:`[2, R]`.
        num_nodes: Number of nodes of both ends.
        rating: Ratings of the pairs, :obj:`[R]`.
    """
    if index.dim() != 2 or index.size(0) != 2 or index.dtype != torch.long:
        raise ValueError(
            f"'{name}' must be of dtype int64 and size [2, pairs] (got {index.dtype}, "
            f'{list(index.size())})'
        )
    if len(num_nodes) != 2:
        raise ValueError(
            f"'{name}' must join nodes of two types, as users and items (got "
            f'{list(num_nodes)})'
        )
    if not index.numel():
        raise ValueError(f"'{name}' must hold pairs (got none)")
    for (end, bound), row in zip(num_nodes.items(), index, strict=True):
        if bound is None:
            raise ValueError(f"'{end}' must have features 'x', or else 'num_nodes'")
        low, high = (int(value) for value in row.aminmax())
        if low < 0 or high >= bound:
            raise ValueError(
                f"'{name}' must hold {end}s from 0 to {bound - 1} (got {end} "
                f'{low if low < 0 else high})'
            )
    if rating is not None and len(rating) != index.size(1):
        raise ValueError(
            f"'{name}' must have one rating per pair, {index.size(1)} (got "
            f'{len(rating)})'
        )


def _messages(data: HeteroData, rated: EdgeType) -> tuple[Tensor, Tensor]:
    """Edges in both directions that are not to be predicted, each once, and ratings."""
    index, rating = data[rated].edge_index, data[rated].rating
    for kind in data.edge_types:
        if kind[::2] == rated[::-2] and kind != rated and 'rating' in data[kind]:
            index = torch.cat([index, data[kind].edge_index.flip(0)], dim=1)
            rating = torch.cat([rating, data[kind].rating])
    size = data[rated[-1]].num_nodes
    pair, asked = (
        row * size + col for row, col in (index, data[rated].edge_label_index)
    )
    pair, order = pair.sort(stable=True)
    kept = torch.isin(pair, asked, invert=True)
    kept[1:] &= pair[1:] != pair[:-1]
    order = order[kept]
    return index[:, order], rating[order]


def _to(part, device):
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, dict):
        return {key: _to(value, device) for key, value in part.items()}
    return tuple(_to(p, device) for p in part) if isinstance(part, tuple) else part
