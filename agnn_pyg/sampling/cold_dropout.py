"""Simulated cold nodes in batches of PyG's link loader."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.typing import NodeType

from agnn_pyg.base.randomness import salted
from agnn_pyg.sampling.blocks import cold_mask
from agnn_pyg.sampling.loader import batch_key, check_cold_dropout
from agnn_pyg.sampling.nodes import knn_edge_types
from agnn_pyg.sampling.sampler import ProximitySampler


@functional_transform('cold_dropout')
class ColdDropout(BaseTransform):
    r"""Treats random warm nodes of a batch as cold, so that training sees what is
    asked of the model later.

    A :obj:`transform` for :class:`~torch_geometric.loader.LinkNeighborLoader`. It marks
    nodes of the pairs in :obj:`cold`. Where the graph has both edge types of
    :class:`~agnn_pyg.AddAttributeKNN`, it also leaves warm nodes their
    :obj:`rating_knn` neighbours and gives the others those of :obj:`attribute_knn`,
    all as :obj:`rating_knn` edges: a cold node has no ratings to be compared by.

    .. code-block:: python

        sampler = ProximitySampler(data, num_neighbors={...})
        loader = LinkNeighborLoader(data, neighbor_sampler=sampler, ...,
                                    transform=ColdDropout(sampler, {'item': 0.5}))

    Args:
        sampler (ProximitySampler): The sampler of the loader: its seed and its epoch
            select the nodes.
        rates (dict): By node type the fraction of the warm nodes of a batch that
            are treated as cold.

    Raises:
        ValueError: If a rate is not in [0, 1].
    """

    def __init__(
        self, sampler: ProximitySampler, rates: Mapping[NodeType, float]
    ) -> None:
        self.sampler = sampler
        self.rates = check_cold_dropout(rates, sampler.node_types)

    def forward(self, data: HeteroData) -> HeteroData:
        (rated,) = [kind for kind in data.edge_types if 'input_id' in data[kind]]
        key = batch_key(self.sampler.seed, self.sampler.epoch, data[rated].input_id[0])
        for name in data.node_types:
            store = data[name]
            if not store.num_sampled_nodes:
                continue
            seeds = store.n_id[: store.num_sampled_nodes[0]]
            treated = cold_mask(seeds, self.rates.get(name, 0.0), salted(key, name))
            cold = torch.zeros(len(store.n_id), dtype=torch.bool)
            if 'cold' in store:
                cold |= store.cold
            cold[: len(seeds)] |= treated
            store.cold = cold
            kinds = knn_edge_types(data, name)
            if len(kinds) == 2:
                self._join(data, kinds, treated)
        return data

    def _join(self, data: HeteroData, kinds, treated: Tensor) -> None:
        """Puts the neighbours of warm and of treated nodes under one edge type."""
        kept = []
        for kind, wanted in zip(kinds, (~treated, treated), strict=True):
            target = data[kind].edge_index[1]
            # Nodes beyond the first hop are never treated as cold.
            inside = wanted[target.clamp(max=len(wanted) - 1)]
            kept.append(torch.where(target < len(wanted), inside, kind is kinds[0]))
        one, other = (data[kind] for kind in kinds)
        for key, value in list(one.items()):
            if one.is_edge_attr(key) and key != 'e_id' and key in other:
                dim = value.dim() - 1 if key == 'edge_index' else 0
                parts = ((one[key], kept[0]), (other[key], kept[1]))
                masked = [v.index_select(dim, m.nonzero()[:, 0]) for v, m in parts]
                one[key] = torch.cat(masked, dim=dim)
        one.pop('e_id', None)
        del data[kinds[1]]
