"""The gated aggregation layer of AGNN, for any graph."""

from numbers import Integral
from typing import Any, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch_geometric import EdgeIndex
from torch_geometric.nn.aggr import MeanAggregation, MultiAggregation
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.typing import Adj, OptTensor, PairOptTensor, PairTensor, Size

from agnn_pyg.nn.gated_mean import check_edge_weight, gated_mean

# No `__all__` here: PyG generates `propagate` from a star import of this file
# and falls back to a slower path, silently, when names are missing from it.

_HOOKS = (
    '_propagate_forward_pre_hooks',
    '_propagate_forward_hooks',
    '_message_forward_pre_hooks',
    '_message_forward_hooks',
    '_aggregate_forward_pre_hooks',
    '_aggregate_forward_hooks',
)


class GatedConv(MessagePassing):
    r"""The gated graph convolution from the `"Attribute Graph Neural Networks
    for Strict Cold Start Recommendation" <https://arxiv.org/abs/1912.12398>`_
    paper.

    .. math::
        \mathbf{x}^{\prime}_i = \mathrm{LeakyReLU} \left(
        (1 - \mathbf{f}_i) \odot \mathbf{x}_i +
        \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)}
        \mathbf{a}_{ij} \odot \mathbf{x}_j \right)

    where the *aggregate gate* decides, for each neighbor and channel, what
    enters

    .. math::
        \mathbf{a}_{ij} = \sigma \left( \mathbf{W}_a
        [\mathbf{x}_i \, \Vert \, \mathbf{x}_j] + \mathbf{b}_a \right)

    and the *filter gate* decides what of the node itself is dropped

    .. math::
        \mathbf{f}_i = \sigma \left( \mathbf{W}_f \left[ \mathbf{x}_i \,
        \Vert \, \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)}
        \mathbf{x}_j \right] + \mathbf{b}_f \right).

    The mean over no neighbors is zero.

    .. note::
        Both gates read the features of the target node, so a bipartite input
        needs both :obj:`x_src` and :obj:`x_dst`, of the same width.

    Args:
        channels (int): Size of each input and output sample.
        negative_slope (float, optional): Slope of the LeakyReLU for negative
            values; :obj:`1.0` makes it the identity.
            (default: :obj:`0.01`)
        aggregate_gate (bool, optional): If set to :obj:`False`, neighbors
            enter as a plain mean. (default: :obj:`True`)
        filter_gate (bool, optional): If set to :obj:`False`, all of the node
            itself is kept. (default: :obj:`True`)
        bias (bool, optional): If set to :obj:`False`, the gates will not learn
            an additive bias. (default: :obj:`True`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`, but for
            :obj:`decomposed_layers`: gates read all channels at once.
            Aggregations must keep the width of messages.

    Raises:
        ValueError: If :obj:`channels` is no positive number, or an argument of
            :class:`torch_geometric.nn.conv.MessagePassing` does not fit.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)` or
          :math:`((|\mathcal{V_s}|, F), (|\mathcal{V_t}|, F))`
          if bipartite,
          edge indices :math:`(2, |\mathcal{E}|)`,
          edge weights :math:`(|\mathcal{E}|)` or
          :math:`(|\mathcal{E}|, 1)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`(|\mathcal{V}_t|, F)` if bipartite
    """

    def __init__(
        self,
        channels: int,
        *,
        negative_slope: float = 0.01,
        aggregate_gate: bool = True,
        filter_gate: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        if not isinstance(channels, Integral) or channels <= 0:
            raise ValueError(
                f"'channels' must be a positive number (got {channels}); the layer "
                f'keeps its width, the same on both ends, so lazy initialization '
                f'is not supported'
            )
        kwargs.setdefault('aggr', 'mean')
        super().__init__(**kwargs)
        self._check_arguments()

        self.channels = channels
        self.negative_slope = negative_slope

        # One `[x_i || x_j]` matrix a gate, as in the paper: two halves
        # initialized on their own would be drawn from too wide a range.
        self.lin_aggr = self.lin_filter = None
        if aggregate_gate:
            self.lin_aggr = self._gate(bias)
        if filter_gate:
            self.lin_filter = self._gate(bias)

        self.reset_parameters()

    def _gate(self, bias: bool) -> Linear:
        return Linear(
            2 * self.channels,
            self.channels,
            bias=bias,
            weight_initializer='glorot',
        )

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.lin_aggr is not None:
            self.lin_aggr.reset_parameters()
        if self.lin_filter is not None:
            self.lin_filter.reset_parameters()

    def forward(
        self,
        x: Union[Tensor, PairTensor],
        edge_index: Adj,
        edge_weight: OptTensor = None,
        size: Size = None,
        return_gates: bool = False,
    ) -> Union[Tensor, Tuple[Tensor, PairOptTensor]]:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor or (torch.Tensor, torch.Tensor)): The input node
                features.
            edge_index (torch.Tensor or SparseTensor): The edge indices. Entries
                of a sparse matrix that is not coalesced are summed first.
            edge_weight (torch.Tensor, optional): Weights that messages are
                multiplied by. (default: :obj:`None`)
            size ((int, int), optional): The shape of the adjacency matrix.
                (default: :obj:`None`)
            return_gates (bool, optional): If set to :obj:`True`, will also
                return the pair of aggregate gates
                :math:`(|\mathcal{E}|, F)` and filter gates
                :math:`(|\mathcal{V}_t|, F)`; :obj:`None` for a gate that is
                switched off. (default: :obj:`False`)

        Raises:
            ValueError: If features, edges, weights or :obj:`size` are of sizes that
                do not fit each other, or gates of a sparse matrix are asked for.
            IndexError: If an edge names a node that there is not.
        """
        if isinstance(x, Tensor):
            x = (x, x)
        self._check_features(x, edge_index)
        if isinstance(edge_index, Tensor) and edge_index.layout != torch.strided:
            edge_index = _readable(edge_index)

        # Half of `W_a` is applied per source node and half per target node
        # rather than to every edge, which is equal and far cheaper.
        gate = x
        if self.lin_aggr is not None:
            weight_i, weight_j = self.lin_aggr.weight.chunk(2, dim=-1)
            gate = (
                F.linear(x[0], weight_j),
                F.linear(x[1], weight_i, self.lin_aggr.bias),
            )

        if self._is_plain(x, edge_index):
            src, dst = self._ends(edge_index)
            if size is not None or isinstance(edge_index, EdgeIndex):
                self._check_size(x, edge_index, size)
            try:
                out = gated_mean(x[0], gate[0], gate[1], src, dst, edge_weight)
            except (IndexError, RuntimeError):
                # Asked only now: to look before would cost every call.
                self._check_range(x, src, dst)
                raise
        else:
            pairs = x, gate
            if self.explain and self.flow == 'target_to_source':
                # Only where it explains, PyG turns pairs round with the flow.
                pairs = x[::-1], gate[::-1]
            # propagate_type: (x: PairTensor, gate: PairTensor, edge_weight: OptTensor)
            out = self.propagate(
                edge_index,
                x=pairs[0],
                gate=pairs[1],
                edge_weight=edge_weight,
                size=size,
            )
        out, x_mean = out.chunk(2, dim=-1)

        x_self, filter_gate = x[1], None
        if self.lin_filter is not None:
            filter_gate = self.lin_filter(torch.cat([x_self, x_mean], dim=-1))
            filter_gate = filter_gate.sigmoid()
            x_self = torch.addcmul(x_self, filter_gate, x_self, value=-1)
        out = x_self + out
        if self.negative_slope != 1.0:
            out = F.leaky_relu(out, self.negative_slope)

        if not return_gates:
            return out
        aggregate_gate = None
        if self.lin_aggr is not None:
            src, dst = self._ends(edge_index)
            aggregate_gate = gate[0].index_select(-2, src)
            aggregate_gate = aggregate_gate + gate[1].index_select(-2, dst)
            aggregate_gate = aggregate_gate.sigmoid()
        return out, (aggregate_gate, filter_gate)

    def message(
        self, x_j: Tensor, gate_i: Tensor, gate_j: Tensor, edge_weight: OptTensor
    ) -> Tensor:
        # Gated and plain messages share one `propagate`: both are averaged.
        gated = x_j
        if self.lin_aggr is not None:
            gated = (gate_i + gate_j).sigmoid() * x_j
        out = torch.cat([gated, x_j], dim=-1)
        if edge_weight is None:
            return out
        check_edge_weight(edge_weight, x_j.size(-2))
        return edge_weight.view(-1, 1).to(out.dtype) * out

    def _is_plain(self, x: PairTensor, edge_index: Adj) -> bool:
        # Whether `gated_mean` does what `propagate` would: nobody listens to
        # messages, replaces them, or has operations compiled, batched or the like.
        return (
            self.lin_aggr is not None
            and isinstance(edge_index, Tensor)
            and edge_index.layout == torch.strided
            and x[0].dim() == x[1].dim() == 2
            and type(self.aggr_module) is MeanAggregation
            and self.node_dim == -2
            and not self.explain
            and not _is_transformed()
            and self.decomposed_layers == 1
            and not any(getattr(self, hooks) for hooks in _HOOKS)
            and all(
                getattr(type(self), name) is getattr(GatedConv, name)
                for name in ('message', 'aggregate', 'update')
            )
        )

    def _ends(self, edge_index: Adj) -> PairTensor:
        """Sources and targets of the edges."""
        if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
            raise ValueError(
                "Gates are returned for edges, in their order; pass 'edge_index' "
                'of size [2, num_edges] rather than a sparse matrix'
            )
        index = edge_index
        if isinstance(edge_index, EdgeIndex):
            index = edge_index.as_tensor()
        i, j = (1, 0) if self.flow == 'source_to_target' else (0, 1)
        return index[j], index[i]

    def _check_arguments(self) -> None:
        aggr = self.aggr_module
        if isinstance(aggr, MultiAggregation) and aggr.mode == 'cat':
            raise ValueError(
                f"'aggr' must keep the width of messages, and several side by side "
                f"do not (got {self.aggr}); combine them by another 'mode', such as "
                f"aggr_kwargs={{'mode': 'mean'}}"
            )
        if self.decomposed_layers != 1:
            raise ValueError(
                f"'decomposed_layers' must be 1 (got {self.decomposed_layers}): gates "
                f'read all channels at once'
            )

    def _check_size(self, x: PairTensor, edge_index: Adj, size: Size) -> None:
        # As `propagate` does: a size is there to be checked, and changes nothing.
        size = self._check_input(edge_index, size)
        for dim, nodes in enumerate(x):
            self._set_size(size, dim, nodes)

    def _check_range(self, x: PairTensor, src: Tensor, dst: Tensor) -> None:
        for end, nodes in ((src, x[0]), (dst, x[1])):
            # A GPU cannot be asked any more: a bad index has broken its state.
            if end.numel() and end.device.type == nodes.device.type == 'cpu':
                low, high = (int(bound) for bound in end.aminmax())
                if low < 0 or high >= nodes.size(-2):
                    raise IndexError(
                        f"Found node {low if low < 0 else high} in 'edge_index', "
                        f'but nodes are numbered from 0 to {nodes.size(-2) - 1}'
                    )

    def _check_features(self, x: PairTensor, edge_index: Adj) -> None:
        for end in x:
            if end is None or end.size(-1) != self.channels:
                got = None if end is None else end.size(-1)
                raise ValueError(
                    f"Expected node features of width 'channels' "
                    f'({self.channels}) on both ends (got {got})'
                )
        if isinstance(edge_index, Tensor) and edge_index.layout == torch.strided:
            if edge_index.is_floating_point():
                raise ValueError(
                    f"Expected 'edge_index' to hold integers (got '{edge_index.dtype}')"
                )
            if edge_index.dim() != 2 or edge_index.size(0) != 2:
                raise ValueError(
                    f"Expected 'edge_index' of size [2, num_edges] (got "
                    f'{list(edge_index.size())})'
                )


def _is_transformed() -> bool:
    """Whether operations are compiled, traced, batched or differentiated forward."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def _readable(adj: Tensor) -> Tensor:
    """A sparse matrix in a layout that :obj:`propagate` reads edge by edge."""
    if adj.layout == torch.sparse_csc:
        return adj.to_sparse_csr()
    return adj.coalesce() if adj.layout == torch.sparse_coo else adj
