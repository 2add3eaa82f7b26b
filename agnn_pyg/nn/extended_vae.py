"""The extended variational auto-encoder (eVAE) of AGNN."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class EVAEOutput(NamedTuple):
    """Outputs of an :class:`ExtendedVAE`.

    Attributes:
        reconstruction: Decoded embeddings, :obj:`[N, out_channels]`.
        mu: Means of the latent code, :obj:`[N, in_channels]`.
        logvar: Log-variances of the latent code, :obj:`[N, in_channels]`.
        z: The latent code that was decoded, :obj:`[N, in_channels]`.
    """

    reconstruction: Tensor
    mu: Tensor
    logvar: Tensor
    z: Tensor


class ExtendedVAE(nn.Module):
    r"""Generates the preference embedding of a node from its attributes.

    This is a variational auto-encoder. Its target is the learned *preference* embedding
    of the node rather than its input (AGNN, Section 3.3):

    .. math::
        q(\mathbf{z} \mid \mathbf{x}) = \mathcal{N} \big( \boldsymbol{\mu}
        (\mathbf{x}), \mathrm{diag} \, \boldsymbol{\sigma}^2(\mathbf{x})
        \big), \quad \hat{\mathbf{m}} = \mathrm{dec}(\mathbf{z})

    with :math:`\mathbf{z} = \boldsymbol{\mu} + \boldsymbol{\sigma} \odot
    \boldsymbol{\epsilon}` in training mode and :math:`\mathbf{z} =
    \boldsymbol{\mu}` in evaluation mode.

    Args:
        in_channels (int): Size of the attribute embedding, the hidden layers and the
            latent code.
        out_channels (int): Size of the reconstruction.

    Shapes:
        - **input:** attribute embeddings :math:`(N, F_{in})`
        - **output:** :class:`EVAEOutput`
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin_in = nn.Linear(in_channels, in_channels)
        self.lin_mu = nn.Linear(in_channels, in_channels)
        self.lin_logvar = nn.Linear(in_channels, in_channels)
        self.lin_latent = nn.Linear(in_channels, in_channels)
        self.lin_out = nn.Linear(in_channels, out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for lin in self.children():
            nn.init.xavier_uniform_(lin.weight)
            nn.init.zeros_(lin.bias)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Samples the latent code from its distribution."""
        return mu + (0.5 * logvar).exp() * torch.randn_like(mu)

    def forward(self, x: Tensor) -> EVAEOutput:
        hidden = self.lin_in(x).relu()
        mu, logvar = self.lin_mu(hidden), self.lin_logvar(hidden)
        z = self.reparameterize(mu, logvar) if self.training else mu
        reconstruction = self.lin_out(self.lin_latent(z).relu())
        return EVAEOutput(reconstruction, mu, logvar, z)
