"""Batches of rated pairs, with the neighbours of their users and items."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.batch import NodeBatch, RatingBatch
from agnn_pyg.pool import CandidatePool, mix, salted, uniform

SIDES = ('user', 'item')


class RatingLoader:
    r"""Iterates over rated pairs; neighbours come from a table drawn once.

    At the start of each epoch every node draws its neighbours (a table of
    nodes :math:`\times` :obj:`num_neighbors`), so that a batch is indexing
    only. Some of the warm target nodes of a batch may be treated as cold, so
    that training sees what serving will: they draw their neighbours by
    attributes only, as a cold node must.

    Iterating twice gives the same batches; call :meth:`set_epoch` for others.

    Args:
        graph (HeteroData): See :func:`~agnn_pyg.graph.rating_graph`.
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
        self.graph = graph
        self.index = index
        self.rating = rating
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.cold_rate = cold_rate
        self.seed = seed
        self.epoch = 0
        self._sides = [
            _Side(graph, side, num_neighbors, rate, seed)
            for side, rate in zip(SIDES, cold_rate, strict=True)
        ]

    def set_epoch(self, epoch: int) -> None:
        """Selects the order, the neighbours and the nodes treated as cold."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.index.size(1) // self.batch_size)

    def __iter__(self) -> Iterator[RatingBatch]:
        order = epoch_order(self.index.size(1), self.shuffle, self.seed, self.epoch)
        tables = [side.tables(self.epoch) for side in self._sides]
        for chosen in order.split(self.batch_size):
            key = batch_key(self.seed, self.epoch, chosen[0])
            nodes, positions = zip(
                *(
                    side.batch(index[chosen], table, key)
                    for side, index, table in zip(
                        self._sides, self.index, tables, strict=True
                    )
                ),
                strict=True,
            )
            label = None if self.rating is None else self.rating[chosen]
            yield RatingBatch(*nodes, torch.stack(positions), label)


class _Side:
    """Draws and assembles the nodes of one side."""

    def __init__(
        self,
        graph: HeteroData,
        side: str,
        num_neighbors: int,
        cold_rate: float,
        seed: int,
    ) -> None:
        self.side = side
        # Looked up once: a graph's own look-up costs more than the indexing.
        store = graph[side]
        self.num_nodes = store.num_nodes
        self.attr, self.attr_weight = store.attr, store.attr_weight
        self.cold = store.cold
        self.num_neighbors = num_neighbors
        self.cold_rate = cold_rate
        self.seed = seed
        # The second relation is only for warm nodes that are treated as cold.
        relations = ('similar', 'alike') if cold_rate else ('similar',)
        self.pools = {
            (side, relation, side): CandidatePool(
                graph[side, relation, side].edge_index,
                graph[side, relation, side].edge_weight,
                self.num_nodes,
                graph[side, relation, side].get('edge_counter'),
            )
            for relation in relations
        }
        # Scratch of the size of the graph: to number nodes without sorting them.
        self._marked = torch.zeros(self.num_nodes, dtype=torch.bool)
        self._position = torch.empty(self.num_nodes, dtype=torch.long)

    def tables(self, epoch: int) -> Tensor:
        """Neighbours of all nodes, :obj:`[relations, N, K]`, -1 for none."""
        every = torch.arange(self.num_nodes)
        tables = []
        for kind, pool in self.pools.items():
            seed = salted(self.seed, *kind)
            slot = pool.draw(every, self.num_neighbors, seed, epoch)
            table = torch.full_like(slot, -1)
            table[slot >= 0] = pool.source[slot[slot >= 0]]
            tables.append(table)
        return torch.stack(tables)

    def batch(self, node: Tensor, tables: Tensor, key: int) -> tuple[NodeBatch, Tensor]:
        """The batch of the given nodes, and the position of each in it."""
        target = self._distinct(node)
        treated = treat_as_cold(target, self.cold_rate, salted(key, self.side))
        neighbor = tables[treated.long() if self.cold_rate else 0, target]
        row, rank = (neighbor >= 0).nonzero(as_tuple=True)
        source = neighbor[row, rank]

        n_id = torch.cat([target, self._distinct(source, besides=target)])
        number = self._position.index_copy_(0, n_id, torch.arange(len(n_id)))
        edge_index = torch.stack([number.index_select(0, source), row])
        position = number.index_select(0, node)

        cold = self.cold.index_select(0, n_id)
        cold[: len(target)] |= treated
        attr = self.attr.index_select(0, n_id)
        weight = self.attr_weight.index_select(0, n_id)
        return NodeBatch(n_id, attr, weight, cold, edge_index, len(target)), position

    def _distinct(self, node: Tensor, besides: Tensor | None = None) -> Tensor:
        """The distinct ones of some nodes, in ascending order."""
        marked = self._marked.index_fill_(0, node, True)
        if besides is not None:
            marked.index_fill_(0, besides, False)
        found = marked.nonzero().squeeze(-1)
        marked.index_fill_(0, found, False)
        return found


def epoch_order(size: int, shuffle: bool, seed: int, epoch: int) -> Tensor:
    """The order of the pairs in an epoch."""
    if not shuffle:
        return torch.arange(size)
    generator = torch.Generator().manual_seed(mix(seed + mix(epoch)))
    return torch.randperm(size, generator=generator)


def batch_key(seed: int, epoch: int, first: int) -> int:
    """Names a batch, by the position of its first pair."""
    return mix(mix(seed + mix(epoch)) + int(first))


def treat_as_cold(node: Tensor, rate: float, key: int) -> Tensor:
    """A random mask over nodes, true for a share `rate` in expectation.

    A hash of node and batch rather than a generator's state: worker processes
    need not agree on who drew what before.
    """
    if rate == 0:
        return torch.zeros_like(node, dtype=torch.bool)
    return uniform(node, key) < rate


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
