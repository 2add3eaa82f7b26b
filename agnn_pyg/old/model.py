"""AGNN: rating prediction for users and items, warm or strictly cold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agnn_pyg.old.messages import Messages
from agnn_pyg.old.propagation import RatingPropagation
from agnn_pyg.old.batch import RatingBatch
from agnn_pyg.old.node_encoder import NodeEncoder, NodeState


class AGNN(nn.Module):
    r"""The attribute graph neural network from the `"Attribute Graph Neural
    Networks for Strict Cold Start Recommendation"
    <https://arxiv.org/abs/1912.12398>`_ paper.

    Each side is embedded by a :class:`~agnn_pyg.nn.NodeEncoder`; a rating is
    (AGNN, Section 3.4)

    .. math::
        \hat{r}_{ui} = \mathrm{MLP}([\mathbf{p}_u \, \Vert \, \mathbf{q}_i]) +
        \mathbf{p}_u^\top \mathbf{q}_i + b_u + b_i + \mu

    Coldness is a property of nodes, not of a run: warm, user-cold, item-cold
    and both-cold pairs may share a batch.

    Args:
        num_users (int): Number of users.
        num_items (int): Number of items.
        num_user_tokens (int): Attribute tokens of users, see
            :class:`~agnn_pyg.base.encoder.AttributeEncoder`.
        num_item_tokens (int): Attribute tokens of items.
        channels (int, optional): Size of all embeddings. (default: :obj:`32`)
        hidden_channels (int, optional): Size of the hidden layer of the MLP;
            0 makes it a linear layer. (default: :obj:`32`)
        mean (float, optional): Start of the global bias :math:`\mu`: the mean
            of the training ratings. (default: :obj:`0.0`)
        dropout (float, optional): Dropout of embeddings and of the hidden
            layer. (default: :obj:`0.0`)
        messages (RatingPropagation or Messages, optional): Fitted messages of
            ratings that predictions are mixed with, outside of training mode. A pair
            that is trained on would find its own rating in them.
        message_share (float, optional): The share :math:`\lambda` of the messages:
            the prediction is :math:`\lambda m_{ui} + (1 - \lambda)
            \hat{r}_{ui}`. (default: :obj:`0.0`)
        **kwargs (optional): Additional arguments of both
            :class:`~agnn_pyg.nn.NodeEncoder`.

    Shapes:
        - **input:** a :class:`~agnn_pyg.old.loader.RatingBatch` of B pairs
        - **output:** predicted ratings :math:`(B)`
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        num_user_tokens: int,
        num_item_tokens: int,
        channels: int = 32,
        hidden_channels: int = 32,
        mean: float = 0.0,
        dropout: float = 0.0,
        messages: RatingPropagation | Messages | None = None,
        message_share: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ('num_users', num_users, 1),
            ('num_items', num_items, 1),
            ('channels', channels, 1),
            ('hidden_channels', hidden_channels, 0),
        ):
            if value < least:
                raise ValueError(f"'{name}' must be at least {least} (got {value})")
        if not 0 <= message_share <= 1:
            raise ValueError(
                f"'message_share' must be a share in [0, 1] (got {message_share})"
            )
        if message_share and messages is None:
            raise ValueError(
                f"'message_share' of {message_share} needs 'messages' to share"
            )
        self.mean = mean
        self.messages, self.message_share = messages, message_share
        kwargs['dropout'] = dropout
        self.user = NodeEncoder(num_users, num_user_tokens, channels, **kwargs)
        self.item = NodeEncoder(num_items, num_item_tokens, channels, **kwargs)
        hidden = hidden_channels
        self.lin_hidden = nn.Linear(2 * channels, hidden) if hidden else None
        self.lin_out = nn.Linear(hidden or 2 * channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.user.reset_parameters()
        self.item.reset_parameters()
        for lin in (self.lin_hidden, self.lin_out):
            if lin is not None:
                nn.init.xavier_uniform_(lin.weight)
                nn.init.zeros_(lin.bias)
        nn.init.constant_(self.bias, self.mean)

    def encode(self, batch: RatingBatch) -> tuple[NodeState, NodeState]:
        """Embeds each distinct user and item of a batch once."""
        return self.user(batch.user), self.item(batch.item)

    def decode(
        self, user: NodeState, item: NodeState, edge_label_index: Tensor
    ) -> Tensor:
        """Rates pairs of embedded nodes, given by position, :obj:`[2, B]`."""
        row, col = edge_label_index
        # `index_select`, whose gradient is cheaper than that of `[]`.
        p = user.embedding.index_select(0, row)
        q = item.embedding.index_select(0, col)
        hidden = torch.cat([p, q], dim=-1)
        if self.lin_hidden is not None:
            hidden = self.dropout(self.lin_hidden(hidden).relu())
        rating = self.lin_out(hidden).squeeze(-1) + (p * q).sum(dim=-1)
        bias = user.bias.index_select(0, row) + item.bias.index_select(0, col)
        return rating + bias + self.bias

    def forward(self, batch: RatingBatch) -> Tensor:
        rating = self.decode(*self.encode(batch), batch.edge_label_index)
        if self.training or not self.message_share:
            return rating
        row, col = batch.edge_label_index
        return self.mix(
            rating, self.messages(batch.user.n_id[row], batch.item.n_id[col])
        )

    def mix(self, rating: Tensor, message: Tensor) -> Tensor:
        """Ratings with their share of messages; without any, where those are NaN."""
        message = message.to(rating)
        message = torch.where(message.isnan(), rating, message)
        return torch.lerp(rating, message, self.message_share)
