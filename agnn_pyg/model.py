"""AGNN: rating prediction for nodes that are warm or strictly cold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn.module_dict import ModuleDict
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.base.config import NonNegativeInt, PositiveInt, check_argument
from agnn_pyg.nn.bi_interaction import Features
from agnn_pyg.nn.gated_conv import GatedConv
from agnn_pyg.nn.node_encoder import NodeEncoder, NodeState
from agnn_pyg.sampling.nodes import knn_edge_types


class AGNN(nn.Module):
    r"""The attribute graph neural network from the `"Attribute Graph Neural
    Networks for Strict Cold Start Recommendation"
    <https://arxiv.org/abs/1912.12398>`_ paper.

    Nodes of each type are embedded by a :class:`~agnn_pyg.nn.NodeEncoder`, which
    aggregates neighbours by one :class:`~agnn_pyg.nn.GatedConv` per edge type. The
    rating of a pair of a user and an item is (AGNN, Section 3.4)

    .. math::
        \hat{r}_{ui} = \mathrm{MLP}([\mathbf{p}_u \, \Vert \, \mathbf{q}_i]) +
        \mathbf{p}_u^\top \mathbf{q}_i + b_u + b_i + \mu

    Coldness belongs to nodes: warm, user-cold, item-cold and both-cold pairs may share
    a batch.

    .. code-block:: python

        data = AddAttributeKNN()(data)
        model = AGNN.from_data(data, ('user', 'rates', 'item'))
        rating = model(data.x_dict, data.edge_index_dict, edge_label_index)

    Args:
        num_nodes (dict): Number of nodes of each type.
        in_channels (dict): Number of dense features of each node type, or of tokens,
            padding (token 0) included.
        edge_types (sequence): The edge types to aggregate over. Others in a batch are
            ignored; those missing in a batch have no edges there.
        channels (int, optional): Size of all embeddings. (default: :obj:`32`)
        hidden_channels (int, optional): Size of the hidden layer of the MLP;
            0 makes it a linear layer. (default: :obj:`32`)
        ends (tuple, optional): The node types that a rated pair consists of.
            (default: the first and the last of :obj:`num_nodes`)
        mean (float, optional): Start of the global bias :math:`\mu`: the mean
            of the training ratings. (default: :obj:`0.0`)
        dropout (float, optional): Dropout of embeddings and of the hidden
            layer. (default: :obj:`0.0`)
        conv (callable, optional): Makes a convolution of a given width, such as
            :obj:`lambda c: SAGEConv(c, c)`. (default:
            :class:`~agnn_pyg.nn.GatedConv`)
        share_sum_layer (collection, optional): Node types whose own attributes go
            through the neighbours' linear term, see
            :class:`~agnn_pyg.nn.NodeEncoder`. (default: none)
        **kwargs (optional): Additional arguments of
            :class:`~agnn_pyg.nn.NodeEncoder`.

    Raises:
        ValueError: If a size is out of range, or a node type has no size.
    """

    def __init__(
        self,
        num_nodes: Mapping[NodeType, int],
        in_channels: Mapping[NodeType, int],
        edge_types: Sequence[EdgeType],
        channels: int = 32,
        hidden_channels: int = 32,
        *,
        ends: tuple[NodeType, NodeType] | None = None,
        mean: float = 0.0,
        dropout: float = 0.0,
        conv: Callable[[int], nn.Module] = GatedConv,
        share_sum_layer: Collection[NodeType] = (),
        **kwargs,
    ) -> None:
        super().__init__()
        types = list(num_nodes)
        self.ends = tuple(ends or (types[0], types[-1]))
        self._check(num_nodes, in_channels, edge_types, channels, hidden_channels)
        self.mean = mean
        self.encoders = ModuleDict()
        for name, count in num_nodes.items():
            self.encoders[name] = NodeEncoder(
                count,
                in_channels[name],
                channels,
                [kind for kind in edge_types if kind[-1] == name],
                conv,
                dropout=dropout,
                share_sum_layer=name in share_sum_layer,
                **kwargs,
            )
        hidden = hidden_channels
        self.lin_hidden = nn.Linear(2 * channels, hidden) if hidden else None
        self.lin_out = nn.Linear(hidden or 2 * channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    @classmethod
    def from_data(cls, data: HeteroData, rated: EdgeType, **kwargs) -> AGNN:
        """A model of the sizes of a graph.

        Args:
            data (HeteroData): The graph, with features :obj:`x`.
            rated (tuple): The edge type of the ratings, which tells the :obj:`ends`.
            **kwargs: Other arguments of the class; :obj:`edge_types` are by default the
                candidate sets of both ends, see :class:`~agnn_pyg.AddAttributeKNN`.
        """
        ends = rated[0], rated[-1]
        knn = [kind for end in {*ends} for kind in knn_edge_types(data, end)[:1]]
        kwargs.setdefault('edge_types', sorted(knn))
        named = {
            *ends,
            *(kind[end] for kind in kwargs['edge_types'] for end in (0, -1)),
        }
        x = {name: data[name].x for name in data.node_types if name in named}
        sizes = {name: len(value) for name, value in x.items()}
        channels = {
            name: value.size(1) if value.is_floating_point() else int(value.max()) + 1
            for name, value in x.items()
        }
        return cls(sizes, channels, ends=ends, **kwargs)

    def reset_parameters(self) -> None:
        for encoder in self.encoders.values():
            encoder.reset_parameters()
        for lin in (self.lin_hidden, self.lin_out):
            if lin is not None:
                nn.init.xavier_uniform_(lin.weight)
                nn.init.zeros_(lin.bias)
        nn.init.constant_(self.bias, self.mean)

    def encode(
        self,
        x_dict: Mapping[NodeType, Features],
        edge_index_dict: Mapping[EdgeType, Tensor],
        cold_dict: Mapping[NodeType, Tensor] | None = None,
        n_id_dict: Mapping[NodeType, Tensor] | None = None,
        num_targets_dict: Mapping[NodeType, int] | None = None,
        return_gates: bool = False,
    ) -> dict[NodeType, NodeState]:
        """Embeds each node once.

        Args:
            x_dict (dict): Features by node type, see
                :class:`~agnn_pyg.nn.AttributeEmbedding`.
            edge_index_dict (dict): Edges neighbour → node by edge type.
            cold_dict (dict, optional): Masks of the nodes whose preference and bias
                are generated from attributes, :obj:`[N]`. (default: none are)
            n_id_dict (dict, optional): Global ids of the nodes, :obj:`[N]`.
                (default: those of the full graph, 0 to N - 1)
            num_targets_dict (dict, optional): T: only the first T nodes are embedded,
                the others are their neighbours. (default: all nodes are embedded)
            return_gates (bool, optional): Keep the aggregate gates of
                :class:`~agnn_pyg.nn.GatedConv`. (default: :obj:`False`)

        Raises:
            ValueError: If features of a node type are missing, or do not fit.
        """
        encoders = self.encoders.items()
        lacking = [name for name, _ in encoders if name not in x_dict]
        if lacking:
            raise ValueError(
                f"'x_dict' must hold features of '{lacking[0]}' nodes (got "
                f'{sorted(x_dict)})'
            )
        dicts = [part or {} for part in (cold_dict, n_id_dict, num_targets_dict)]
        states = {
            name: encoder(x_dict[name], *(part.get(name) for part in dicts))
            for name, encoder in encoders
        }
        return {
            name: encoder.aggregate(states, name, edge_index_dict, return_gates)
            for name, encoder in encoders
        }

    def terms(
        self, states: Mapping[NodeType, NodeState], edge_label_index: Tensor
    ) -> dict[str, Tensor]:
        """The terms that add up to the ratings of pairs, by name."""
        row, col = edge_label_index
        user, item = (states[end] for end in self.ends)
        # `index_select`, whose gradient is cheaper than that of `[]`.
        p = user.x.index_select(0, row)
        q = item.x.index_select(0, col)
        hidden = torch.cat([p, q], dim=-1)
        if self.lin_hidden is not None:
            hidden = self.dropout(self.lin_hidden(hidden).relu())
        return {
            'MLP': self.lin_out(hidden).squeeze(-1),
            'dot product': (p * q).sum(dim=-1),
            'user bias': user.bias.index_select(0, row),
            'item bias': item.bias.index_select(0, col),
            'global bias': self.bias,
        }

    def decode(
        self, states: Mapping[NodeType, NodeState], edge_label_index: Tensor
    ) -> Tensor:
        """Rates pairs of embedded nodes, given by position, :obj:`[2, B]`."""
        terms = self.terms(states, edge_label_index).values()
        mlp, dot, user_bias, item_bias, bias = terms
        return mlp + dot + (user_bias + item_bias) + bias

    def forward(
        self,
        x_dict: Mapping[NodeType, Features],
        edge_index_dict: Mapping[EdgeType, Tensor],
        edge_label_index: Tensor,
        cold_dict: Mapping[NodeType, Tensor] | None = None,
        n_id_dict: Mapping[NodeType, Tensor] | None = None,
        num_targets_dict: Mapping[NodeType, int] | None = None,
    ) -> Tensor:
        """Predicts the ratings of pairs, :obj:`[B]`.

        :obj:`edge_label_index`, :obj:`[2, B]`, holds positions of the pairs among the
        nodes of both :attr:`ends`; for the other arguments see :meth:`encode`.
        """
        states = self.encode(
            x_dict, edge_index_dict, cold_dict, n_id_dict, num_targets_dict
        )
        return self.decode(states, edge_label_index)

    def _check(self, num_nodes, in_channels, edge_types, channels, hidden) -> None:
        check_argument('channels', channels, PositiveInt)
        check_argument('hidden_channels', hidden, NonNegativeInt)
        for name, count in num_nodes.items():
            check_argument(f"num_nodes['{name}']", count, PositiveInt)
        named = {*self.ends, *(kind[end] for kind in edge_types for end in (0, -1))}
        for role, known in (('num_nodes', num_nodes), ('in_channels', in_channels)):
            lacking = sorted({*named, *num_nodes} - set(known))
            if lacking:
                raise ValueError(
                    f"'{role}' must name every node type of 'ends', 'edge_types' and "
                    f"'num_nodes' (got {sorted(known)}); add '{lacking[0]}'"
                )
