"""Items and users as vectors: from their ids, their attributes, or both."""

from __future__ import annotations

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

    (TaNP, Section 4.1). A product with a one-hot is a row of the weight, and
    one with a bag of attribute tokens a weighted sum of rows; no one-hot is
    ever made.

    An id that was never trained, see :meth:`know`, has the meaning of a one-hot
    of zeros: its row is not read. With :obj:`id_dropout` training sees that
    case, too.

    Args:
        num_nodes (int): Rows in the table of items or users.
        hidden_channels (int): Width of the first layer.
        out_channels (int): Width of the second.
        use_id (bool, optional): Learn a row for each id. (default: :obj:`True`)
        attributes (TokenBags, optional): Side information, one row a node.
        id_dropout (float, optional): Share of the ids that are treated as
            unknown in training. (default: :obj:`0.0`)

    Shapes:
        - **input:** row numbers :math:`(R)`
        - **output:** :math:`(R, F_{out})`
    """

    def __init__(
        self,
        num_nodes: int,
        hidden_channels: int,
        out_channels: int,
        use_id: bool = True,
        attributes: TokenBags | None = None,
        id_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(num_nodes, use_id, attributes, id_dropout)
        self.num_nodes, self.id_dropout = num_nodes, id_dropout
        self.id_weight = self.token_weight = None
        if use_id:
            # Row 0 stays zero; it stands for every id that is not known.
            self.id_weight = nn.Parameter(torch.empty(num_nodes + 1, hidden_channels))
            self.register_buffer('id_row', torch.arange(1, num_nodes + 1))
        if attributes is not None:
            tokens = attributes.num_tokens
            self.token_weight = nn.Parameter(torch.empty(tokens, hidden_channels))
            self.register_buffer('attr', attributes.index)
            self.register_buffer('attr_weight', attributes.weight)
        self.bias = nn.Parameter(torch.empty(hidden_channels))
        self.lin = nn.Linear(hidden_channels, out_channels)
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
    def know(self, node: Tensor) -> None:
        """Declares the given nodes, and no others, to be trained on."""
        if self.id_weight is not None:
            self.id_row.zero_()
            self.id_row[node] = node.to(self.id_row.device) + 1

    def forward(self, node: Tensor) -> Tensor:
        hidden = self.bias
        if self.id_weight is not None:
            row = self.id_row[node]
            if self.training and self.id_dropout:
                row = row * (
                    torch.rand(row.size(), device=row.device) >= self.id_dropout
                )
            hidden = hidden + F.embedding(row, self.id_weight, padding_idx=0)
        if self.token_weight is not None:
            weight = self.attr_weight[node].to(self.token_weight.dtype)
            hidden = hidden + F.embedding_bag(
                self.attr[node],
                self.token_weight,
                mode='sum',
                per_sample_weights=weight,
                padding_idx=0,
            )
        return self.lin(hidden.relu()).relu()


def _check(
    num_nodes: int, use_id: bool, attributes: TokenBags | None, id_dropout: float
) -> None:
    if num_nodes < 1:
        raise ValueError(f"'num_nodes' must be at least 1 (got {num_nodes})")
    if not use_id and attributes is None:
        raise ValueError(
            "'use_id' is False and 'attributes' is None; a node needs one of the two"
        )
    if attributes is not None and attributes.num_nodes != num_nodes:
        raise ValueError(
            f"'attributes' must describe all {num_nodes} nodes (got "
            f'{attributes.num_nodes})'
        )
    if not 0 <= id_dropout < 1:
        raise ValueError(f"'id_dropout' must lie in [0, 1) (got {id_dropout})")
