"""The nodes of one type that batches are made of: features, coldness, candidates."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.sampling.draw import AppendedSets, CandidateSets


def knn_edge_types(data: HeteroData, node_type: NodeType) -> list[EdgeType]:
    """Edge types of the candidate sets of warm nodes and of cold nodes, in this order.

    Warm nodes have :obj:`rating_knn` edges where the graph has any, cold nodes
    :obj:`attribute_knn` edges.
    """
    kinds = [(node_type, f'{name}_knn', node_type) for name in ('rating', 'attribute')]
    return [kind for kind in kinds if kind in data.edge_types]


class NodeSource(NamedTuple):
    """What batches read of the nodes of one type.

    Attributes:
        x: Tensors of features, a row per node.
        cold: True for nodes that were not trained on, :obj:`[N]`.
        candidates: Candidate sets by edge type, see :func:`knn_edge_types`.
    """

    x: tuple[Tensor | AppendedRows, ...]
    cold: Tensor | AppendedRows
    candidates: dict[EdgeType, CandidateSets | AppendedSets]

    @classmethod
    def from_data(cls, data: HeteroData, node_type: NodeType) -> NodeSource:
        """Reads a graph with edges of :class:`~agnn_pyg.AddAttributeKNN`."""
        store, size = data[node_type], data[node_type].num_nodes
        x = (store.x, store.x_weight) if 'x_weight' in store else (store.x,)
        cold = store.cold if 'cold' in store else torch.zeros(size, dtype=torch.bool)
        candidates = {
            kind: CandidateSets(
                data[kind].edge_index, data[kind].get('edge_weight'), size
            )
            for kind in knn_edge_types(data, node_type)
        }
        return cls(x, cold, candidates)

    def add_cold_nodes(
        self, x: tuple[Tensor, ...], edge_index: Tensor, edge_weight: Tensor
    ) -> NodeSource:
        """A source with more nodes, all cold, which shares the tensors of this one.

        Args:
            x: Features of the new nodes.
            edge_index: Edges old node → new node, the new ones numbered from 0.
            edge_weight: Weights of the edges.
        """
        candidates = {}
        for kind, old in self.candidates.items():
            sets = old
            while isinstance(sets, AppendedSets):
                sets = sets.old
            # Beyond the counters of the first nodes, which are positions. So nodes with
            # equal candidates draw equal neighbours.
            counter = edge_index[0] + len(sets.source)
            new = CandidateSets(edge_index, edge_weight, len(x[0]), counter)
            candidates[kind] = AppendedSets(old, new)
        pairs = zip(self.x, x, strict=True)
        cold = torch.ones(len(x[0]), dtype=torch.bool)
        return NodeSource(
            tuple(AppendedRows(*pair) for pair in pairs),
            AppendedRows(self.cold, cold),
            candidates,
        )


class AppendedRows:
    """Rows of a tensor, and new ones after them, padded with 0 to one width."""

    def __init__(self, old: Tensor | AppendedRows, new: Tensor) -> None:
        width = [max(old.size(1), new.size(1))] if new.dim() > 1 else []
        self.old, self.new = old, new
        self._size = [len(old) + len(new), *width]

    def __len__(self) -> int:
        return self._size[0]

    def size(self, dim: int) -> int:
        return self._size[dim]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Some of the rows, as of a tensor."""
        out = self.new.new_zeros(len(index), *self._size[1:])
        is_new = index >= len(self.old)
        for rows, mine, first in (
            (self.old, ~is_new, 0),
            (self.new, is_new, len(self.old)),
        ):
            found = rows.index_select(dim, index[mine] - first)
            if found.dim() > 1:
                found = F.pad(found, (0, out.size(1) - found.size(1)))
            out[mine] = found
        return out
