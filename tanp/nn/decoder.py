"""Decoders with hidden layers that a task modulates: FiLM and gating."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Modulation = list[tuple[Tensor, Tensor]]


class ModulatedDecoder(nn.Module):
    r"""Scores query items with a perceptron that is modulated by the task.

    .. math::
        \mathbf{h}_l = \mathrm{ReLU} \big( \boldsymbol{\gamma}_l \odot
        (\mathbf{W}_l \mathbf{h}_{l-1} + \mathbf{b}_l) + \boldsymbol{\beta}_l
        \big), \quad \hat{s} = \mathbf{w}^\top \mathbf{h}_L + b

    with :math:`\mathbf{h}_0 = [\mathbf{x} \, \Vert \, \mathbf{z}]` (TaNP, Section
    4.4). In FiLM, :math:`\boldsymbol{\gamma}_l` and :math:`\boldsymbol{\beta}_l` are
    hyperbolic tangents of linear maps of the task embedding :math:`\mathbf{o}`. Gating
    mixes each with a third, :math:`\boldsymbol{\gamma}_l \leftarrow
    \boldsymbol{\delta}_l \odot \boldsymbol{\gamma}_l + (1 - \boldsymbol{\delta}_l)
    \odot \boldsymbol{\eta}_l`, with :math:`\boldsymbol{\delta}_l` a fourth's sigmoid.

    Args:
        in_channels (int): Width of query items.
        context_channels (int): Width of :math:`\mathbf{z}`, equal for all items; or 0.
        task_channels (int): Width of task embeddings.
        channels (sequence): Widths of the hidden layers.
        modulation (str, optional): :obj:`"film"` or :obj:`"gating"`.
            (default: :obj:`"film"`)
        residual (bool, optional): Scale by :math:`1 + \boldsymbol{\gamma}_l`. As
            published, small task embeddings silence the layer. (default: :obj:`True`)
        dropout (float, optional): Of hidden layers. (default: :obj:`0.0`)

    Shapes:
        - **input:** query items :math:`(B, n, F_{in})`, task embeddings
          :math:`(B, F_{task})`, contexts :math:`(B, F_z)`
        - **output:** scores :math:`(B, n)`
    """

    def __init__(
        self,
        in_channels: int,
        context_channels: int,
        task_channels: int,
        channels: Sequence[int],
        modulation: str = 'film',
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.channels = in_channels, list(channels)
        self.modulation, self.residual = modulation, residual
        widths = [in_channels + context_channels, *channels]
        self.lins = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        # All maps of the task in one product: gamma, beta and, for gating, eta, delta.
        maps = {'film': 2, 'gating': 4}[modulation]
        self.lin_task = nn.Linear(task_channels, maps * sum(channels), bias=False)
        self.dropout = nn.Dropout(dropout)
        self.lin_out = nn.Linear(channels[-1], 1)

    def reset_parameters(self) -> None:
        for lin in (*self.lins, self.lin_task, self.lin_out):
            lin.reset_parameters()

    def forward(self, x: Tensor, task: Tensor, context: Tensor | None = None) -> Tensor:
        # The context is equal for all items of a task: multiplied once a task.
        lin = self.lins[0]
        shared = None
        hidden = F.linear(x, lin.weight[:, : self.in_channels], lin.bias)
        if context is not None:
            shared = F.linear(context, lin.weight[:, self.in_channels :])
        (gamma, beta), *others = self.modulate(task, shared)
        hidden = torch.addcmul(beta, hidden, gamma).relu_()
        return self.decode(self.dropout(hidden), others)

    def modulate(self, task: Tensor, shared: Tensor | None = None) -> Modulation:
        """Scale and shift of each layer, both :obj:`[B, 1, channels[l]]`.

        The first has for all items of a task also :obj:`shared`, before the modulation.
        """
        maps = self.lin_task(task)[:, None]
        width = sum(self.channels)
        gamma, beta = maps[..., : 2 * width].tanh().chunk(2, dim=-1)
        if self.modulation == 'gating':
            eta, delta = maps[..., 2 * width :].chunk(2, dim=-1)
            eta, delta = eta.tanh(), delta.sigmoid()
            gamma, beta = eta.lerp(gamma, delta), eta.lerp(beta, delta)
        if self.residual:
            gamma = 1 + gamma
        parts = (p.split_with_sizes(self.channels, -1) for p in (gamma, beta))
        (gamma, beta), *others = zip(*parts, strict=True)
        if shared is not None:
            beta = beta + gamma * shared[:, None]
        return [(gamma, beta), *others]

    def decode(self, hidden: Tensor, modulation: Modulation) -> Tensor:
        """Scores from the first hidden layer, :obj:`[B, n, channels[0]]`."""
        for lin, (gamma, beta) in zip(self.lins[1:], modulation, strict=True):
            hidden = self.dropout(torch.addcmul(beta, lin(hidden), gamma).relu_())
        return self.lin_out(hidden).squeeze(-1)
