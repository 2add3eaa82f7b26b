"""Nodes of one type for batches: their features, their candidates, their neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.base.randomness import random_bits, salted
from agnn_pyg.nn.bi_interaction import Features
from agnn_pyg.sampling.draw import CandidateSets

# Where there are so many times as many nodes as a batch has, the nodes of the batch are
# sorted rather than looked up in a mask of all nodes.
SPARSE = 32


def knn_edge_types(data: HeteroData, node_type: NodeType) -> list[EdgeType]:
    """Edge types of the candidate sets of warm nodes and of cold nodes, in this order.

    Warm nodes have :obj:`rating_knn` edges where the graph has any, cold nodes
    :obj:`attribute_knn` edges.
    """
    kinds = [(node_type, f'{name}_knn', node_type) for name in ('rating', 'attribute')]
    return [kind for kind in kinds if kind in data.edge_types]


class _Part(NamedTuple):
    """Nodes start, start + 1, ... of a :class:`NodeSource`."""

    start: int
    x: tuple[Tensor, ...]
    cold: Tensor
    candidates: dict[EdgeType, CandidateSets]


class NodeSource:
    """What batches read of the nodes of one type.

    Args:
        x (tuple): Tensors of node features, a row a node.
        cold (Tensor): True for nodes that were not trained on, :obj:`[N]`.
        candidates (dict): Candidate sets by edge type.
    """

    def __init__(
        self,
        x: tuple[Tensor, ...],
        cold: Tensor,
        candidates: dict[EdgeType, CandidateSets],
    ) -> None:
        self._parts = [_Part(0, x, cold, candidates)]
        self.num_nodes = len(cold)

    @classmethod
    def from_data(cls, data: HeteroData, node_type: NodeType) -> NodeSource:
        """Reads a graph with edges of :class:`~agnn_pyg.AddAttributeKNN`."""
        store = data[node_type]
        cold = store.get('cold')
        if cold is None:
            cold = torch.zeros(store.num_nodes, dtype=torch.bool)
        x = (store.x, store.x_weight) if 'x_weight' in store else (store.x,)
        candidates = {
            kind: CandidateSets(
                data[kind].edge_index, data[kind].get('edge_weight'), store.num_nodes
            )
            for kind in knn_edge_types(data, node_type)
        }
        return cls(x, cold, candidates)

    @property
    def edge_types(self) -> list[EdgeType]:
        return list(self._parts[0].candidates)

    def add_cold_nodes(
        self, x: tuple[Tensor, ...], edge_index: Tensor, edge_weight: Tensor
    ) -> NodeSource:
        """A source with more nodes, all cold; this one stays as it is.

        The new nodes share the tensors of the old ones. What they draw depends on their
        candidates alone: nodes with equal candidate sets draw equal neighbours.

        Args:
            x: Features of the new nodes.
            edge_index: Edges old node → new node, the new ones numbered from 0.
            edge_weight: Their weights.
        """
        first = self._parts[0]
        new = {}
        for kind, sets in first.candidates.items():
            # Beyond the counters of the edges of the graph, which are positions.
            counter = edge_index[0] + len(sets.source)
            new[kind] = CandidateSets(edge_index, edge_weight, len(x[0]), counter)
        cold = torch.ones(len(x[0]), dtype=torch.bool)
        other = NodeSource(first.x, first.cold, first.candidates)
        other._parts = [*self._parts, _Part(self.num_nodes, x, cold, new)]
        other.num_nodes = self.num_nodes + len(cold)
        return other

    def features(self, node: Tensor) -> tuple[Tensor, ...]:
        """Features of some nodes."""
        if len(self._parts) == 1:
            return tuple(x.index_select(0, node) for x in self._parts[0].x)
        return tuple(
            self._gather(node, [part.x[k] for part in self._parts])
            for k in range(len(self._parts[0].x))
        )

    def is_cold(self, node: Tensor) -> Tensor:
        """A new mask of the cold ones among some nodes."""
        if len(self._parts) == 1:
            return self._parts[0].cold.index_select(0, node)
        return self._gather(node, [part.cold for part in self._parts])

    def draw(
        self, kind: EdgeType, node: Tensor, size: int, seed: int, epoch: int
    ) -> Tensor:
        """Draws neighbours, :obj:`[n, size]`, -1 past the end of a small set."""
        seed = salted(seed, *kind)
        neighbor = node.new_full((len(node), size), -1)
        for row, part in self._by_part(node):
            sets = part.candidates[kind]
            slot = sets.draw(node[row] - part.start, size, seed, epoch)
            drawn = slot.clone()
            drawn[slot >= 0] = sets.source[slot[slot >= 0]]
            neighbor[row] = drawn
        return neighbor

    def proximity(self, kind: EdgeType, node: int) -> tuple[Tensor, Tensor]:
        """The candidates of one node and their weights."""
        ((_, part),) = self._by_part(torch.tensor([node]))
        sets = part.candidates[kind]
        own = slice(*sets.ptr[node - part.start :][:2].tolist())
        return sets.source[own], sets.weight[own]

    def _by_part(self, node: Tensor) -> Iterator[tuple[Tensor | slice, _Part]]:
        if len(self._parts) == 1:
            yield slice(None), self._parts[0]
            return
        for part in self._parts:
            stop = part.start + len(part.cold)
            row = ((node >= part.start) & (node < stop)).nonzero().squeeze(-1)
            if len(row):
                yield row, part

    def _gather(self, node: Tensor, values: list[Tensor]) -> Tensor:
        """Rows of tensors one below the other, padded to one width."""
        size = [max(v.size(1) for v in values)] if values[0].dim() > 1 else []
        out = values[0].new_zeros(len(node), *size)
        for value, (start, *_) in zip(values, self._parts, strict=True):
            inside = (node >= start) & (node < start + len(value))
            row = inside.nonzero().squeeze(-1)
            rows = value.index_select(0, node[row] - start)
            out[row] = F.pad(rows, (0, size[0] - rows.size(1))) if size else rows
        return out


class BlockNodes(NamedTuple):
    """The nodes of one type in a batch, T targets first, and their edges.

    Attributes:
        x: Features, :obj:`[N, F]`.
        edge_index: Edges neighbour → target, :obj:`[2, E]`.
        cold: :obj:`[N]`.
        n_id: :obj:`[N]`.
        num_targets: T.
    """

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
        num_neighbors (int): Neighbours to draw for a node.
        cold_dropout (float): Fraction of the warm nodes of a batch that are treated as
            cold.
        self_neighbor (bool): Replace the last neighbour of each node by the node.
        seed (int): Seed of all draws.
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
        self.num_nodes = source.num_nodes
        self.seeds = seeds.unique()
        self.num_neighbors, self.self_neighbor = num_neighbors, self_neighbor
        self.cold_dropout, self.seed = cold_dropout, seed
        # The second edge type is for warm nodes that are treated as cold.
        kinds = source.edge_types
        self.kinds = [kinds[0], kinds[-1]] if cold_dropout and kinds else kinds[:1]
        # Scratch, to number nodes without sorting them.
        self._marked = torch.zeros(0, dtype=torch.bool)
        self._number = torch.empty(0, dtype=torch.long)

    def sample_neighbors(self, epoch: int) -> Tensor:
        """Neighbours of the seeds, :obj:`[edge types, seeds, K]`, -1 for none.

        The first are for nodes as they are, the last for nodes treated as cold.
        """
        size = self.num_neighbors if self.kinds else 0
        drawn = [
            self.source.draw(kind, self.seeds, size, self.seed, epoch)
            for kind in dict.fromkeys(self.kinds)
        ]
        drawn = torch.stack(drawn or [self.seeds.new_empty(len(self.seeds), 0)])
        if self.self_neighbor and size:
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
            keys: Seeds of the batches, which decide who is treated as cold.
        """
        count = len(sizes)
        asked = node
        if count > 1:
            asked = node + torch.arange(len(node)) // sizes[0] * self.num_nodes
        target = self._distinct(asked, count)
        node, batch = self._apart(target, count)
        treated = self._treated(node, batch, keys)
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

        cold = self.source.is_cold(n_id)
        cold.index_fill_(0, place[treated], True)
        edge_index = torch.stack(
            [number.index_select(0, source), rank.index_select(0, row)]
        )
        num_edges = torch.bincount(edge_batch, minlength=count)
        size = size.tolist()
        x = [part.split(size) for part in self.source.features(n_id)]
        x = zip(*x, strict=True) if len(x) > 1 else x[0]
        edges = edge_index.split(num_edges.tolist(), dim=1)
        made = zip(
            x,
            edges,
            cold.split(size),
            n_id.split(size),
            num_targets.tolist(),
            strict=True,
        )
        position = number.index_select(0, asked).split(sizes)
        return zip(itertools.starmap(BlockNodes, made), position, strict=True)

    def _treated(self, node: Tensor, batch: Tensor, keys: list[int]) -> Tensor:
        if not self.cold_dropout:
            return torch.zeros_like(node, dtype=torch.bool)
        key = torch.tensor([salted(key, self.name) for key in keys])[batch]
        return cold_mask(node, self.cold_dropout, key.numpy())

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
    """The number of each node in its batch, and how many nodes a batch has.

    Batches ascend, from 0 to :obj:`count - 1`.
    """
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
