"""The nodes of one side of rated pairs: draws their neighbours, assembles batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from agnn_pyg.base.randomness import random_bits, salted
from agnn_pyg.old.batch import NodeBatch
from agnn_pyg.old.draw import CandidatePool

# Of so many numbers or more for each node that is asked for, nodes are sorted
# rather than looked for.
FEW = 32


class Side:
    """Draws neighbours once an epoch, and assembles blocks of batches.

    Args:
        graph (HeteroData): See :func:`~agnn_pyg.old.graph_build.rating_graph`.
        side (str): :obj:`"user"` or :obj:`"item"`.
        asked (Tensor): The nodes that batches are of, in any order and repeated or
            not: no others draw neighbours.
        num_neighbors (int): Neighbours a node.
        cold_rate (float): Share of warm nodes that are treated as cold.
        seed (int): Of all draws.
    """

    def __init__(
        self,
        graph: HeteroData,
        side: str,
        asked: Tensor,
        num_neighbors: int,
        cold_rate: float,
        seed: int,
    ) -> None:
        self.side = side
        # Looked up once: a graph's own look-up costs more than the indexing.
        store = graph[side]
        self.num_nodes = store.num_nodes
        self.asked = asked.unique()
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
        # Scratch, to number nodes without sorting them.
        self._marked = torch.zeros(0, dtype=torch.bool)
        self._number = torch.empty(0, dtype=torch.long)

    def tables(self, epoch: int) -> Tensor:
        """Neighbours of the nodes asked for, -1 for none and of all others.

        Their size is :obj:`[relations, N, K]`.
        """
        size = len(self.pools), self.num_nodes, self.num_neighbors
        tables = self.asked.new_full(size, -1)
        for table, (kind, pool) in zip(tables, self.pools.items(), strict=True):
            seed = salted(self.seed, *kind)
            slot = pool.draw(self.asked, self.num_neighbors, seed, epoch)
            neighbor = torch.full_like(slot, -1)
            neighbor[slot >= 0] = pool.source[slot[slot >= 0]]
            table[self.asked] = neighbor
        return tables

    def batches(
        self, node: Tensor, sizes: list[int], tables: Tensor, keys: list[int]
    ) -> Iterator[tuple[NodeBatch, Tensor]]:
        """Batches of the given nodes, and the position of each node in its batch.

        They are assembled at once, like one batch on as many copies of the graph,
        in which a node of batch b is numbered :obj:`b * num_nodes + node`: most
        operators are so small that calling them costs more than their work.

        Args:
            node: The nodes of all batches, one after the other.
            sizes: How many of them belong to each; the same number, but the last.
            tables: See :meth:`tables`.
            keys: Names of the batches, by which nodes are treated as cold.
        """
        count = len(sizes)
        asked = node
        if count > 1:
            asked = node + torch.arange(len(node)) // sizes[0] * self.num_nodes
        target = self._distinct(asked, count)
        node, batch = self._apart(target, count)
        treated = self._treated(node, batch, keys)
        place = torch.add(node, treated, alpha=self.num_nodes)
        neighbor = tables.flatten(0, 1).index_select(0, place)
        is_edge = neighbor >= 0
        row = is_edge.nonzero()[:, 0]
        edge_batch = batch.index_select(0, row)
        source = neighbor.masked_select(is_edge) + edge_batch * self.num_nodes
        found = self._distinct(source, count, besides=target)
        found_node, found_batch = self._apart(found, count)

        # In each batch, targets come first.
        rank, num_targets = _rank(batch, count)
        found_rank, num_found = _rank(found_batch, count)
        found_rank += num_targets.index_select(0, found_batch)
        number = self._number.index_copy_(0, target, rank)
        number.index_copy_(0, found, found_rank)
        size = num_targets + num_found
        start = size.cumsum(0) - size
        place = rank + start.index_select(0, batch)
        found_place = found_rank + start.index_select(0, found_batch)
        n_id = node.new_empty(len(target) + len(found))
        n_id.index_copy_(0, place, node).index_copy_(0, found_place, found_node)

        cold = self.cold.index_select(0, n_id)
        cold.index_fill_(0, place[treated], True)
        edge_index = torch.stack(
            [number.index_select(0, source), rank.index_select(0, row)]
        )
        num_edges = torch.bincount(edge_batch, minlength=count)
        attr, weight = (
            part.index_select(0, n_id) for part in (self.attr, self.attr_weight)
        )
        parts = [part.split(size.tolist()) for part in (n_id, attr, weight, cold)]
        edges = edge_index.split(num_edges.tolist(), dim=1)
        made = zip(*parts, edges, num_targets.tolist(), strict=True)
        position = number.index_select(0, asked).split(sizes)
        return zip(itertools.starmap(NodeBatch, made), position, strict=True)

    def _treated(self, node: Tensor, batch: Tensor, keys: list[int]) -> Tensor:
        if not self.cold_rate:
            return torch.zeros_like(node, dtype=torch.bool)
        key = torch.tensor([salted(key, self.side) for key in keys])[batch]
        return treat_as_cold(node, self.cold_rate, key.numpy())

    def _apart(self, copy: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The node and the batch of each node of a copy."""
        if count == 1:  # spares large batches a division
            return copy, torch.zeros_like(copy)
        batch = copy // self.num_nodes
        return copy - batch * self.num_nodes, batch

    def _distinct(
        self, copy: Tensor, count: int, besides: Tensor | None = None
    ) -> Tensor:
        """The distinct ones of some nodes of copies, in ascending order."""
        if len(self._marked) < count * self.num_nodes:
            self._marked = torch.zeros(count * self.num_nodes, dtype=torch.bool)
            self._number = torch.empty(count * self.num_nodes, dtype=torch.long)
        marked = self._marked.index_fill_(0, copy, True)
        if besides is not None:
            marked.index_fill_(0, besides, False)
        if len(marked) < FEW * len(copy):
            found = marked.nonzero().squeeze(-1)
        else:  # a look at all nodes would cost more than the batch does
            found = copy.unique()
            found = found.masked_select(marked.index_select(0, found))
        marked.index_fill_(0, found, False)
        return found


def _rank(batch: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The number of each node in its batch, and how many nodes a batch has.

    Batches ascend, from 0 to :obj:`count - 1`.
    """
    size = torch.bincount(batch, minlength=count)
    first = size.cumsum(0) - size
    return torch.arange(len(batch)) - first.index_select(0, batch), size


def treat_as_cold(node: Tensor, rate: float, key: int | np.ndarray) -> Tensor:
    """A random mask over nodes, true for a share `rate` in expectation.

    A hash of node and batch rather than a generator's state: worker processes
    need not agree on who drew what before.
    """
    if rate == 0:
        return torch.zeros_like(node, dtype=torch.bool)
    # As an array: for so few nodes, calling an operator of PyTorch takes longer
    # than what it does.
    return torch.from_numpy(random_bits(node.numpy(), key) < rate * 2**53)
