"""Decoders whose hidden layers a task modulates: FiLM and gating."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MODULATIONS = ('film', 'gating')


class ModulatedDecoder(nn.Module):
    r"""Scores query items with a perceptron that is modulated by the task.

    .. math::
        \mathbf{h}_l = \mathrm{ReLU} \big( \boldsymbol{\gamma}_l \odot
        (\mathbf{W}_l \mathbf{h}_{l-1} + \mathbf{b}_l) + \boldsymbol{\beta}_l
        \big), \quad \hat{s} = \mathbf{w}^\top \mathbf{h}_L + b

    with :math:`\mathbf{h}_0 = [\mathbf{x} \, \Vert \, \mathbf{z}]` (TaNP,
    Section 4.4). FiLM takes :math:`\boldsymbol{\gamma}_l` and
    :math:`\boldsymbol{\beta}_l` as the hyperbolic tangent of linear maps of the
    task. Gating mixes both with a third such map :math:`\boldsymbol{\eta}_l`:

    .. math::
        \boldsymbol{\gamma}_l \leftarrow \boldsymbol{\delta}_l \odot
        \boldsymbol{\gamma}_l + (1 - \boldsymbol{\delta}_l) \odot
        \boldsymbol{\eta}_l

    and the same for :math:`\boldsymbol{\beta}_l`, where
    :math:`\boldsymbol{\delta}_l` is the sigmoid of a fourth map.

    Args:
        in_channels (int): Width of what is known of an item, :math:`\mathbf{x}`.
        context_channels (int): Width of what all items of a task share,
            :math:`\mathbf{z}`; 0 for none.
        task_channels (int): Width of the task embedding that modulates.
        channels (sequence): Widths of the hidden layers.
        modulation (str, optional): :obj:`"film"` or :obj:`"gating"`.
            (default: :obj:`"film"`)
        residual (bool, optional): Scale by :math:`1 + \boldsymbol{\gamma}_l`,
            so that a task of zeros changes nothing. As published, without,
            small tasks silence the layer. (default: :obj:`True`)
        dropout (float, optional): On hidden layers. (default: :obj:`0.0`)

    Shapes:
        - **input:** rows :math:`(R, F_{in})`, the task of each row :math:`(R)`,
          task embeddings :math:`(B, F_{task})` and contexts :math:`(B, F_z)`
        - **output:** scores :math:`(R)`
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
        if modulation not in MODULATIONS:
            raise ValueError(
                f"'modulation' must be one of {MODULATIONS} (got {modulation!r})"
            )
        if not channels:
            raise ValueError(
                "'channels' must name at least one hidden layer (got none)"
            )
        self.in_channels, self.channels = in_channels, list(channels)
        self.modulation, self.residual = modulation, residual
        widths = [in_channels + context_channels, *channels]
        self.lins = nn.ModuleList(
            nn.Linear(*pair) for pair in zip(widths, channels, strict=False)
        )
        # All maps of the task in one product: gamma and beta of every layer, and
        # for gating eta and delta of every layer.
        maps = 2 if modulation == 'film' else 4
        self.lin_task = nn.Linear(task_channels, maps * sum(channels), bias=False)
        self.dropout = nn.Dropout(dropout)
        self.lin_out = nn.Linear(channels[-1], 1)

    def reset_parameters(self) -> None:
        for lin in (*self.lins, self.lin_task, self.lin_out):
            lin.reset_parameters()

    def modulate(self, task: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Scales and shifts of every layer, each :obj:`[B, channels[l]]`."""
        parts = self.lin_task(task)
        width = sum(self.channels)
        gamma, beta = parts[:, : 2 * width].tanh().chunk(2, dim=-1)
        if self.modulation == 'gating':
            eta, delta = parts[:, 2 * width :].chunk(2, dim=-1)
            eta, delta = eta.tanh(), delta.sigmoid()
            gamma, beta = eta.lerp(gamma, delta), eta.lerp(beta, delta)
        if self.residual:
            gamma = 1 + gamma
        # Which takes less time than `split`.
        return tuple(p.split_with_sizes(self.channels, -1) for p in (gamma, beta))

    def forward(
        self, x: Tensor, index: Tensor, task: Tensor, context: Tensor | None = None
    ) -> Tensor:
        gamma, beta = self.modulate(task)
        hidden = x
        for layer, lin in enumerate(self.lins):
            scale = gamma[layer].index_select(0, index)
            shift = beta[layer]
            if layer == 0 and context is not None:
                # What a task's items share is multiplied once a task.
                weight, shared = lin.weight.split(
                    [self.in_channels, context.size(-1)], dim=-1
                )
                hidden = nn.functional.linear(hidden, weight, lin.bias)
                shift = shift + gamma[layer] * (context @ shared.t())
            else:
                hidden = lin(hidden)
            shift = shift.index_select(0, index)
            hidden = self.dropout(torch.addcmul(shift, hidden, scale).relu())
        return self.lin_out(hidden).squeeze(-1)

    def extra_repr(self) -> str:
        return f'modulation={self.modulation!r}, residual={self.residual}'
