"""Batches of rated pairs, with the neighbours of their users and items."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.base.randomness import check_seed, mix
from agnn_pyg.old.batch import RatingBatch
from agnn_pyg.old.blocks import Side

SIDES = ('user', 'item')

# Small batches are assembled together: so many pairs at once, as long as there are
# no more nodes in all copies of a side's graph.
BLOCK_PAIRS, BLOCK_NODES = 2**12, 2**22


class RatingLoader:
    r"""Iterates over rated pairs; neighbours come from a table drawn once.

    At the start of each epoch every node of a pair draws its neighbours (a table
    of nodes :math:`\times` :obj:`num_neighbors`), so that a batch is indexing
    only. Some of the warm target nodes of a batch may be treated as cold, so
    that training sees what serving will: they draw their neighbours by
    attributes only, as a cold node must.

    Iterating twice gives the same batches; call :meth:`set_epoch` for others.

    Args:
        graph (HeteroData): See :func:`~agnn_pyg.old.graph_build.rating_graph`.
        index (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        rating (Tensor, optional): Their ratings, :obj:`[R]`.
        batch_size (int, optional): Pairs a batch. (default: :obj:`2048`)
        num_neighbors (int, optional): Neighbours a node; 0 switches the graph
            off. (default: :obj:`10`)
        shuffle (bool, optional): (default: :obj:`False`)
        cold_rate (tuple, optional): The share of warm users and of warm items
            in a batch that are treated as cold. (default: :obj:`(0, 0)`)
        seed (int, optional): (default: :obj:`0`)

    Raises:
        ValueError: If a pair lies outside the graph, or an argument outside
            its range.
    """

    def __init__(
        self,
        graph: HeteroData,
        index: Tensor,
        rating: Tensor | None = None,
        *,
        batch_size: int = 2048,
        num_neighbors: int = 10,
        shuffle: bool = False,
        cold_rate: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        check_pairs(graph, index, rating)
        check_options(batch_size, num_neighbors, cold_rate)
        seed = check_seed('seed', seed)
        self.graph = graph
        self.index = index
        self.rating = rating
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.cold_rate = cold_rate
        self.seed = seed
        self.epoch = 0
        self.rank, self.world_size = 0, 1
        self._sides = [
            Side(graph, side, asked, num_neighbors, rate, seed)
            for side, asked, rate in zip(SIDES, index, cold_rate, strict=True)
        ]

    def set_epoch(self, epoch: int) -> None:
        """Selects the order, the neighbours and the nodes treated as cold.

        Raises:
            ValueError: If the epoch is negative or not whole.
        """
        self.epoch = check_seed('epoch', epoch)

    def shard(self, rank: int, world_size: int) -> None:
        """Iterates over the batches of one of several processes, see :func:`sharded`."""
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return -(-self.index.size(1) // self.batch_size) // self.world_size

    def __iter__(self) -> Iterator[RatingBatch]:
        order = epoch_order(self.index.size(1), self.shuffle, self.seed, self.epoch)
        order = sharded(order, self.batch_size, self.rank, self.world_size)
        if not len(order):
            return
        tables = [side.tables(self.epoch) for side in self._sides]
        for block in order.split(self._block * self.batch_size):
            sizes = [len(chosen) for chosen in block.split(self.batch_size)]
            firsts = block[:: self.batch_size].tolist()
            keys = [batch_key(self.seed, self.epoch, first) for first in firsts]
            label = [None] * len(sizes)
            if self.rating is not None:
                label = self.rating[block].split(sizes)
            user, item = (
                side.batches(index[block], sizes, table, keys)
                for side, index, table in zip(
                    self._sides, self.index, tables, strict=True
                )
            )
            for (u, row), (i, col), y in zip(user, item, label, strict=True):
                yield RatingBatch(u, i, torch.stack([row, col]), y)

    @property
    def _block(self) -> int:
        """Batches that are assembled at once."""
        nodes = max(side.num_nodes for side in self._sides)
        return max(1, min(BLOCK_PAIRS // self.batch_size, BLOCK_NODES // nodes))


def epoch_order(size: int, shuffle: bool, seed: int, epoch: int) -> Tensor:
    """The order of the pairs in an epoch."""
    if not shuffle:
        return torch.arange(size)
    generator = torch.Generator().manual_seed(mix(seed + mix(epoch)))
    return torch.randperm(size, generator=generator)


def sharded(order: Tensor, batch_size: int, rank: int, world_size: int) -> Tensor:
    """The pairs of every batch whose turn it is, in one of several processes.

    Batches take turns, so that a round of all processes holds the pairs that a single
    one would see in as many batches. What does not fill a round is left out: each
    process has as many batches.
    """
    if world_size == 1:
        return order
    batches = order.split(batch_size)
    last = len(batches) // world_size * world_size
    return torch.cat([order[:0], *batches[rank:last:world_size]])


def batch_key(seed: int, epoch: int, first: int) -> int:
    """Names a batch, by the position of its first pair."""
    return mix(mix(seed + mix(epoch)) + int(first))


def check_pairs(graph: HeteroData, index: Tensor, rating: Tensor | None) -> None:
    """Raises ``ValueError`` unless all pairs are nodes of the graph."""
    if index.dim() != 2 or index.size(0) != 2 or index.dtype != torch.long:
        raise ValueError(
            f"'index' must be of dtype int64 and size [2, pairs] (got "
            f'{index.dtype}, {list(index.size())})'
        )
    if not index.numel():
        raise ValueError("'index' holds no pairs; there is nothing to rate")
    for side, row in zip(SIDES, index, strict=True):
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= graph[side].num_nodes:
            raise ValueError(
                f"'index' points to {side} {low if low < 0 else high}, but the "
                f'graph has {side}s 0 to {graph[side].num_nodes - 1}'
            )
    if rating is not None and len(rating) != index.size(1):
        raise ValueError(
            f"'rating' must hold one value a pair, {index.size(1)} (got {len(rating)})"
        )


def check_options(
    batch_size: int, num_neighbors: int, cold_rate: tuple[float, float]
) -> None:
    """Raises ``ValueError`` for options outside their range."""
    if batch_size < 1:
        raise ValueError(f"'batch_size' must be at least 1 (got {batch_size})")
    if num_neighbors < 0:
        raise ValueError(f"'num_neighbors' must not be negative (got {num_neighbors})")
    if len(cold_rate) != 2 or not all(0 <= rate <= 1 for rate in cold_rate):
        raise ValueError(
            f"'cold_rate' must be two shares in [0, 1], for users and for items "
            f'(got {cold_rate})'
        )
