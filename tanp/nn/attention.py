"""Attention of query items over a labelled support."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SupportAttention(nn.Module):
    r"""What the support says of one query item, rather than of a task as a whole.

    .. math::
        a_{qs} \propto \exp \Big( \frac{\mathbf{k}_s^\top \mathbf{q}_q}{\sqrt{d}}
        + \mathbf{w}_+^\top \mathbf{e}_{qs} y_s^+ + \mathbf{w}_-^\top
        \mathbf{e}_{qs} y_s^- \Big), \quad \mathbf{r}_q = \Big[ \sum_s a_{qs}
        \mathbf{v}_s \, \Big\Vert \, \sum_s \mathbf{e}_{qs} y_s^+ \, \Big\Vert \,
        \sum_s \mathbf{e}_{qs} y_s^- \Big]

    with keys :math:`\mathbf{k}` and values :math:`\mathbf{v}` of the labelled
    support, queries :math:`\mathbf{q}`, and kernels :math:`\mathbf{e}`: what is
    known of the likeness of two items beforehand (the cross-attention of
    `"Attentive Neural Processes" <https://arxiv.org/abs/1901.05761>`_ with
    kernels in its logits). :math:`y^+` and :math:`y^-` are the parts of the label
    above and below what was to be expected. A learnt sink takes part in the
    normalisation, so that a support of which nothing is like the query weighs
    little, and an empty one nothing. The kernels are also handed on themselves,
    as these sums and as means.

    Args:
        in_channels (int): Width of an item.
        num_kernels (int): Kernels of a pair of items.
        heads (int, optional): (default: :obj:`4`)
        head_channels (int, optional): Width of a head. (default: :obj:`8`)
        hidden_channels (int, optional): Width of the values' hidden layer.
            (default: :obj:`64`)
        dropout (float, optional): On that layer. (default: :obj:`0.0`)

    Shapes:
        - **input:** query items :math:`(B, Q, F)`, support items
          :math:`(B, S, F)`, by how much their labels exceed what was expected
          :math:`(B, S)`, their mask :math:`(B, S)`, and kernels
          :math:`(B, Q, S, E)`
        - **output:** :math:`(B, Q,` :attr:`out_channels` :math:`)`
    """

    def __init__(
        self,
        in_channels: int,
        num_kernels: int,
        heads: int = 4,
        head_channels: int = 8,
        hidden_channels: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.head_channels = heads, head_channels
        self.num_kernels = num_kernels
        width = heads * head_channels
        self.out_channels = width + 4 * num_kernels
        self.lin_query = nn.Linear(in_channels, width)
        self.lin_key = nn.Linear(in_channels + 1, width)
        self.lin_kernel = nn.Linear(2 * num_kernels, heads)
        self.lin_hidden = nn.Linear(in_channels + 1, hidden_channels)
        self.lin_value = nn.Linear(hidden_channels, width)
        self.dropout = nn.Dropout(dropout)
        self.sink = nn.Parameter(torch.zeros(heads))

    def reset_parameters(self) -> None:
        for child in self.children():
            if isinstance(child, nn.Linear):
                child.reset_parameters()
        nn.init.zeros_(self.sink)

    def forward(
        self,
        query: Tensor,
        support: Tensor,
        surprise: Tensor,
        mask: Tensor,
        kernel: Tensor,
    ) -> Tensor:
        q = self._split(self.lin_query(query))
        k, v, weight, own = self.encode(support, surprise, mask)
        # size = [B, S, E, Q], as it lies in memory
        kernel = kernel.permute(0, 2, 3, 1)
        # [B, S, heads, E] by [B, S, E, Q]
        likeness = (own @ kernel).transpose(1, 2)

        # size = [B, heads, S, Q]
        logit = k @ q.transpose(-1, -2) / self.head_channels**0.5
        logit = logit + likeness + self.lin_kernel.bias[:, None, None]
        logit = logit.masked_fill(~mask[:, None, :, None], -torch.inf)
        sink = self.sink[:, None, None].expand(len(q), -1, 1, q.size(2))
        attention = torch.cat([logit, sink], dim=2).softmax(2)[:, :, :-1]
        read = (v.transpose(-1, -2) @ attention).flatten(1, 2)

        # size = [B, 2, E Q], then [B, 2 E, Q]
        total = weight.transpose(1, 2) @ kernel.flatten(2)
        sums = total, total / self.count(weight)[..., None]
        sums = (value.view(len(q), -1, q.size(2)) for value in sums)
        return torch.cat([read, *sums], dim=1).transpose(1, 2)

    def encode(
        self, support: Tensor, surprise: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of a labelled support, all that does not depend on queries.

        Returns:
            Keys and values, :obj:`[B, heads, S, head_channels]`; surprise for good
            and for bad, :obj:`[B, S, 2]`; and what the logits take of the kernels
            by it, :obj:`[B, S, heads, E]`.
        """
        labelled = torch.cat([support, surprise[..., None]], dim=-1)
        k = self._split(self.lin_key(labelled))
        v = self._split(self.lin_value(self.dropout(self.lin_hidden(labelled).relu())))
        surprise = surprise.masked_fill(~mask, 0)
        weight = torch.stack([surprise, -surprise], dim=-1).relu()
        # The label of a support item decides which weights its kernels take.
        own = self.lin_kernel.weight.view(self.heads, 2, -1).transpose(0, 1)
        own = (weight @ own.flatten(1)).unflatten(-1, (self.heads, -1))
        return k, v, weight, own

    def count(self, weight: Tensor) -> Tensor:
        """What sums of kernels are divided by for a mean, :obj:`[B, 2]`."""
        return weight.sum(1).clamp(min=1)

    def _split(self, x: Tensor) -> Tensor:
        """Heads in front, :obj:`[B, heads, L, head_channels]`."""
        size = *x.size()[:-1], self.heads, self.head_channels
        return x.view(size).transpose(1, 2)

    def extra_repr(self) -> str:
        return f'heads={self.heads}'
