"""One side of AGNN: from attributes and preference to a node's embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agnn_pyg.nn.gated_conv import GatedConv
from agnn_pyg.old.bi_interaction import AttributeEmbedding, BiInteraction
from agnn_pyg.old.extended_vae import ExtendedVAE, Generated
from agnn_pyg.old.rivals import RivalConv

if TYPE_CHECKING:
    from agnn_pyg.old.batch import NodeBatch


class NodeState(NamedTuple):
    """What is known of the N nodes of a batch; the T targets come first.

    Attributes:
        embedding: Embeddings of the targets after aggregation, :obj:`[T, C]`.
        bias: Their biases, learnt or generated, :obj:`[T]`.
        learnt: Free parameters of all nodes, preference and then bias,
            :obj:`[N, C + 1]`. Meaningless for cold nodes.
        generated: What the extended VAE makes of attributes: of all targets,
            then of the cold ones among the other nodes.
        cold: True for targets without learnt preference, :obj:`[T]`.
    """

    embedding: Tensor
    bias: Tensor
    learnt: Tensor
    generated: Generated
    cold: Tensor


class NodeEncoder(nn.Module):
    r"""Embeds the nodes of one side (users or items).

    With the attribute embedding :math:`\mathbf{x}_i` and the preference
    :math:`\mathbf{m}_i`, a node is :math:`\mathbf{h}_i = \mathbf{W}
    [\mathbf{m}_i \, \Vert \, \mathbf{x}_i] + \mathbf{b}`, and aggregates its
    neighbours by :class:`~agnn_pyg.nn.GatedConv`. For a cold node the
    extended VAE generates :math:`\mathbf{m}_i`, *wherever the node appears*:
    the free parameters of a cold node are never read.

    Args:
        num_nodes (int): Nodes of this side.
        num_tokens (int): Attribute tokens of this side.
        channels (int): Size of all embeddings.
        dropout (float, optional): Dropout of attribute and node embeddings.
            (default: :obj:`0.0`)
        generate (bool, optional): Generate the preference of a cold node. If
            :obj:`False`, it is 0. (default: :obj:`True`)
        generate_bias (bool, optional): Generate the bias of a cold node too.
            If :obj:`False`, it is 0. (default: :obj:`True`)
        skip (bool, optional): Add a linear map of the summed attribute
            embeddings to the output. (default: :obj:`True`)
        separate_neighbors (bool, optional): Embed a node by other weights when
            it appears as a neighbour. (default: :obj:`False`)
        negative_slope (float, optional): Slope of the LeakyReLU after
            aggregation; 1 switches it off. (default: :obj:`0.01`)
        aggregate_gate (bool, optional): See :class:`~agnn_pyg.nn.GatedConv`.
        filter_gate (bool, optional): See :class:`~agnn_pyg.nn.GatedConv`.
        conv (str, optional): :obj:`"gated"`, or the name of a layer of PyG's to
            compare with, see :mod:`agnn_pyg.old.rivals`. The three arguments
            before are the gated layer's. (default: :obj:`"gated"`)
        sparse (bool, optional): Give free parameters and embeddings of attributes
            sparse gradients: a step then costs what the nodes of its batch do, and
            not what all nodes and tokens do.
            (default: :obj:`False`)
    """

    def __init__(
        self,
        num_nodes: int,
        num_tokens: int,
        channels: int,
        *,
        dropout: float = 0.0,
        generate: bool = True,
        generate_bias: bool = True,
        skip: bool = True,
        separate_neighbors: bool = False,
        negative_slope: float = 0.01,
        aggregate_gate: bool = True,
        filter_gate: bool = True,
        conv: str = 'gated',
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.sparse = sparse
        self.channels = channels
        self.generate = generate
        self.generate_bias = generate_bias
        # A row holds all that interactions teach: the preference and the bias.
        self.free = nn.Parameter(torch.empty(num_nodes, channels + 1))
        self.attributes = AttributeEmbedding(num_tokens, channels, sparse=sparse)
        self.interaction = BiInteraction(channels)
        self.evae = ExtendedVAE(channels, channels + generate_bias)
        self.lin = nn.Linear(2 * channels, channels)
        self.interaction_neighbor = self.lin_neighbor = None
        if separate_neighbors:
            self.interaction_neighbor = BiInteraction(channels)
            self.lin_neighbor = nn.Linear(2 * channels, channels)
        if conv == 'gated':
            self.conv = GatedConv(
                channels,
                negative_slope=negative_slope,
                aggregate_gate=aggregate_gate,
                filter_gate=filter_gate,
            )
        else:
            self.conv = RivalConv(conv, channels)
        self.lin_skip = nn.Linear(channels, channels, bias=False) if skip else None
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.free, std=0.01)
        with torch.no_grad():
            self.free[:, self.channels] = 0
        for child in self.children():
            if isinstance(child, nn.Linear):
                nn.init.xavier_uniform_(child.weight)
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
            elif hasattr(child, 'reset_parameters'):
                child.reset_parameters()

    def forward(self, batch: NodeBatch) -> NodeState:
        total, total_square = self.attributes(batch.attr, batch.attr_weight)
        x = self.dropout(self.interaction(total, total_square))
        end = batch.num_targets
        if self.sparse:
            learnt = F.embedding(batch.n_id, self.free, sparse=True)
        else:
            learnt = self.free.index_select(0, batch.n_id)
        generated, chosen = self._generate(x, learnt, batch.cold, end)
        preference, bias = chosen.split([self.channels, 1], dim=-1)

        target = source = self.dropout(self.lin(torch.cat([preference, x], dim=-1)))
        if self.lin_neighbor is not None:
            x = self.dropout(self.interaction_neighbor(total, total_square))
            source = self.lin_neighbor(torch.cat([preference, x], dim=-1))
            source = self.dropout(source)

        size = (len(batch.n_id), end)
        embedding = self.conv((source, target[:end]), batch.edge_index, size=size)
        if self.lin_skip is not None:
            embedding = embedding + self.lin_skip(total[:end])
        bias = bias[:end].squeeze(-1)
        return NodeState(embedding, bias, learnt, generated, batch.cold[:end])

    def _generate(
        self, x: Tensor, learnt: Tensor, cold: Tensor, num_targets: int
    ) -> tuple[Generated, Tensor]:
        """What is generated, and preference and bias with it where it is needed.

        Args:
            x: Attribute embeddings of all nodes, :obj:`[N, C]`.
            learnt: Their free parameters, :obj:`[N, C + 1]`.
            cold: True for nodes that need generated ones, :obj:`[N]`.
            num_targets: T.

        Returns:
            What is generated, see :class:`NodeState`, and preference and bias
            of all nodes, generated for cold ones and learnt for others.
        """
        # The loss looks at all targets; of the neighbours, only cold ones need
        # a generated preference, and most neighbours are warm.
        needed = cold.clone()
        needed[:num_targets] = True
        needed = needed.nonzero().squeeze(-1)
        generated = self.evae(x.index_select(0, needed))
        made = generated.preference
        if not self.generate_bias:
            made = torch.cat([made, torch.zeros_like(made[:, :1])], dim=-1)
        if not self.generate:
            width = self.channels
            made = torch.cat([torch.zeros_like(made[:, :width]), made[:, width:]], -1)
        # A choice, not a blend: whatever a cold row holds, NaN too, is unread.
        row = cold.index_select(0, needed).nonzero().squeeze(-1)
        chosen = learnt.index_copy(
            0, needed.index_select(0, row), made.index_select(0, row).to(learnt)
        )
        return generated, chosen
