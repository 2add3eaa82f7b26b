"""Batches of rated pairs, with the neighbours of their nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.base.config import NonNegativeInt, PositiveInt, check_argument
from agnn_pyg.base.randomness import check_seed, mix
from agnn_pyg.sampling.batch import RatingBatch, check_pairs
from agnn_pyg.sampling.blocks import BlockAssembler
from agnn_pyg.sampling.nodes import NodeSource

# Small batches are assembled together: so many pairs at once, as long as there are
# no more nodes in all copies of a node type.
BLOCK_PAIRS, BLOCK_NODES = 2**12, 2**22


class RatingLoader:
    r"""Iterates over rated pairs; neighbours are drawn once an epoch.

    The batches of :class:`~torch_geometric.loader.LinkNeighborLoader` with a
    :class:`~agnn_pyg.ProximitySampler` and :class:`~agnn_pyg.ColdDropout`, several
    times as fast: at the start of each epoch every node of a pair draws its
    neighbours, so that a batch is indexing only. Warm nodes draw from their
    :obj:`rating_knn` candidates where the graph has any. Cold nodes, and warm ones that
    :obj:`cold_dropout` treats as cold, draw from :obj:`attribute_knn`, see
    :class:`~agnn_pyg.AddAttributeKNN`.

    Iterating twice gives the same batches; call :meth:`set_epoch` for others.

    Args:
        data (HeteroData or dict): The graph, or
            :class:`~agnn_pyg.sampling.nodes.NodeSource` by node type.
        edge_label_index (Tensor or tuple): Pairs, :obj:`[2, R]`, or edge type and
            pairs. Without an edge type, they are pairs of the first and the last node
            type.
        edge_label (Tensor, optional): Ratings of the pairs, :obj:`[R]`.
        batch_size (int, optional): Pairs in a batch. (default: :obj:`2048`)
        num_neighbors (int, optional): Neighbours of a node; 0 switches the graph
            off. (default: :obj:`10`)
        shuffle (bool, optional): (default: :obj:`False`)
        cold_dropout (dict, optional): By node type the fraction of the warm nodes of a
            batch that are treated as cold. (default: :obj:`0` for all)
        self_neighbor (bool, optional): Replace the last neighbour of each node by the
            node itself, as the published code does. (default: :obj:`False`)
        seed (int, optional): (default: :obj:`0`)

    Raises:
        ValueError: If a pair lies outside the graph, or an argument outside
            its range.
    """

    def __init__(
        self,
        data: HeteroData | Mapping[NodeType, NodeSource],
        edge_label_index: Tensor | tuple[EdgeType, Tensor],
        edge_label: Tensor | None = None,
        *,
        batch_size: int = 2048,
        num_neighbors: int = 10,
        shuffle: bool = False,
        cold_dropout: Mapping[NodeType, float] | None = None,
        self_neighbor: bool = False,
        seed: int = 0,
    ) -> None:
        types = data.node_types if isinstance(data, HeteroData) else list(data)
        self.ends = types[0], types[-1]
        if isinstance(edge_label_index, tuple):
            rated, edge_label_index = edge_label_index
            self.ends = rated[0], rated[-1]
        if len({*self.ends} & {*types}) < 2:
            raise ValueError(
                f"'edge_label_index' must be pairs of two node types of 'data', "
                f"{types} (got {self.ends}); for pairs of one type use PyG's "
                f"'LinkNeighborLoader'"
            )
        if isinstance(data, HeteroData):
            data = {end: NodeSource.from_data(data, end) for end in self.ends}
        sizes = {end: len(data[end].cold) for end in self.ends}
        check_pairs('edge_label_index', edge_label_index, sizes, edge_label)
        cold_dropout = check_cold_dropout(cold_dropout or {}, self.ends)
        check_argument('num_neighbors', num_neighbors, NonNegativeInt)
        for end in self.ends:
            if num_neighbors and not data[end].candidates:
                raise ValueError(
                    f"'data' must have candidate edges of '{end}' nodes (got none); "
                    f"add them by 'AddAttributeKNN', or pass num_neighbors=0"
                )
        self.edge_label_index, self.edge_label = edge_label_index, edge_label
        self.batch_size = check_argument('batch_size', batch_size, PositiveInt)
        self.shuffle, self.seed, self.epoch = shuffle, check_seed('seed', seed), 0
        self.rank, self.world_size = 0, 1
        self._assemblers = [
            BlockAssembler(
                data[end],
                end,
                seeds,
                num_neighbors,
                cold_dropout.get(end, 0.0),
                self_neighbor,
                self.seed,
            )
            for end, seeds in zip(self.ends, edge_label_index, strict=True)
        ]

    def set_epoch(self, epoch: int) -> None:
        """Selects the order, the neighbours and the nodes treated as cold.

        Raises:
            ValueError: If the epoch is negative or not whole.
        """
        self.epoch = check_seed('epoch', epoch)

    def shard(self, rank: int, world_size: int) -> None:
        """Iterates over the batches of one of several processes.

        Batches take turns, so that a round of all processes holds the pairs that a
        single one would see in as many batches. An incomplete round is left out.
        """
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return -(-self.edge_label_index.size(1) // self.batch_size) // self.world_size

    def __iter__(self) -> Iterator[RatingBatch]:
        order = self._order()
        if not len(order):
            return
        drawn = [part.sample_neighbors(self.epoch) for part in self._assemblers]
        parts = list(zip(self._assemblers, self.edge_label_index, drawn, strict=True))
        # Batches that are assembled at once.
        nodes = max(part.num_nodes for part in self._assemblers)
        count = max(1, min(BLOCK_PAIRS // self.batch_size, BLOCK_NODES // nodes))
        for block in order.split(count * self.batch_size):
            sizes = [len(chosen) for chosen in block.split(self.batch_size)]
            firsts = block[:: self.batch_size].tolist()
            keys = [batch_key(self.seed, self.epoch, first) for first in firsts]
            label = [None] * len(sizes)
            if self.edge_label is not None:
                label = self.edge_label[block].split(sizes)
            one, other = (
                assembler.batches(index[block], sizes, neighbors, keys)
                for assembler, index, neighbors in parts
            )
            for (u, row), (i, col), y in zip(one, other, label, strict=True):
                yield self._batch((u, i), torch.stack([row, col]), y)

    def _batch(self, nodes, index: Tensor, label: Tensor | None) -> RatingBatch:
        x, edges, cold, n_id, num_targets = (
            dict(zip(self.ends, part, strict=True)) for part in zip(*nodes, strict=True)
        )
        kinds = {part.name: part.kinds[:1] for part in self._assemblers}
        edges = {kind: edges[end] for end in self.ends for kind in kinds[end]}
        return RatingBatch(x, edges, index, cold, n_id, num_targets, label)

    def _order(self) -> Tensor:
        """The pairs in the order of the epoch, those of this process."""
        order = torch.arange(self.edge_label_index.size(1))
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix(self.seed + mix(self.epoch)))
            order = torch.randperm(len(order), generator=generator)
        if self.world_size == 1:
            return order
        batches = order.split(self.batch_size)
        last = len(batches) // self.world_size * self.world_size
        return torch.cat([order[:0], *batches[self.rank : last : self.world_size]])


def batch_key(seed: int, epoch: int, first: int) -> int:
    """A seed for a batch, from the position of its first pair."""
    return mix(mix(seed + mix(epoch)) + int(first))


def check_cold_dropout(
    rates: Mapping[NodeType, float], known: Collection[NodeType]
) -> dict[NodeType, float]:
    """Raises ``ValueError`` unless rates are fractions of known node types."""
    for name, rate in rates.items():
        if name not in known or not 0 <= rate <= 1:
            raise ValueError(
                f"'cold_dropout' must map node types {sorted(known)} to fractions in "
                f'[0, 1] (got {name!r}: {rate!r})'
            )
    return dict(rates)


def set_epoch(loader: Any, epoch: int) -> None:
    """Sets the epoch of a loader or, for those of PyG, of its sampler."""
    for part in (loader, getattr(loader, 'link_sampler', None)):
        if hasattr(part, 'set_epoch'):
            part.set_epoch(epoch)
