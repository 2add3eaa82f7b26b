"""Set encoders: from labelled interactions to one vector, or one Gaussian, a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tanp.nn.rows import mean_by


class Gaussian(NamedTuple):
    """Independent normal distributions.

    Attributes:
        mu: Means, :obj:`[B, D]`.
        logvar: Log-variances, :obj:`[B, D]`.
    """

    mu: Tensor
    logvar: Tensor

    def sample(self) -> Tensor:
        """A reparameterised sample, :obj:`[B, D]`."""
        return self.mu + (0.5 * self.logvar).exp() * torch.randn_like(self.mu)


class SetEncoder(nn.Module):
    r"""Encodes each (item, user, label) and averages over a task.

    .. math::
        \mathbf{r}_i = \frac{1}{|S_i|} \sum_{(x, y) \in S_i} h(\mathbf{x} \,
        \Vert \, y)

    with a perceptron :math:`h` of ReLU layers (TaNP, Sections 4.2 and 4.3: the
    encoder, and with weights of its own the task identity network). The last
    layer is linear, so it is applied once a task, to the mean. A task without
    interactions has the mean zero.

    Args:
        in_channels (int): Width of :math:`\mathbf{x}`.
        channels (sequence): Widths of the layers, the output's last.
        dropout (float, optional): On hidden layers. (default: :obj:`0.0`)

    Shapes:
        - **input:** rows :math:`(R, F_{in})`, labels :math:`(R)`, the task of
          each row :math:`(R)` and the number of tasks :math:`B`
        - **output:** :math:`(B, F_{out})`
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        layers, width = [], in_channels + 1
        for hidden in channels[:-1]:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            # Before the ReLU or after it is the same: it scales or clears.
            layers += [nn.Dropout(dropout)] if dropout else []
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.lin_out = nn.Linear(width, channels[-1])

    def reset_parameters(self) -> None:
        for layer in (*self.hidden, self.lin_out):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def rows(self, x: Tensor, label: Tensor) -> Tensor:
        """The last hidden layer of each row, ready to be averaged."""
        return self.hidden(torch.cat([x, label[:, None]], dim=-1))

    def forward(self, x: Tensor, label: Tensor, task: Tensor, num_tasks: int) -> Tensor:
        return self.lin_out(mean_by(self.rows(x, label), task, num_tasks))


class LatentEncoder(nn.Module):
    r"""The latent path: a Gaussian :math:`q(\mathbf{z} \mid S)` of each task.

    .. math::
        q(\mathbf{z} \mid S) = \mathcal{N} \big( \boldsymbol{\mu}(\mathbf{r}),
        \mathrm{diag} \, \boldsymbol{\sigma}^2(\mathbf{r}) \big)

    where :math:`\mathbf{r}` is a :class:`SetEncoder`'s, and one ReLU layer
    precedes the two heads (TaNP, Section 4.2).

    Args:
        in_channels (int): Width of :math:`\mathbf{x}`.
        channels (sequence): Widths of the set encoder.
        hidden_channels (int): Width of the layer before the heads.
        latent_channels (int): Width of :math:`\mathbf{z}`.
        dropout (float, optional): In the set encoder. (default: :obj:`0.0`)
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        hidden_channels: int,
        latent_channels: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = SetEncoder(in_channels, channels, dropout)
        self.lin_hidden = nn.Linear(channels[-1], hidden_channels)
        self.lin_mu = nn.Linear(hidden_channels, latent_channels)
        self.lin_logvar = nn.Linear(hidden_channels, latent_channels)

    def reset_parameters(self) -> None:
        for child in self.children():
            child.reset_parameters()

    def distribution(self, r: Tensor) -> Gaussian:
        """The Gaussian of a task representation, :obj:`[B, channels[-1]]`."""
        hidden = self.lin_hidden(r).relu()
        return Gaussian(self.lin_mu(hidden), self.lin_logvar(hidden))

    def forward(
        self, x: Tensor, label: Tensor, task: Tensor, num_tasks: int
    ) -> Gaussian:
        """Reads rows as :class:`SetEncoder` does."""
        return self.distribution(self.encoder(x, label, task, num_tasks))

    def prior_and_posterior(
        self, x: Tensor, label: Tensor, task: Tensor, num_tasks: int, num_support: int
    ) -> tuple[Gaussian, Gaussian]:
        r""":math:`q(\mathbf{z} \mid S)` and :math:`q(\mathbf{z} \mid S \cup Q)`.

        Each row is encoded once; the first :obj:`num_support` are the support.
        """
        hidden = self.encoder.rows(x, label)
        means = torch.cat(
            [
                mean_by(hidden[:num_support], task[:num_support], num_tasks),
                mean_by(hidden, task, num_tasks),
            ]
        )
        both = self.distribution(self.encoder.lin_out(means))
        prior, posterior = zip(*(t.split(num_tasks) for t in both), strict=True)
        return Gaussian(*prior), Gaussian(*posterior)
