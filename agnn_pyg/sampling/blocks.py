"""Assembly of batches: neighbours of seeds, drawn once an epoch, and local numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.typing import NodeType

from agnn_pyg.base.randomness import random_bits, salted
from agnn_pyg.nn.bi_interaction import Features
from agnn_pyg.sampling.nodes import NodeSource

# Where there are so many times as many nodes as a batch has, the nodes of the batch are
# sorted rather than looked up in a mask of all nodes.
SPARSE = 32


class BlockNodes(NamedTuple):
    """The nodes of one type in a batch, and their edges; see ``RatingBatch``."""

    x: Features
    edge_index: Tensor
    cold: Tensor
    n_id: Tensor
    num_targets: int


class BlockAssembler:
    """Draws the neighbours of seeds once an epoch and assembles blocks of batches.

    Args:
        source (NodeSource): The nodes.
        name (str): Their type, for the random numbers.
        seeds (Tensor): The nodes that batches are made of, in any order and repeated or
            not. Only these draw neighbours.
        num_neighbors, cold_dropout, self_neighbor, seed: See ``RatingLoader``.
    """

    def __init__(
        self,
        source: NodeSource,
        name: NodeType,
        seeds: Tensor,
        num_neighbors: int,
        cold_dropout: float,
        self_neighbor: bool,
        seed: int,
    ) -> None:
        self.source, self.name = source, name
        self.num_nodes = len(source.cold)
        self.seeds = seeds.unique()
        self.num_neighbors, self.self_neighbor = num_neighbors, self_neighbor
        self.cold_dropout, self.seed = cold_dropout, seed
        # The second edge type is for warm nodes that are treated as cold.
        self.kinds = list(source.candidates)[: 2 if cold_dropout else 1]
        # Scratch, to number nodes without sorting them.
        self._marked = torch.zeros(0, dtype=torch.bool)
        self._number = torch.empty(0, dtype=torch.long)

    def sample_neighbors(self, epoch: int) -> Tensor:
        """Neighbours of the seeds, :obj:`[edge types, seeds, K]`, -1 for none.

        The first are for nodes as they are, the last for nodes treated as cold.
        """
        drawn = [
            self.source.candidates[kind].draw_sources(
                self.seeds, self.num_neighbors, salted(self.seed, *kind), epoch
            )
            for kind in self.kinds
        ]
        drawn = torch.stack(drawn or [self.seeds.new_empty(len(self.seeds), 0)])
        if self.self_neighbor and drawn.size(2):
            drawn[:, :, -1] = self.seeds
        return drawn

    def batches(
        self, node: Tensor, sizes: list[int], neighbors: Tensor, keys: list[int]
    ) -> Iterator[tuple[BlockNodes, Tensor]]:
        """Batches of the given nodes, and the position of each node in its batch.

        They are assembled at once, like one batch on as many copies of the graph,
        in which a node of batch b is numbered :obj:`b * num_nodes + node`: most
        operators are so small that calling them costs more than their work.

        Args:
            node: The nodes of all batches, one batch after the other.
            sizes: How many of them belong to each batch; equal, except for the last.
            neighbors: See :meth:`sample_neighbors`.
            keys: Seeds of the batches, which decide which nodes are treated as cold.
        """
        count = len(sizes)
        asked = node
        if count > 1:
            asked = node + torch.arange(len(node)) // sizes[0] * self.num_nodes
        target = self._distinct(asked, count)
        node, batch = self._apart(target, count)
        treated = torch.zeros_like(node, dtype=torch.bool)
        if self.cold_dropout:
            key = torch.tensor([salted(key, self.name) for key in keys])[batch]
            treated = cold_mask(node, self.cold_dropout, key.numpy())
        place = node
        if len(self.seeds) < self.num_nodes:
            place = torch.searchsorted(self.seeds, node)
        if len(neighbors) > 1:
            place = torch.add(place, treated, alpha=len(self.seeds))
        neighbor = neighbors.flatten(0, 1).index_select(0, place)
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

        cold = self.source.cold.index_select(0, n_id)
        cold.index_fill_(0, place[treated], True)
        edge_index = torch.stack(
            [number.index_select(0, source), rank.index_select(0, row)]
        )
        num_edges = torch.bincount(edge_batch, minlength=count).tolist()
        size = size.tolist()
        x = [part.index_select(0, n_id).split(size) for part in self.source.x]
        parts = (
            zip(*x, strict=True) if len(x) > 1 else x[0],
            edge_index.split(num_edges, dim=1),
            cold.split(size),
            n_id.split(size),
            num_targets.tolist(),
        )
        made = itertools.starmap(BlockNodes, zip(*parts, strict=True))
        return zip(made, number.index_select(0, asked).split(sizes), strict=True)

    def _apart(self, copy: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The node and the batch of each node of a copy."""
        if count == 1:  # spares large batches a division
            return copy, torch.zeros_like(copy)
        batch = copy // self.num_nodes
        return copy - batch * self.num_nodes, batch

    def _distinct(
        self, copy: Tensor, count: int, besides: Tensor | None = None
    ) -> Tensor:
        """The distinct nodes among some nodes of copies, in ascending order."""
        if len(self._marked) < count * self.num_nodes:
            self._marked = torch.zeros(count * self.num_nodes, dtype=torch.bool)
            self._number = torch.empty(count * self.num_nodes, dtype=torch.long)
        marked = self._marked.index_fill_(0, copy, True)
        if besides is not None:
            marked.index_fill_(0, besides, False)
        if len(marked) < SPARSE * len(copy):
            found = marked.nonzero().squeeze(-1)
        else:
            found = copy.unique()
            found = found.masked_select(marked.index_select(0, found))
        marked.index_fill_(0, found, False)
        return found


def _rank(batch: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The number of each node in its batch, and the sizes of ascending batches."""
    size = torch.bincount(batch, minlength=count)
    first = size.cumsum(0) - size
    return torch.arange(len(batch)) - first.index_select(0, batch), size


def cold_mask(node: Tensor, rate: float, key: int | np.ndarray) -> Tensor:
    """A random mask over nodes, true for the fraction `rate` in expectation.

    A hash of node and batch rather than the state of a generator: worker processes
    agree without talking to each other.
    """
    if rate == 0:
        return torch.zeros_like(node, dtype=torch.bool)
    # As an array: for so few nodes, calling an operator of PyTorch takes longer
    # than its work.
    return torch.from_numpy(random_bits(node.numpy(), key) < rate * 2**53)
