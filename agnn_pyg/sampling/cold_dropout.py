"""Simulated cold nodes in batches of PyG's link loader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform
from torch_geometric.typing import NodeType

from agnn_pyg.base.config import Fraction, check_argument
from agnn_pyg.base.randomness import mix, salted, uniform
from agnn_pyg.sampling.batch import edge_type_of_pairs
from agnn_pyg.sampling.sampler import ProximitySampler

# Attributes that a loader adds to an edge type without one value per edge.
KEPT = ('edge_label', 'edge_label_index', 'input_id', 'num_sampled_edges')


@functional_transform('cold_dropout')
class ColdDropout(BaseTransform):
    r"""Treats random nodes of a batch as cold, so that a model is trained on the cold
    nodes that it will predict.

    This is a :obj:`transform` of :class:`~torch_geometric.loader.LinkNeighborLoader`.
    It marks random nodes of the pairs in :obj:`cold`. It removes their edges to nodes
    of other types, such as their ratings.

    .. code-block:: python

        sampler = ProximitySampler(data, num_neighbors={...})
        loader = LinkNeighborLoader(data, neighbor_sampler=sampler, ...,
                                    transform=ColdDropout(sampler, {'item': 0.5}))

    Args:
        sampler (ProximitySampler): The sampler of the loader, whose seed and epoch
            determine the random nodes.
        rates (float or dict): Fraction of the nodes of the pairs in a batch to treat as
            cold: one number for both ends, or a number per node type.

    Raises:
        ValueError: If a rate is not in [0, 1], or a batch has no pairs.
    """

    def __init__(
        self, sampler: ProximitySampler, rates: float | Mapping[NodeType, float]
    ) -> None:
        self.sampler = sampler
        self.rates = check_rates('rates', rates, sampler.node_types)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.rates})'

    def forward(self, data: HeteroData) -> HeteroData:
        rated = edge_type_of_pairs(data, 'input_id')
        key = mix(self.sampler.seed + mix(self.sampler.epoch))
        key = mix(key + int(data[rated].input_id[0]))
        treated = {}
        for name in data.node_types:
            store = data[name]
            seeds = store.num_sampled_nodes[0] if store.num_sampled_nodes else 0
            # A hash of node and batch, on which all worker processes agree.
            draw = uniform(store.n_id, salted(key, name))
            treated[name] = draw < self.rates.get(name, 0.0)
            treated[name][seeds:] = False
            store.cold = treated[name] | store.get('cold', treated[name])
        for edge_type in data.edge_types:
            store = data[edge_type]
            if edge_type[0] == edge_type[-1] or 'num_sampled_edges' not in store:
                continue  # the sampler did not follow this edge type
            source, target = store.edge_index
            is_kept = ~(treated[edge_type[0]][source] | treated[edge_type[-1]][target])
            kept = is_kept.nonzero().squeeze(-1)
            # Before any of them changes: they are told by the number of edges.
            names = [n for n in store if store.is_edge_attr(n) and n not in KEPT]
            for name in names:
                store[name] = store[name].index_select(int(name == 'edge_index'), kept)
            hops = is_kept.split(store.num_sampled_edges)
            store.num_sampled_edges = [int(hop.sum()) for hop in hops]
        return data


def check_rates(
    name: str, rates: float | Mapping[NodeType, float], node_types: Sequence[NodeType]
) -> dict[NodeType, float]:
    """Returns fractions by node type, from one number or a mapping."""
    if not isinstance(rates, Mapping):
        rates = dict.fromkeys(node_types, rates)
    if unknown := sorted(rates.keys() - {*node_types}):
        raise ValueError(
            f"'{name}' must map node types {sorted(node_types)} to fractions (got "
            f'{unknown})'
        )
    return {key: check_argument(name, rate, Fraction) for key, rate in rates.items()}
