"""The transform that adds attribute k-NN edges to a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.data.storage import NodeStorage
from torch_geometric.transforms import BaseTransform
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.graph.build import attribute_graph
from agnn_pyg.graph.edges import ATTRIBUTE_KNN, RATING_KNN, check_hetero, rated_pairs
from agnn_pyg.nn.bi_interaction import is_dense, num_features


@functional_transform('add_attribute_knn')
class AddAttributeKNN(BaseTransform):
    r"""Adds the candidate neighbors of every node to a heterogeneous graph.

    Each node type :obj:`t` with features gets edges :obj:`(t, 'attribute_knn', t)` from
    the nodes closest by attributes, see :func:`~agnn_pyg.attribute_graph`, with their
    proximity as :obj:`edge_weight`. Both ends of :obj:`rated` edges also get
    :obj:`cold`, a mask of the nodes without such edges. With :obj:`rating_knn`, they
    get edges :obj:`(t, 'rating_knn', t)` from the nodes closest by attributes and
    ratings, for use by warm nodes.

    Features :obj:`x` are dense (a floating dtype or :obj:`bool`, :obj:`[N, F]`) or
    token ids (:obj:`int64`, :obj:`[N, F]`, padded with 0), optionally with weights
    :obj:`x_weight`.

    .. code-block:: python

        data = AddAttributeKNN(rated=('user', 'rates', 'movie'))(data)

    Args:
        rated (tuple, optional): The edge type of the training ratings, which has an
            attribute :obj:`rating`. (default: :obj:`None`)
        rating_knn (bool, optional): Add :obj:`rating_knn` edges if :obj:`rated` is
            given. (default: :obj:`False`)
        node_types (sequence, optional): Node types that get edges.
            (default: all types with features)
        features (dict, optional): Features by node type, to compare nodes by instead of
            :obj:`x`: a tensor, :class:`~agnn_pyg.TokenBags` or a sparse matrix.
        candidate_fraction (float, optional): See :func:`~agnn_pyg.attribute_graph`.
            (default: :obj:`0.05`)
        max_candidates (int, optional): See above. (default: :obj:`10`)
        method (str, optional): See above. (default: :obj:`"auto"`)
        seed (int, optional): Seed of the tie-breaking. (default: :obj:`0`)

    Raises:
        ValueError: If there are no features, or features do not match their nodes; if a
            rating is repeated, not finite or outside of the graph; if both ends of
            :obj:`rated` have one type; or if an argument is unknown or out of range.
    """

    def __init__(
        self,
        rated: EdgeType | None = None,
        rating_knn: bool = False,
        node_types: Sequence[NodeType] | None = None,
        features: Mapping[NodeType, object] | None = None,
        candidate_fraction: float = 0.05,
        max_candidates: int = 10,
        method: str = 'auto',
        seed: int = 0,
    ) -> None:
        self.rated = rated
        self.rating_knn = rating_knn
        self.node_types = node_types
        self.features = features or {}
        self.options = {
            'candidate_fraction': candidate_fraction,
            'max_candidates': max_candidates,
            'method': method,
            'seed': seed,
        }

    def forward(self, data: HeteroData) -> HeteroData:
        check_hetero(data)
        known = [t for t in data.node_types if 'x' in data[t] or t in self.features]
        node_types = known if self.node_types is None else self.node_types
        unknown = sorted({*node_types, *self.features}.difference(known))
        if unknown or not node_types:
            raise ValueError(
                f"'node_types' and 'features' must name node types that have features "
                f"'x' in the graph, or else in 'features', {known} (got {unknown})"
            )
        ratings = {} if self.rated is None else self._ratings(data)
        tensors = (
            x for store in data.stores for x in store.values() if torch.is_tensor(x)
        )
        device = next((x.device for x in tensors), torch.device('cpu'))
        for name, matrix in ratings.items():
            cold = torch.from_numpy(np.diff(matrix.indptr) == 0)
            data[name].cold = cold.to(device)
        for name in node_types:
            store = data[name]
            try:
                attributes = _matrix(self.features.get(name, store))
                if store.can_infer_num_nodes and attributes.shape[0] != store.num_nodes:
                    raise ValueError(
                        f"'features' must have {store.num_nodes} rows, one for each "
                        f'node (got {attributes.shape[0]})'
                    )
                graphs = {ATTRIBUTE_KNN: attribute_graph(attributes, **self.options)}
                if self.rating_knn and name in ratings:
                    both = attributes, ratings[name]
                    graphs[RATING_KNN] = attribute_graph(*both, **self.options)
            except ValueError as error:
                raise ValueError(f"node type '{name}': {error}") from error
            for relation, graph in graphs.items():
                store = data[name, relation, name]
                store.edge_index = graph.edge_index.to(device)
                store.edge_weight = graph.edge_weight.to(device)
        return data

    def __repr__(self) -> str:
        # PyG compares this text to detect cached data of other settings.
        settings = vars(self) | {'features': sorted(self.features)}
        settings = ', '.join(f'{name}={value!r}' for name, value in settings.items())
        return f'{type(self).__name__}({settings})'

    def _ratings(self, data: HeteroData) -> dict[NodeType, sp.csr_matrix]:
        """Ratings by node type, with a row per node."""
        index, rating = rated_pairs(data, self.rated)
        one, _, other = self.rated
        size = data[one].num_nodes, data[other].num_nodes
        if not torch.isfinite(rating).all():
            raise ValueError("'rating' must be finite (got NaN or infinity)")
        pairs = index.cpu().numpy()
        entries = (rating.double().cpu().numpy(), (pairs[0], pairs[1]))
        matrix = sp.csr_matrix(entries, shape=size)
        return {one: matrix, other: matrix.T.tocsr()}


def _matrix(features: object) -> sp.csr_matrix:
    """Converts features to a sparse matrix with a row per node."""
    weight = None
    if isinstance(features, NodeStorage):
        features, weight = features.x, features.get('x_weight')
    if isinstance(features, TokenBags):
        return features.multi_hot()
    if not isinstance(features, Tensor):
        return sp.csr_matrix(features)
    features = features.cpu()
    num_tokens = num_features('x', features)
    if is_dense(features):
        return sp.csr_matrix(features.double().numpy())
    weight = torch.ones(features.size()) if weight is None else weight.cpu()
    return TokenBags(features.long(), weight, torch.arange(num_tokens) > 0).multi_hot()
