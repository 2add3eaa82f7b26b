"""What single query items read of the support: attention and Gaussian processes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Widths of a head, and of the hidden layer of the values.
HEAD_CHANNELS, HIDDEN_CHANNELS = 8, 64
# The smallest noise variance: kernels are cosines and products, of the size of 1.
MIN_NOISE = 0.02
# Factor of the constant kernel, the level of a task.
CONSTANT = 0.2


class EncodedSupport(NamedTuple):
    """What attention reads of B supports, whatever the query."""

    key: Tensor  # scaled, [B, heads, S, D]
    value: Tensor  # [B, heads, S, D]
    part: Tensor  # positive and negative parts of residuals, [B, S, 2]
    weight: Tensor  # of the kernels in the logits, [B, S, heads, E]
    level: Tensor  # of the logits, minus infinity at padding, [B, heads, S, 1]


class SupportAttention(nn.Module):
    r"""What the support says of one query item, rather than of the task as a whole.

    .. math::
        a_{qs} \propto \exp \Big( \frac{\mathbf{k}_s^\top \mathbf{q}_q}{\sqrt{d}}
        + \mathbf{w}_+^\top \mathbf{e}_{qs} y_s^+ + \mathbf{w}_-^\top
        \mathbf{e}_{qs} y_s^- + b \Big), \quad \mathbf{r}_q = \Big[ \sum_s a_{qs}
        \mathbf{v}_s \, \Big\Vert \, \sum_s \mathbf{e}_{qs} y_s^{\pm} \, \Big\Vert \,
        \frac{\sum_s \mathbf{e}_{qs} y_s^{\pm}}{\max(1, \sum_s y_s^{\pm})} \Big]

    with queries :math:`\mathbf{q}`, keys :math:`\mathbf{k}` and values
    :math:`\mathbf{v}` of the labelled support, and item kernels :math:`\mathbf{e}`, see
    :class:`~tanp.ItemStatistics`; :math:`y^+` and :math:`y^-` are the positive and the
    negative part of the residual. This is the cross-attention of `"Attentive Neural
    Processes" <https://arxiv.org/abs/1901.05761>`_ with kernels in its logits. A
    learned sink takes part in the normalization: a support without an item like the
    query gets little weight, and an empty one none.

    Args:
        in_channels (int): Width of embedded items.
        num_kernels (int): Number of item kernels, E.
        heads (int, optional): Heads of width 8. (default: :obj:`4`)
        dropout (float, optional): Of values. (default: :obj:`0.0`)

    Shapes:
        - **input:** query items :math:`(B, Q, F_{in})`, kernels
          :math:`(B, S, E, Q)`, support items :math:`(B, S, F_{in})`, their residuals,
          zero at padding, and mask :math:`(B, S)`
        - **output:** :math:`(B, Q,` :attr:`out_channels` :math:`)`
    """

    def __init__(
        self, in_channels: int, num_kernels: int, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        width = heads * HEAD_CHANNELS
        self.out_channels = width + 4 * num_kernels
        self.lin_query = nn.Linear(in_channels, width)
        self.lin_key = nn.Linear(in_channels + 1, width)
        self.lin_kernel = nn.Linear(2 * num_kernels, heads)
        self.lin_hidden = nn.Linear(in_channels + 1, HIDDEN_CHANNELS)
        self.lin_value = nn.Linear(HIDDEN_CHANNELS, width)
        self.dropout = nn.Dropout(dropout)
        self.sink = nn.Parameter(torch.zeros(heads))

    def reset_parameters(self) -> None:
        for child in self.children():
            if isinstance(child, nn.Linear):
                child.reset_parameters()
        nn.init.zeros_(self.sink)

    def forward(self, query: Tensor, kernel: Tensor, *support: Tensor) -> Tensor:
        read = self.read(self.encode_query(query), self.encode(*support), kernel)
        return torch.cat(read, dim=1).mT

    def encode_query(self, query: Tensor) -> Tensor:
        """Queries of items :obj:`[B, Q, F]`, as :obj:`[B, heads, D, Q]`."""
        return self.split_heads(self.lin_query(query)).mT

    def encode(self, support: Tensor, residual: Tensor, mask: Tensor) -> EncodedSupport:
        """Encodes labelled supports."""
        labelled = torch.cat([support, residual[..., None]], dim=-1)
        key = self.split_heads(self.lin_key(labelled)) / HEAD_CHANNELS**0.5
        value = self.lin_value(self.dropout(self.lin_hidden(labelled).relu()))
        part = torch.stack([residual, -residual], dim=-1).relu()
        # Which kernel weights a support item takes depends on the sign of its residual.
        weight = self.lin_kernel.weight.view(self.heads, 2, -1).transpose(0, 1)
        weight = (part @ weight.flatten(1)).unflatten(-1, (self.heads, -1))
        level = torch.where(mask[:, None], self.lin_kernel.bias[:, None], -torch.inf)
        value = self.split_heads(value)
        return EncodedSupport(key, value, part, weight, level[..., None])

    def read(self, query: Tensor, code: EncodedSupport, kernel: Tensor) -> list[Tensor]:
        """The parts of the output, with items last, as suits catalogues, [B, *, Q]."""
        # size = [B, heads, S, Q]
        logit = (code.key @ query).add_((code.weight @ kernel).transpose(1, 2))
        logit = logit.add_(code.level)
        sink = self.sink[:, None, None].expand(len(logit), -1, 1, logit.size(-1))
        attention = torch.cat([logit, sink], dim=2).softmax(2)[:, :, :-1]
        read = (code.value.mT @ attention).flatten(1, 2)

        # size = [B, 2, E Q], then [B, 2 E, Q]
        total = code.part.mT @ kernel.flatten(2)
        mean = total / code.part.sum(1).clamp(min=1)[..., None]
        return [read, *(t.view(len(t), -1, kernel.size(-1)) for t in (total, mean))]

    def split_heads(self, x: Tensor) -> Tensor:
        """From :obj:`[B, n, heads D]` to :obj:`[B, heads, n, D]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SupportGP(nn.Module):
    r"""Posterior means of several Gaussian processes at the query items.

    .. math::
        f_q = \mathbf{k}_q^\top (\mathbf{K} + \sigma^2 \mathbf{I})^{-1} \mathbf{y},
        \quad k_{ij} = 0.2 \, w_0 + \sum_e w_e \, e_{ij}

    with the residuals :math:`\mathbf{y}` of the support, positive semi-definite item
    kernels :math:`e_{ij}`, and for each process learned :math:`w, \sigma^2 > 0`
    (`"Gaussian Processes for Machine Learning" <https://gaussianprocess.org/gpml/>`_,
    eq. 2.25). Similar support items explain each other away, where sums count each.

    Args:
        num_kernels (int): Number of kernels that are mixed, the last of those given.
        num_gps (int, optional): Number of processes, P. (default: :obj:`4`)

    Shapes:
        - **input:** kernels of support and query items :math:`(B, S, E, Q)` and among
          support items :math:`(B, S, E, S)`, residuals, zero at padding, and mask
          :math:`(B, S)`
        - **output:** :math:`(B, P, Q)`
    """

    def __init__(self, num_kernels: int, num_gps: int = 4) -> None:
        super().__init__()
        # Of the kernels, and of the constant.
        self.weight = nn.Parameter(torch.empty(num_gps, num_kernels + 1))
        self.noise = nn.Parameter(torch.empty(num_gps))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.5)
        with torch.no_grad():
            self.noise.copy_(torch.linspace(0, 1.5, len(self.noise)))

    def forward(self, kernel: Tensor, *support: Tensor) -> Tensor:
        return self.read(*self.condition(*support), kernel)

    def condition(
        self, gram: Tensor, residual: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Coefficients of all kernels, :obj:`[B, P, S, E']`, and levels, [B, P, 1]."""
        weight = F.softplus(self.weight)
        weight, constant = weight[:, :-1], CONSTANT * weight[:, -1:]
        # The kernels before the last ones have weight zero.
        weight = F.pad(weight, (gram.size(2) - weight.size(1), 0))
        noise = F.softplus(self.noise) + MIN_NOISE

        # size = [B, P, S, S]
        gram = torch.einsum('pe,bset->bpst', weight, gram) + constant[..., None]
        # A padded item has no covariance with any other.
        gram = gram * (mask[:, :, None] & mask[:, None])[:, None]
        gram = gram + torch.diag_embed(noise[:, None].expand(-1, mask.size(1)))
        factor = torch.linalg.cholesky(gram)
        # Dual coefficients: [B, P, S]
        alpha = torch.cholesky_solve(residual[:, None, :, None], factor).squeeze(-1)
        level = alpha.sum(-1, keepdim=True) * constant
        return alpha[..., None] * weight[:, None], level

    def read(self, coefficient: Tensor, level: Tensor, kernel: Tensor) -> Tensor:
        """Posterior means at query items, :obj:`[B, P, Q]`."""
        # size = [B, P, S E'] by [B, S E', Q]
        return torch.baddbmm(level, coefficient.flatten(2), kernel.flatten(1, 2))
