"""Items and users as vectors: from their ids, their attributes, or both."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agnn_pyg.base.encoder import TokenBags


class NodeEmbedding(nn.Module):
    r"""Two layers over the one-hot id and the attributes of an item or a user.

    .. math::
        \mathbf{x} = \mathrm{ReLU} \big( \mathbf{W}_2 \, \mathrm{ReLU} (
        \mathbf{W}_1 [\mathrm{onehot} \, \Vert \, \mathbf{a}] + \mathbf{b}_1) +
        \mathbf{b}_2 \big)

    (TaNP, Section 4.1). A one-hot picks a row of the weight, a bag of attribute tokens
    sums rows, and an id that was not trained, see :meth:`set_trained_ids`, adds zeros,
    as does the row -1, a node that came later.

    Args:
        num_nodes (int): Number of items or users.
        channels (tuple): Widths of the two layers.
        use_id (bool, optional): Whether ids are read. (default: :obj:`True`)
        attributes (TokenBags, optional): Attributes of all nodes.

    Shapes:
        - **input:** rows of nodes :math:`(*)`
        - **output:** :math:`(*, F_{out})`
    """

    def __init__(
        self,
        num_nodes: int,
        channels: tuple[int, int],
        use_id: bool = True,
        attributes: TokenBags | None = None,
    ) -> None:
        super().__init__()
        described = num_nodes if attributes is None else attributes.num_nodes
        if num_nodes < 1 or described != num_nodes or not (use_id or attributes):
            raise ValueError(
                f"'num_nodes' must be at least 1, with an id or 'attributes' for each "
                f'(got {num_nodes} nodes and attributes of {described})'
            )
        self.id_weight = self.token_weight = None
        if use_id:
            # Row 0 stays zero; it stands for every id that was not trained.
            self.id_weight = nn.Parameter(torch.empty(num_nodes + 1, channels[0]))
            self.register_buffer('id_row', torch.arange(1, num_nodes + 1))
        if attributes is not None:
            size = attributes.num_tokens, channels[0]
            self.token_weight = nn.Parameter(torch.empty(size))
            for name, value in vars(attributes).items():
                self.register_buffer(name, value, persistent=False)
        self.bias = nn.Parameter(torch.empty(channels[0]))
        self.lin = nn.Linear(*channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        # As a linear layer over all inputs would start.
        tables = [w for w in (self.id_weight, self.token_weight) if w is not None]
        bound = 1 / math.sqrt(sum(len(table) - 1 for table in tables))
        for table in (*tables, self.bias):
            nn.init.uniform_(table, -bound, bound)
        for table in tables:
            nn.init.zeros_(table[0])
        self.lin.reset_parameters()

    @torch.no_grad()
    def set_trained_ids(self, node: Tensor) -> None:
        """Marks the ids that training reads, and no others, as trained."""
        if self.id_weight is not None:
            self.id_row.zero_()
            node = node.to(self.id_row.device)
            self.id_row[node] = node + 1

    def forward(self, node: Tensor) -> Tensor:
        hidden = self.bias.expand(*node.size(), -1)
        if self.id_weight is not None:
            row = self.id_row[node] * (node >= 0)
            hidden = hidden + F.embedding(row, self.id_weight, 0)
        if self.token_weight is not None:
            token, count = (v[node].flatten(0, -2) for v in (self.index, self.weight))
            options = {'per_sample_weights': count.to(hidden.dtype), 'padding_idx': 0}
            total = F.embedding_bag(token, self.token_weight, mode='sum', **options)
            hidden = hidden + total.view_as(hidden)
        return self.lin(hidden.relu()).relu()

    def with_nodes(self, attributes: TokenBags) -> NodeEmbedding:
        """The same layer with further nodes, of which attributes alone are known."""
        made = copy.copy(self)
        made._buffers = dict(self._buffers)
        if self.id_weight is not None:
            made.id_row = F.pad(self.id_row, (0, attributes.num_nodes))
        parts = (part.to(self.bias.device) for part in vars(attributes).values())
        bags = self.attributes.append(TokenBags(*parts))
        made.index, made.weight = bags.index, bags.weight
        return made

    @property
    def attributes(self) -> TokenBags:
        """The attributes of all nodes, which must have any."""
        return TokenBags(self.index, self.weight, self.is_value)
