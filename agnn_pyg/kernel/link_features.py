"""Low-rank features of a graph kernel, for nodes of a graph and for new nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.base.linalg import singular_vectors
from agnn_pyg.rating_data import NodeFeatures

# The probability to walk on from a node, the most features, and the most new nodes
# between one and a node of the graph.
WALK, RANK, HOPS = 0.9, 64, 3


@dataclass(frozen=True)
class LinkFeatures:
    r"""Features whose inner products are a kernel between the neighbors of two nodes.

    The kernel is that of personalized PageRank, or of the regularized Laplacian (`Smola
    and Kondor, 2003 <https://doi.org/10.1007/978-3-540-45167-9_12>`_). With weights
    :math:`\mathbf{W}` of edges, degrees :math:`\mathbf{D}` and :math:`\mathbf{S} =
    \mathbf{D}^{-1/2} \mathbf{W} \mathbf{D}^{-1/2} \approx \mathbf{U}
    \boldsymbol{\Sigma} \mathbf{U}^\top`, of the leading eigenvectors,

    .. math::
        \mathbf{S} (\mathbf{I} - \alpha \mathbf{S})^{-1} \mathbf{S} \approx \mathbf{X}
        \mathbf{X}^\top, \quad \mathbf{x}_v \propto \mathbf{w}_v^\top \mathbf{D}^{-1/2}
        \mathbf{U} (\mathbf{I} - \alpha \boldsymbol{\Sigma})^{-1/2}

    with rows :math:`\mathbf{x}_v` of length 1, as in spectral clustering (`Ng et al.,
    2002 <https://papers.nips.cc/paper/2092>`_). The features of a new node therefore
    need only its edges to the M nodes of the graph. A new neighbor contributes
    :math:`\alpha` times its own features. Nodes without edges have features of 0. Time
    and memory are linear in nodes and edges.
    """

    map: Tensor  # the matrix that multiplies edge weights, [M, rank]

    @classmethod
    def fit(cls, weight: sp.csr_matrix, rank: int = RANK) -> LinkFeatures:
        """Computes eigenvectors of a graph from symmetric weights, :obj:`[M, M]`."""
        degree = weight.sum(axis=1).A1
        scale = np.divide(1, degree**0.5, out=np.zeros_like(degree), where=degree > 0)
        scale = sp.diags(scale)
        step = scale @ weight @ scale
        # Singular vectors of S + I, which has no negative eigenvalues, unlike S.
        left, value, _ = singular_vectors((step + sp.eye(len(degree))).tocsr(), rank)
        x = scale @ (left / np.sqrt(1 - WALK * np.clip(value - 1, -1, 1)))
        return cls(torch.from_numpy(x.astype(np.float32)))

    def transform(self, weight: sp.csr_matrix) -> Tensor:
        """Computes features of N nodes, not yet of length 1, from their edge weights.

        Weights are :obj:`[N, M]`, or :obj:`[N, M + N]` with edges among the N nodes.
        """
        size = len(self.map)
        step = (sp.diags(1 / weight.sum(axis=1).A1.clip(1e-12)) @ weight).tocsr()
        x = first = step[:, :size] @ self.map.numpy()
        for _ in range(HOPS if step[:, size:].nnz else 0):
            x = first + WALK * step[:, size:] @ x
        return torch.from_numpy(x).float()

    def attach(self, nodes: NodeFeatures, weight: sp.csr_matrix) -> NodeFeatures:
        """Adds edges and positions to N nodes; weights as in :meth:`transform`."""
        edges = weight.tocoo()
        links = torch.from_numpy(np.stack([edges.col, edges.row]).astype(np.int64))
        positions = F.normalize(self.transform(weight))
        return nodes._replace(links=links, positions=positions)

    def append(self, weight: sp.csr_matrix) -> LinkFeatures:
        """Extends the features to N more nodes, see :meth:`transform`."""
        return LinkFeatures(torch.cat([self.map, self.transform(weight)]))
