"""The encoder of the nodes of one type, from attributes and preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.inits import reset
from torch_geometric.nn.module_dict import ModuleDict
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.nn.bi_interaction import AttributeEmbedding, BiInteraction, Features
from agnn_pyg.nn.extended_vae import EVAEOutput, ExtendedVAE
from agnn_pyg.nn.gated_conv import GatedConv
from agnn_pyg.nn.rating_layer import RatingState


class NodeState(NamedTuple):
    """Encoded nodes of one type.

    Attributes:
        x: Nodes before aggregation; embeddings after :meth:`NodeEncoder.aggregate`,
            :obj:`[N, C]`.
        bias: Biases, learned or generated, :obj:`[N]`.
        learned: Learned preferences and biases, :obj:`[N, C + 1]`. Rows of cold nodes
            are undefined.
        evae: Output of the extended VAE.
        cold: True for nodes without a learned preference, :obj:`[N]`.
        source: Message inputs of the N nodes, then of further ones, :obj:`[M, C]`.
        attributes: Attribute embeddings, :obj:`[N, C]`.
        rating: Outputs of the :class:`RatingLayer`, if the model has one.
    """

    x: Tensor
    bias: Tensor
    learned: Tensor
    evae: EVAEOutput
    cold: Tensor
    source: Tensor
    attributes: Tensor
    rating: RatingState | None = None


class NodeEncoder(nn.Module):
    r"""Embeds the nodes of one type.

    A node with attribute embedding :math:`\mathbf{x}_i` and preference
    :math:`\mathbf{m}_i` is encoded as :math:`\mathbf{h}_i = \mathbf{W} [\mathbf{m}_i
    \, \Vert \, \mathbf{x}_i] + \mathbf{b}`. One convolution per edge type then
    aggregates its neighbors. The preference of a cold node is the reconstruction of
    the extended VAE, *wherever the node appears*: the model never reads the rows of
    cold nodes in :obj:`embedding`.

    Args:
        num_nodes (int): Number of nodes with a row in :obj:`embedding`. Nodes with
            higher ids are cold.
        in_channels (int): Number of dense features, or of tokens including padding
            (token 0).
        channels (int): Size of all embeddings.
        edge_types (sequence, optional): Edge types into these nodes. (default: none)
        conv (callable, optional): Returns a convolution with :obj:`c` input and output
            channels, such as :obj:`lambda c: SAGEConv(c, c)`. (default:
            :class:`~agnn_pyg.nn.GatedConv`)
        dropout (float, optional): Dropout of attribute and node embeddings.
            (default: :obj:`0.0`)
        attribute_dropout (float, optional): Dropout of attribute values.
            (default: :obj:`0.0`)
        generate (bool, optional): If set to :obj:`False`, the preference of a cold node
            is 0 rather than generated from its attributes. (default: :obj:`True`)
        generate_bias (bool, optional): If set to :obj:`False`, the bias of a cold node
            is 0 rather than generated. (default: :obj:`True`)
        generate_neighbors (bool, optional): If set to :obj:`False`, messages from cold
            nodes use their untrained row of :obj:`embedding`. (default: :obj:`True`)
        skip (bool, optional): Add a linear map of the summed attribute embeddings to
            the output. (default: :obj:`True`)
        separate_neighbors (bool, optional): Use separate weights to encode nodes as
            sources of messages. (default: :obj:`False`)
        share_sum_layer (bool, optional): With :obj:`separate_neighbors`, share the
            linear term of the attribute interaction. (default: :obj:`False`)
        embedding_std (float, optional): Standard deviation of the initial preferences.
            (default: :obj:`0.01`)
    """

    def __init__(
        self,
        num_nodes: int,
        in_channels: int,
        channels: int,
        edge_types: Sequence[EdgeType] = (),
        conv: Callable[[int], nn.Module] = GatedConv,
        *,
        dropout: float = 0.0,
        attribute_dropout: float = 0.0,
        generate: bool = True,
        generate_bias: bool = True,
        generate_neighbors: bool = True,
        skip: bool = True,
        separate_neighbors: bool = False,
        share_sum_layer: bool = False,
        embedding_std: float = 0.01,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.generate = generate
        self.generate_neighbors = generate_neighbors
        self.embedding_std = embedding_std
        # Each row holds the preference of a node, then its bias.
        self.embedding = nn.Parameter(torch.empty(num_nodes, channels + 1))
        self.attributes = AttributeEmbedding(
            in_channels, channels, dropout=attribute_dropout
        )
        self.interaction = BiInteraction(channels)
        self.evae = ExtendedVAE(channels, channels + generate_bias)
        self.lin = nn.Linear(2 * channels, channels)
        self.interaction_neighbor = self.lin_neighbor = None
        if separate_neighbors:
            self.interaction_neighbor = BiInteraction(channels)
            self.lin_neighbor = nn.Linear(2 * channels, channels)
            if share_sum_layer:
                self.interaction_neighbor.lin_sum = self.interaction.lin_sum
        self.edge_types = list(edge_types)
        self.convs = ModuleDict({t: conv(channels) for t in self.edge_types})
        self.lin_skip = nn.Linear(channels, channels, bias=False) if skip else None
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.embedding, std=self.embedding_std)
        with torch.no_grad():
            self.embedding[:, self.channels] = 0
        for child in self.children():
            if isinstance(child, nn.Linear):
                nn.init.xavier_uniform_(child.weight)
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
            else:
                reset(child)

    def forward(
        self, x: Features, cold: Tensor | None = None, n_id: Tensor | None = None
    ) -> NodeState:
        """Encodes N nodes, without their neighbors.

        Args:
            x: Features of the nodes, see :class:`~agnn_pyg.nn.AttributeEmbedding`.
            cold: True for cold nodes, :obj:`[N]`. (default: none are)
            n_id: Rows of :obj:`embedding`, :obj:`[N]`. (default: 0 to N - 1)
        """
        num_nodes = len(x[0] if isinstance(x, tuple) else x)
        learned, cold = self._look_up(num_nodes, cold, n_id)
        total, total_square = self.attributes(x)
        x = self.dropout(self.interaction(total, total_square))
        evae, chosen = self._generate(x, learned, cold)
        preference, bias = chosen.split([self.channels, 1], dim=-1)

        source = target = self.dropout(self.lin(torch.cat([preference, x], dim=-1)))
        if self.lin_neighbor is not None:
            x = self.dropout(self.interaction_neighbor(total, total_square))
        if not self.generate_neighbors:
            preference = learned[:, : self.channels]
        if self.lin_neighbor is not None or not self.generate_neighbors:
            lin = self.lin if self.lin_neighbor is None else self.lin_neighbor
            source = self.dropout(lin(torch.cat([preference, x], dim=-1)))
        # A view: PyTorch sums its gradients before it adds those of sources.
        x, bias = target.view_as(target), bias.squeeze(-1)
        return NodeState(x, bias, learned, evae, cold, source, total)

    def aggregate(
        self,
        states: Mapping[NodeType, NodeState],
        name: NodeType,
        edge_index_dict: Mapping[EdgeType, Tensor],
    ) -> NodeState:
        """Aggregates the neighbors of the nodes of this encoder's type.

        Both arguments are dicts: encoded nodes by type, and edges :obj:`[2, E]` by edge
        type. A missing edge type has no edges.
        """
        state = states[name]
        outs = []
        for edge_type in self.edge_types:
            conv = self.convs[edge_type]
            source = states[edge_type[0]].source
            no_edges = source.new_empty(2, 0, dtype=torch.long)
            edge_index = edge_index_dict.get(edge_type, no_edges)
            is_same = edge_type[0] == name and self.lin_neighbor is None
            if is_same and not isinstance(conv, GatedConv):
                # Not every convolution takes a pair. Further sources come last.
                out = conv(source, edge_index)[: len(state.x)]
            else:
                out = conv((source, state.x), edge_index)
            outs.append(out)
        x = sum(outs) if outs else state.x
        if self.lin_skip is not None:
            x = x + self.lin_skip(state.attributes)
        return state._replace(x=x)

    def _look_up(
        self, num_nodes: int, cold: Tensor | None, n_id: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Returns rows of the embedding and a mask of cold nodes."""
        for name, part in (('cold', cold), ('n_id', n_id)):
            if part is not None and part.size() != (num_nodes,):
                raise ValueError(
                    f"'{name}' must have the size [{num_nodes}], one for each node "
                    f'(got {list(part.size())})'
                )
        if cold is None:
            cold = self.lin.weight.new_zeros(num_nodes, dtype=torch.bool)
        rows = len(self.embedding)
        if n_id is not None:
            # Nodes added after training have no row; any row will do.
            learned = self.embedding.index_select(0, n_id.clamp(max=rows - 1))
            return learned, cold | (n_id >= rows)
        if num_nodes != rows:
            raise ValueError(
                f"'n_id_dict' must hold the rows of {num_nodes} nodes in an embedding "
                f'of {rows} nodes (got none)'
            )
        return self.embedding, cold

    def _generate(
        self, x: Tensor, learned: Tensor, cold: Tensor
    ) -> tuple[EVAEOutput, Tensor]:
        """Returns the eVAE output, and preferences and biases (generated if cold)."""
        evae = self.evae(x)
        width = self.channels
        made = evae.reconstruction
        if made.size(1) == width:
            made = F.pad(made, (0, 1))
        if not self.generate:
            made = F.pad(made[:, width:], (width, 0))
        # A copy rather than a product: NaN in the row of a cold node has no effect.
        row = cold.nonzero().squeeze(-1)
        made = made.index_select(0, row).to(learned)
        return evae, learned.index_copy(0, row, made)
