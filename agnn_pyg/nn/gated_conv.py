"""The gated graph convolution of AGNN, for any graph."""

from functools import partialmethod
from numbers import Integral
from typing import Any, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn import MeanAggregation, MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.typing import Adj, OptTensor, PairOptTensor, PairTensor, Size
from torch_geometric.utils import is_sparse, to_edge_index

from agnn_pyg.nn.gated_mean import GatedMean

# No `__all__` here: PyG generates `propagate` from a star import of this file
# and falls back to a slower path, silently, when names are missing from it.

# Error texts where only `propagate` works, such as in `torch.func` or forward mode.
SLOW = {'functorch', 'forward', 'implemented'}


class GatedConv(MessagePassing):
    r"""The gated graph convolution from the `"Attribute Graph Neural Networks for
    Strict Cold Start Recommendation" <https://arxiv.org/abs/1912.12398>`_ paper.

    .. math::
        \mathbf{x}^{\prime}_i = \mathrm{LeakyReLU} \left( (1 - \mathbf{f}_i) \odot
        \mathbf{x}_i + \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)}
        \mathbf{a}_{ij} \odot \mathbf{x}_j \right)

    where the aggregate gate and the filter gate (section "Gated GNN Layer") are

    .. math::
        \mathbf{a}_{ij} &= \sigma \left( \mathbf{W}_a [\mathbf{x}_i \, \Vert \,
        \mathbf{x}_j] + \mathbf{W}_e \mathbf{e}_{ij} + \mathbf{b}_a \right)

        \mathbf{f}_i &= \sigma \left( \mathbf{W}_f \left[ \mathbf{x}_i \, \Vert \,
        \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)} \mathbf{x}_j \right] +
        \mathbf{b}_f \right)

    The mean over an empty neighborhood is zero. Edge features :math:`\mathbf{e}_{ij}`
    are an addition to the paper. Messages are not materialized, unless a hook was added
    to :meth:`propagate` or one of its steps. TorchScript is not supported. Weights of
    :obj:`lin_aggr` are read directly: hooks, pruning and adapters of it have no effect.

    Args:
        channels (int): Size of each input and output sample, source and target.
        edge_dim (int, optional): Edge feature dimensionality. (default: :obj:`None`)
        negative_slope (float, optional): LeakyReLU slope. (default: :obj:`0.01`)
        aggregate_gate (bool, optional): If set to :obj:`False`,
            :math:`\mathbf{a}_{ij} = 1`. (default: :obj:`True`)
        filter_gate (bool, optional): If set to :obj:`False`, :math:`\mathbf{f}_i = 0`.
            (default: :obj:`True`)
        bias (bool, optional): If set to :obj:`False`, the gates will not learn an
            additive bias. (default: :obj:`True`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`. The :obj:`aggr` may be any
            aggregation that keeps the size of messages. (default: :obj:`"mean"`)

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`((|\mathcal{V_s}|, F), (|\mathcal{V_t}|, F))` if bipartite,
          edge indices :math:`(2, |\mathcal{E}|)`, edge weights
          :math:`(|\mathcal{E}|)` or :math:`(|\mathcal{E}|, 1)` *(optional)*,
          edge features :math:`(|\mathcal{E}|, D)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`(|\mathcal{V}_t|, F)` if bipartite
    """

    SUPPORTS_FUSED_EDGE_INDEX = True

    def __init__(
        self,
        channels: int,
        *,
        edge_dim: Optional[int] = None,
        negative_slope: float = 0.01,
        aggregate_gate: bool = True,
        filter_gate: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        for name, n in (('channels', channels), ('edge_dim', edge_dim or 1)):
            if not isinstance(n, Integral) or n <= 0:
                raise ValueError(f"'{name}' must be a positive int, not lazy (got {n})")
        if edge_dim and not aggregate_gate:
            raise ValueError("'edge_dim' must be None without 'aggregate_gate'")
        # PyG generates `propagate` for the first layer of a class, fused for means
        super().__init__('mean')
        super().__init__(decomposed_layers=1, **{'aggr': 'mean'} | kwargs)
        if getattr(self.aggr_module, 'mode', None) == 'cat':
            raise ValueError(f"'aggr' must not widen messages (got {self.aggr})")
        self.channels, self.edge_dim = channels, edge_dim
        self.negative_slope = negative_slope
        parts = 'message', 'aggregate', 'update'
        inherits = all(getattr(type(self), p) is getattr(GatedConv, p) for p in parts)
        is_mean = type(self.aggr_module) is MeanAggregation
        self.fuse = aggregate_gate and is_mean and inherits

        # One matrix per gate, as in the paper: two halves would get a wider init range.
        gate = 2 * channels, channels, bias, 'glorot'
        self.lin_aggr = Linear(*gate) if aggregate_gate else None
        self.lin_filter = Linear(*gate) if filter_gate else None
        edge = edge_dim, channels, False, 'glorot'
        self.lin_edge = Linear(*edge) if edge_dim else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for lin in filter(None, (self.lin_aggr, self.lin_filter, self.lin_edge)):
            lin.reset_parameters()

    def forward(
        self,
        x: Union[Tensor, PairTensor],
        edge_index: Adj,
        edge_weight: OptTensor = None,
        edge_attr: OptTensor = None,
        size: Size = None,
        return_gates: bool = False,
    ) -> Union[Tensor, Tuple[Tensor, PairOptTensor]]:
        r"""Runs the forward pass of the module.

        Messages are multiplied by :obj:`edge_weight`, or by the values of a sparse
        matrix. With :obj:`return_gates`, the layer also returns the aggregate gates
        :math:`(|\mathcal{E}|, F)` and the filter gates :math:`(|\mathcal{V}_t|, F)`.
        """
        x = (x, x) if isinstance(x, Tensor) else x
        widths = [end if end is None else end.size(-1) for end in x]
        if widths != [self.channels] * 2:
            raise ValueError(f"'x' must have {self.channels} features (got {widths})")
        if (edge_attr is None) == bool(self.edge_dim):
            raise ValueError("'edge_attr' must be given with 'edge_dim', and only then")
        if is_sparse(edge_index) and self.flow == 'source_to_target':
            size = edge_index.size(1), edge_index.size(0)
            if getattr(edge_index, 'layout', None) == torch.sparse_coo:
                edge_index = edge_index.coalesce()
                ends, values = edge_index.indices(), edge_index.values()
            else:
                ends, values = to_edge_index(edge_index)
            edge_index = ends.flip(0)
            if edge_weight is None:
                edge_weight = values.clone()  # `torch.compile` rejects views of values
        w = _per_edge('edge_weight', edge_weight, 1, edge_index, x[0])
        e = _per_edge('edge_attr', edge_attr, self.edge_dim, edge_index, x[0])

        u, v = x
        if self.lin_aggr is not None:
            # Linear maps of nodes rather than of edges: equal results at a lower cost.
            weight_i, weight_j = self.lin_aggr.weight.chunk(2, dim=-1)
            u = F.linear(x[0], weight_j)
            v = F.linear(x[1], weight_i, self.lin_aggr.bias)
        edges, is_sorted, means, fault = edge_index, False, None, None
        if isinstance(edge_index, EdgeIndex):
            edges, size = edge_index.as_tensor(), edge_index.sparse_size()
            is_sorted = edge_index.is_sorted_by_col
        if self._is_fusable(x, size):
            # PyG fuses sorted edges only; the fused path here takes any order.
            fused = self.propagate if is_sorted else self.message_and_aggregate
            try:
                means = fused(edge_index, x=x[0], u=u, v=v, w=w, e=e)
            except (IndexError, RuntimeError, ValueError) as error:
                fault = error  # `propagate` reports the invalid edges.
        if means is None:
            edge_index = edges if self.fuse else edge_index
            # propagate_type: (x: Tensor, u: Tensor, v: Tensor, w: OptTensor,
            #                  e: OptTensor)
            out = self.propagate(edge_index, x=x[0], u=u, v=v, w=w, e=e, size=size)
            means = out.chunk(2, dim=-1)
            if fault and SLOW.isdisjoint(str(fault).split()):
                raise fault

        (out, x_mean), x_self, filter_gate = means, x[1], None
        if self.lin_filter is not None:
            filter_gate = self.lin_filter(torch.cat([x_self, x_mean], dim=-1)).sigmoid()
            x_self = torch.addcmul(x_self, filter_gate, x_self, value=-1)
        out = F.leaky_relu(x_self + out, self.negative_slope)
        # Under autocast, means have full precision and gates half precision.
        out = out.to((v if filter_gate is None else filter_gate).dtype)
        if not return_gates:
            return out
        gates = [None, filter_gate]
        if self.lin_aggr is not None:
            src, dst = edges if self.flow == 'source_to_target' else edges.flip(0)
            gates[0] = self._gate(u.index_select(-2, src), v.index_select(-2, dst), e)
        return out, tuple(gates)

    def message(
        self, x_j: Tensor, u_j: Tensor, v_i: Tensor, w: OptTensor, e: OptTensor
    ) -> Tensor:
        # Gated and plain messages share one `propagate`.
        gated = x_j if self.lin_aggr is None else self._gate(u_j, v_i, e) * x_j
        out = torch.cat([gated, x_j], dim=-1)
        return out if w is None else w * out

    def message_and_aggregate(
        self, edges: Adj, x: Tensor, u: Tensor, v: Tensor, w: OptTensor, e: OptTensor
    ) -> Tensor:
        edges = edges.as_tensor() if isinstance(edges, EdgeIndex) else edges
        src, dst = edges if self.flow == 'source_to_target' else edges.flip(0)
        weight = None if e is None else self.lin_edge.weight.to(x.dtype)
        return GatedMean.apply(src, dst, x, u.to(x.dtype), v.to(x.dtype), w, e, weight)

    def _gate(self, u_j: Tensor, v_i: Tensor, e: OptTensor) -> Tensor:
        return (u_j + v_i if e is None else u_j + v_i + self.lin_edge(e)).sigmoid()

    def _is_fusable(self, x: PairTensor, size: Size) -> bool:
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or x[0].dim() != 2:
            return False
        ends = x if self.flow == 'source_to_target' else x[::-1]
        given = zip(size or (None, None), ends, strict=True)
        fits = all(n is None or n == end.size(0) for n, end in given)
        return self.fuse and fits and not self.explain

    def _register(self, name, hook):
        self.fuse = False  # The fused path would skip the hook.
        return getattr(super(), name)(hook)


for _part in ('propagate', 'message', 'aggregate'):
    for _when in ('pre_hook', 'hook'):
        _name = f'register_{_part}_forward_{_when}'
        setattr(GatedConv, _name, partialmethod(GatedConv._register, _name))


def _per_edge(name, value, width, edge_index, x) -> OptTensor:
    if value is None:
        return None
    shape = [edge_index.size(1), width]
    rows = value.unsqueeze(-1) if value.dim() == 1 else value
    if list(rows.size()) != shape:
        raise ValueError(f"'{name}' must have shape {shape} (got {list(value.size())})")
    return rows.to(x.dtype)
