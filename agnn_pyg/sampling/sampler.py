"""Weighted neighbor sampling for PyG's loaders, without compiled extensions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.storage import EdgeStorage
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)
from torch_geometric.sampler.neighbor_sampler import edge_sample, node_sample
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.base.config import Seed, check_argument
from agnn_pyg.base.randomness import salted
from agnn_pyg.graph.edges import check_edges
from agnn_pyg.sampling.draw import CandidateSets

# Names for the only node type and edge type of a `Data` object.
_NODE: NodeType = 'node'
_EDGE: EdgeType = ('node', 'to', 'node')
# The default edge attribute with weights.
WEIGHT_ATTR = 'edge_weight'


class ProximitySampler(BaseSampler):
    r"""Draws neighbors without replacement, in proportion to edge weight.

    Pass it to :class:`~torch_geometric.loader.NeighborLoader` or
    :class:`~torch_geometric.loader.LinkNeighborLoader` as
    :obj:`neighbor_sampler`. It needs neither :obj:`pyg-lib` nor
    :obj:`torch-sparse`, and works on homogeneous and heterogeneous graphs.
    Draws are reproducible under a seed with any number of worker processes.

    The neighbors of a node stay the same throughout an epoch. Call
    :meth:`set_epoch` for new ones, as with PyTorch's ``DistributedSampler``.

    .. code-block:: python

        sampler = ProximitySampler(data, num_neighbors=[10, 10], seed=0)
        loader = NeighborLoader(data, num_neighbors=[10, 10], batch_size=128,
                                neighbor_sampler=sampler)
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            for batch in loader:
                ...  # batch.n_id[:batch.batch_size] are the seed nodes

    .. note::
        PyG's loaders pass some arguments to their default sampler only, and ignore
        them beside a :obj:`neighbor_sampler`: :obj:`num_neighbors`, :obj:`replace`,
        :obj:`subgraph_type`, :obj:`disjoint`, :obj:`time_attr`,
        :obj:`temporal_strategy` and :obj:`weight_attr`. Numbers of neighbors and
        weights are arguments of this class. It draws without replacement and returns
        directional, joint subgraphs. A loader with an :obj:`input_time` or
        :obj:`edge_label_time` raises an error.

    Args:
        data (Data or HeteroData): The graph; edges point neighbor
            :math:`\rightarrow` node.
        num_neighbors (list or dict): Number of neighbors per hop, -1 for all of
            positive weight. A heterogeneous graph may have a dict with a list per edge
            type; edge types without a list are not followed.
        weight_attr (str, optional): The edge attribute with the weights. Draws
            are uniform for edge types without this attribute. (default:
            :obj:`"edge_weight"`)
        seed (int, optional): Seed of all draws, not negative.
            (default: :obj:`0`)

    Raises:
        ValueError: If a number of neighbors is below -1 or not whole, the seed is
            negative or not whole, an edge type is unknown or has no :obj:`edge_index`,
            a node type has no :obj:`num_nodes`, an edge joins a node that does not
            exist, edge types have different numbers of hops, or no edge type has a
            :obj:`weight_attr` other than the default.
    """

    def __init__(
        self,
        data: Data | HeteroData,
        num_neighbors: Sequence[int] | Mapping[EdgeType, Sequence[int]],
        weight_attr: str = WEIGHT_ATTR,
        seed: int = 0,
    ) -> None:
        self.is_hetero = isinstance(data, HeteroData)
        # PyG's loaders sample on the CPU; features stay on their device.
        data = copy(data).cpu('edge_index', weight_attr)
        nodes, edges = {_NODE: data.node_stores[0]}, {_EDGE: data.edge_stores[0]}
        if self.is_hetero:
            nodes, edges = dict(data.node_items()), dict(data.edge_items())
        self.seed = check_argument('seed', seed, Seed)
        # Shared memory, so that persistent workers see the next epoch.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()
        self.node_types = list(nodes)
        self._num_nodes = {name: store.num_nodes for name, store in nodes.items()}
        if not isinstance(num_neighbors, Mapping):
            num_neighbors = dict.fromkeys(edges, num_neighbors)
        self.num_neighbors = _check_numbers(num_neighbors, list(edges))
        edges = {t: edges[t] for t in self.num_neighbors}
        for edge_type, store in edges.items():
            check_edges(edge_type, store, self._num_nodes)
        _check_weights(weight_attr, edges)
        self.candidates = {
            edge_type: CandidateSets(
                store.edge_index, store.get(weight_attr), self._num_nodes[edge_type[-1]]
            )
            for edge_type, store in edges.items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self._epoch.share_memory_()  # a copy is not in shared memory

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of draws. Equal epochs give equal neighbors.

        Raises:
            ValueError: If the epoch is negative or not whole.
        """
        self._epoch.fill_(check_argument('epoch', epoch, Seed))

    @property
    def edge_permutation(self) -> Tensor | dict[EdgeType, Tensor | None] | None:
        """Maps sampled edge slots to positions in the graph's edge index."""
        perm = {t: sets.perm for t, sets in self.candidates.items()}
        return perm if self.is_hetero else perm[_EDGE]

    def sample_from_nodes(
        self, index: NodeSamplerInput, **kwargs
    ) -> SamplerOutput | HeteroSamplerOutput:
        _check_time(index.time)
        return node_sample(index, self._sample)

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput | HeteroSamplerOutput:
        _check_time(index.time)
        num_nodes = self._num_nodes if self.is_hetero else self._num_nodes[_NODE]
        return edge_sample(
            index, self._sample, num_nodes, disjoint=False, neg_sampling=neg_sampling
        )

    def _sample(self, seed, seed_time=None, **kwargs):
        seeds = seed if self.is_hetero else {_NODE: seed}
        empty = torch.empty(0, dtype=torch.long)
        # Seeds come first, then the new nodes of each hop.
        nodes = {name: seeds.get(name, empty) for name in self._num_nodes}
        ends = {name: [0, len(node)] for name, node in nodes.items()}
        # Sources, targets and slots of each hop.
        edges = {edge_type: [] for edge_type in self.candidates}
        num_hops = max((len(n) for n in self.num_neighbors.values()), default=0)
        for hop in range(num_hops):
            for edge_type, sets in self.candidates.items():
                src, _, dst = edge_type
                first, last = ends[dst][-2:]
                size = self.num_neighbors[edge_type][hop]
                size = sets.largest if size == -1 else min(size, sets.largest)
                seed = salted(self.seed, *edge_type)
                slot = sets.draw(nodes[dst][first:last], size, seed, self.epoch)
                row, rank = (slot >= 0).nonzero(as_tuple=True)
                slot = slot[row, rank]
                nodes[src], source = _append(nodes[src], sets.source[slot])
                edges[edge_type].append(torch.stack([source, row + first, slot]))
            for name, node in nodes.items():
                ends[name].append(len(node))
        empty = torch.empty(3, 0, dtype=torch.long)
        found = {t: torch.cat([empty, *hops], dim=1) for t, hops in edges.items()}
        row, col, edge = ({t: part[k] for t, part in found.items()} for k in range(3))
        num_nodes = {name: np.diff(known).tolist() for name, known in ends.items()}
        num_edges = {t: [hop.size(1) for hop in hops] for t, hops in edges.items()}
        parts = {'node': nodes, 'row': row, 'col': col, 'edge': edge}
        parts |= {'num_sampled_nodes': num_nodes, 'num_sampled_edges': num_edges}
        if self.is_hetero:
            return HeteroSamplerOutput(**parts)
        alone = {name: next(iter(part.values())) for name, part in parts.items()}
        return SamplerOutput(**alone)


def _check_numbers(
    num_neighbors: Mapping[EdgeType, Sequence[int]], known: list[EdgeType]
) -> dict[EdgeType, list[int]]:
    for edge_type, sizes in num_neighbors.items():
        if edge_type not in known:
            raise ValueError(
                f"'num_neighbors' must name edge types of the graph, {known} (got "
                f'{edge_type})'
            )
        is_list = isinstance(sizes, Iterable) and not isinstance(sizes, str)
        if not is_list or not all(isinstance(n, Integral) and n >= -1 for n in sizes):
            raise ValueError(
                f"'num_neighbors' must be a list with a whole number per hop, -1 for "
                f'all (got {sizes!r}); for one hop of ten neighbors write [10]'
            )
    if len({len(sizes) for sizes in num_neighbors.values()}) > 1:
        raise ValueError(
            f"'num_neighbors' must have the same number of hops for every edge type "
            f'(got {num_neighbors})'
        )
    return {t: list(sizes) for t, sizes in num_neighbors.items()}


def _check_time(time: Tensor | None) -> None:
    if time is not None:
        raise ValueError(
            "'ProximitySampler' does not sample by time (got an 'input_time' or an "
            "'edge_label_time'); build the graph from past edges instead"
        )


def _check_weights(name: str, stores: Mapping[EdgeType, EdgeStorage]) -> None:
    # Weights are optional under the default name only.
    if name != WEIGHT_ATTR and not any(name in store for store in stores.values()):
        known = sorted({key for store in stores.values() for key in store})
        raise ValueError(
            f"'weight_attr' must be an attribute of edges, {known} (got '{name}')"
        )


def _append(known: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
    """Appends the nodes that are not known yet, and gives the position of each node."""
    new = node.unique()
    known = torch.cat([known, new[~torch.isin(new, known)]])
    # Seeds may repeat a node: its first position counts.
    order = known.sort(stable=True)
    return known, order.indices[torch.searchsorted(order.values, node)]
