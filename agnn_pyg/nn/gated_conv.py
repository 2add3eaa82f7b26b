"""The gated aggregation layer of AGNN, for any graph."""

from typing import Any, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.typing import Adj, OptTensor, PairTensor, Size

# No `__all__` here: PyG generates `propagate` from a star import of this file
# and falls back to a slower path, silently, when names are missing from it.


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
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)` or
          :math:`((|\mathcal{V_s}|, F), (|\mathcal{V_t}|, F))`
          if bipartite,
          edge indices :math:`(2, |\mathcal{E}|)`,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`(|\mathcal{V}_t|, F)` if bipartite
    """

    def __init__(
        self,
        channels: int,
        negative_slope: float = 0.01,
        aggregate_gate: bool = True,
        filter_gate: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        if channels <= 0:
            raise ValueError(
                f"'channels' must be positive (got {channels}); the layer "
                f'keeps its width, so lazy initialization is not supported'
            )
        kwargs.setdefault('aggr', 'mean')
        super().__init__(**kwargs)

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
    ) -> Tensor:
        if isinstance(x, Tensor):
            x = (x, x)
        for end in x:
            if end.size(-1) != self.channels:
                raise ValueError(
                    f"Expected node features of width 'channels' "
                    f'({self.channels}) on both ends (got {end.size(-1)})'
                )

        # Half of `W_a` is applied per source node and half per target node
        # rather than to every edge, which is equal and far cheaper.
        gate = x
        if self.lin_aggr is not None:
            weight_i, weight_j = self.lin_aggr.weight.chunk(2, dim=-1)
            gate = (
                F.linear(x[0], weight_j),
                F.linear(x[1], weight_i, self.lin_aggr.bias),
            )

        # propagate_type: (x: PairTensor, gate: PairTensor, edge_weight: OptTensor)
        out = self.propagate(
            edge_index, x=x, gate=gate, edge_weight=edge_weight, size=size
        )
        out, x_mean = out.chunk(2, dim=-1)

        x_self = x[1]
        if self.lin_filter is not None:
            filter_ = self.lin_filter(torch.cat([x_self, x_mean], dim=-1))
            x_self = (1 - filter_.sigmoid()) * x_self
        return F.leaky_relu(x_self + out, self.negative_slope)

    def message(
        self,
        x_j: Tensor,
        gate_i: Tensor,
        gate_j: Tensor,
        edge_weight: OptTensor,
    ) -> Tensor:
        # Gated and plain messages share one `propagate`: both are averaged.
        gated = x_j
        if self.lin_aggr is not None:
            gated = (gate_i + gate_j).sigmoid() * x_j
        out = torch.cat([gated, x_j], dim=-1)
        return out if edge_weight is None else edge_weight.view(-1, 1) * out
