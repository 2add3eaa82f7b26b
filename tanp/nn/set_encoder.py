"""Set encoders of labelled interactions, and the cluster memory of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Gaussian(NamedTuple):
    """Independent normals: means and log-variances, :obj:`[B, D]`."""

    mu: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """Reparameterised samples, :obj:`[B, D]`, of given standard normal noise."""
        noise = torch.randn_like(self.mu) if noise is None else noise
        return self.mu + (0.5 * self.logvar).exp() * noise


class SetEncoder(nn.Module):
    r"""Encodes each interaction and averages over a task (a deep set).

    .. math::
        \mathbf{r} = \frac{1}{|S|} \sum_{(\mathbf{x}, y) \in S} h(\mathbf{x} \,
        \Vert \, y)

    with a perceptron :math:`h` of ReLU layers (TaNP, Sections 4.2 and 4.3). Its last
    layer is linear: it is applied once, to the mean, zero over no interactions.

    Args:
        in_channels (int): Width of embedded interactions, without the label.
        channels (sequence): Widths of the layers; the last is that of the output.
        dropout (float, optional): Of hidden layers. (default: :obj:`0.0`)

    Shapes:
        - **input:** interactions :math:`(B, n, F_{in})`, labels and mask
          :math:`(B, n)`, all finite
        - **output:** :math:`(B, F_{out})`
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        *widths, last = pairwise([in_channels + 1, *channels])
        layers = ([nn.Linear(*w), nn.ReLU(), nn.Dropout(dropout)] for w in widths)
        self.hidden = nn.Sequential(*chain.from_iterable(layers))
        self.lin_out = nn.Linear(*last)

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def encode(self, x: Tensor, label: Tensor) -> Tensor:
        """The last hidden layer of each interaction, :obj:`[B, n, H]`."""
        return self.hidden(torch.cat([x, label[..., None]], dim=-1))

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Averages what :meth:`encode` returns, :obj:`[B, F_out]`."""
        total = torch.bmm(mask[:, None].to(hidden.dtype), hidden).squeeze(1)
        return self.lin_out(total / mask.sum(1, keepdim=True).clamp(min=1))

    def forward(self, x: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return self.pool(self.encode(x, label), mask)


class LatentEncoder(SetEncoder):
    r"""The latent path: a Gaussian of each task (TaNP, Section 4.2).

    .. math::
        q(\mathbf{z} \mid S) = \mathcal{N} \big( \boldsymbol{\mu}(\mathbf{r}),
        \mathrm{diag} \, \boldsymbol{\sigma}^2(\mathbf{r}) \big)

    with :math:`\mathbf{r}` of a :class:`SetEncoder`, whose inputs and arguments it has,
    and one ReLU layer before the two heads. The last two channels are the widths of
    this layer and of :math:`\mathbf{z}`.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], dropout: float = 0.0
    ) -> None:
        *channels, hidden, out_channels = channels
        super().__init__(in_channels, channels, dropout)
        self.lin_hidden = nn.Linear(channels[-1], hidden)
        self.lin_mu = nn.Linear(hidden, out_channels)
        self.lin_logvar = nn.Linear(hidden, out_channels)

    def forward(self, x: Tensor, label: Tensor, mask: Tensor) -> Gaussian:
        hidden = self.lin_hidden(super().forward(x, label, mask)).relu()
        return Gaussian(self.lin_mu(hidden), self.lin_logvar(hidden))


class ClusterMemory(nn.Module):
    r"""Assigns a task to k centers and adds their weighted mean.

    .. math::
        c_j \propto \Big( 1 + \frac{d_j}{\alpha} \Big)^{-\frac{\alpha + 1}{2}},
        \quad \mathbf{o} = \mathbf{r} + \sum_j c_j \mathbf{a}_j

    the Student-t kernel of temperature :math:`\alpha` over the distances :math:`d_j =
    \Vert \mathbf{r} - \mathbf{a}_j \Vert^2` to the centers (TaNP, Section 4.3).

    Args:
        channels (int): Width of task embeddings.
        num_clusters (int): Number of centers, k.
        temperature (float, optional): :math:`\alpha`. (default: :obj:`1.0`)
        squared (bool, optional): Square the distances. The published code does not.
            (default: :obj:`True`)

    Shapes:
        - **input:** task embeddings :math:`(B, F)`
        - **output:** embeddings :math:`(B, F)` and assignments :math:`(B, k)`
    """

    def __init__(
        self,
        channels: int,
        num_clusters: int,
        temperature: float = 1.0,
        squared: bool = True,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.squared = squared
        self.center = nn.Parameter(torch.empty(num_clusters, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.center)

    def forward(self, task: Tensor) -> tuple[Tensor, Tensor]:
        difference = task[:, None] - self.center
        distance = difference.square().sum(-1)
        if not self.squared:
            distance = torch.linalg.vector_norm(difference, dim=-1)
        # In logarithms, where far centers do not underflow.
        logit = -(self.temperature + 1) / 2 * (distance / self.temperature).log1p()
        assignment = logit.softmax(-1)
        return task + assignment @ self.center, assignment
