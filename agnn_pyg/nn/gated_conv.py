"""The gated graph convolution of AGNN, for any graph."""

from numbers import Integral
from typing import Any, Callable, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn.aggr import MeanAggregation
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.nn.resolver import aggregation_resolver
from torch_geometric.typing import Adj, OptTensor, PairOptTensor, PairTensor, Size
from torch_geometric.utils import is_sparse, to_edge_index

from agnn_pyg.nn.gated_mean import gated_mean, gated_messages

# No `__all__` here: PyG generates `propagate` from a star import of this file
# and falls back to a slower path, silently, when names are missing from it.


def _unfused(name: str) -> Callable:
    """A hook's registration that leaves the fused path, which would skip the hook."""
    register = getattr(MessagePassing, name)

    def register_unfused(self: MessagePassing, hook: Callable) -> Any:
        self.fuse = False
        return register(self, hook)

    return register_unfused


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
        \mathbf{x}_j] + \mathbf{b}_a \right)

        \mathbf{f}_i &= \sigma \left( \mathbf{W}_f \left[ \mathbf{x}_i \, \Vert \,
        \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)} \mathbf{x}_j \right] +
        \mathbf{b}_f \right)

    and the mean over no neighbors is zero. With edge features, an addition to the
    paper, the aggregate gate reads :math:`[\mathbf{x}_i \, \Vert \, \mathbf{x}_j \,
    \Vert \, \mathbf{e}_{ij}]`, and both means are over :math:`\mathbf{x}_j +
    \mathbf{W}_e \mathbf{e}_{ij}`.

    Messages are not stored unless hooks on :meth:`propagate`, :meth:`message` or
    :meth:`aggregate` ask for them, until :obj:`conv.fuse = True`. TorchScript, which
    PyTorch has deprecated, cannot express that and is not supported;
    :meth:`torch.compile` and :meth:`torch.jit.trace` are.

    Args:
        channels (int): Size of each input and output sample, the same on both ends.
        edge_dim (int, optional): Edge feature dimensionality (in case there are any).
            (default: :obj:`None`)
        negative_slope (float, optional): LeakyReLU angle of the negative slope;
            :obj:`1.0` makes it the identity. (default: :obj:`0.01`)
        aggregate_gate (bool, optional): If set to :obj:`False`,
            :math:`\mathbf{a}_{ij} = 1`. (default: :obj:`True`)
        filter_gate (bool, optional): If set to :obj:`False`, :math:`\mathbf{f}_i = 0`.
            (default: :obj:`True`)
        bias (bool, optional): If set to :obj:`False`, the gates will not learn an
            additive bias. (default: :obj:`True`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`, except
            :obj:`decomposed_layers`. Another :obj:`aggr` must keep the width.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`((|\mathcal{V_s}|, F), (|\mathcal{V_t}|, F))` if bipartite,
          edge indices :math:`(2, |\mathcal{E}|)`,
          edge weights :math:`(|\mathcal{E}|)` or :math:`(|\mathcal{E}|, 1)`
          *(optional)*, edge features :math:`(|\mathcal{E}|, D)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`(|\mathcal{V}_t|, F)` if bipartite
    """

    SUPPORTS_FUSED_EDGE_INDEX = True
    register_propagate_forward_pre_hook = _unfused('register_propagate_forward_pre_hook')
    register_propagate_forward_hook = _unfused('register_propagate_forward_hook')
    register_message_forward_pre_hook = _unfused('register_message_forward_pre_hook')
    register_message_forward_hook = _unfused('register_message_forward_hook')
    register_aggregate_forward_pre_hook = _unfused('register_aggregate_forward_pre_hook')
    register_aggregate_forward_hook = _unfused('register_aggregate_forward_hook')

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
        for name, width in (('channels', channels), ('edge_dim', edge_dim)):
            if width is not edge_dim and (not isinstance(width, Integral) or width <= 0):
                raise ValueError(f"'{name}' must be a positive integer (got {width})")
        aggr = kwargs.pop('aggr', 'mean')
        aggr_kwargs = kwargs.pop('aggr_kwargs', None) or {}
        # Without `aggr`: PyG generates `propagate` for the first layer of a class, and
        # an `aggr` that it cannot fuse would leave no layer a fused path.
        super().__init__(None, decomposed_layers=1, **kwargs)
        self.aggr, self.aggr_module = str(aggr), aggregation_resolver(aggr, **aggr_kwargs)
        if getattr(self.aggr_module, 'mode', None) == 'cat':
            raise ValueError(f"'aggr' must keep the width of messages (got {aggr})")
        self.fuse = (
            aggregate_gate
            and self.node_dim == -2
            and type(self.aggr_module) is MeanAggregation
            and all(
                getattr(type(self), name) is getattr(GatedConv, name)
                for name in ('message', 'aggregate', 'update')
            )
        )
        self.channels, self.edge_dim = channels, edge_dim
        self.negative_slope = negative_slope

        # One matrix a gate, as in the paper; halves would be initialized too widely.
        gate = {'bias': bias, 'weight_initializer': 'glorot'}
        self.lin_aggr = self.lin_filter = self.lin_edge = None
        if aggregate_gate:
            self.lin_aggr = Linear(2 * channels + (edge_dim or 0), channels, **gate)
        if filter_gate:
            self.lin_filter = Linear(2 * channels, channels, **gate)
        if edge_dim is not None:
            self.lin_edge = Linear(edge_dim, channels, False, 'glorot')
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for lin in (self.lin_aggr, self.lin_filter, self.lin_edge):
            if lin is not None:
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
        matrix. :obj:`return_gates=True` will also return the pair of aggregate gates
        :math:`(|\mathcal{E}|, F)` and filter gates :math:`(|\mathcal{V}_t|, F)`.
        """
        x = (x, x) if isinstance(x, Tensor) else x
        self._check(x, edge_index, edge_weight, edge_attr, size)
        if is_torch_sparse_tensor(edge_index):
            edge_index = edge_index.to_sparse_csr() ...

        gate_src, gate_dst = x
        if self.lin_aggr is not None:
            # Applied to nodes rather than to edges, which is equal and far cheaper.
            weight_i, weight_j = self.lin_aggr.weight[:, : 2 * C].chunk(2, dim=-1)
            gate_src = F.linear(x[0], weight_j)
            gate_dst = F.linear(x[1], weight_i, self.lin_aggr.bias)

        is_sorted = isinstance(edge_index, EdgeIndex) and edge_index.is_sorted_by_col
        if self.fuse and not self.explain and not is_sorted and not is_sparse(edge_index):
            # `propagate` would not fuse these edges, as their order is not known.
            out, x_mean = self._fused()
        else:
            # propagate_type: (x: Tensor, gate_src: Tensor, gate_dst: Tensor,
            #                  edge: OptTensor, edge_weight: OptTensor)
            out = self.propagate(edge_index, ...)
            out, x_mean = out.chunk(2, dim=-1)

        x_self, filter_gate = x[1], None
        if self.lin_filter is not None:
            filter_gate = self.lin_filter(torch.cat([x_self, x_mean], dim=-1)).sigmoid()
            x_self = torch.addcmul(x_self, filter_gate, x_self, value=-1)
        out = F.leaky_relu(x_self + out, self.negative_slope)
        # Means are taken in full precision, also where autocast makes gates half.
        out = out.to((gate_dst if filter_gate is None else filter_gate).dtype)
        if not return_gates:
            return out
        ...
