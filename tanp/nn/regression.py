"""Gaussian processes over items, conditioned on a labelled support."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The least noise: kernels are cosines and products, of the size of 1.
LEAST_NOISE = 0.02
# Share of the kernel by which all items are alike: a task's own level.
CONSTANT = 0.2


class SupportRegression(nn.Module):
    r"""What the labels of a support let expect of the label of a query item.

    Each of several Gaussian processes has its kernel and its noise, and says

    .. math::
        f_q = \mathbf{k}_q^\top (\mathbf{K} + \sigma^2 \mathbf{I})^{-1} \mathbf{y},
        \quad k_{ij} = w_0 + \sum_e w_e \, e_{ij}

    with kernels :math:`e_{ij}` of two items, the labels :math:`\mathbf{y}` of the
    support, each less what was to be expected, and learnt :math:`w, \sigma^2 > 0`
    (`"Gaussian Processes for Machine Learning"
    <https://gaussianprocess.org/gpml/>`_, eq. 2.25). Sums and means of kernels count
    a taste as often as it is told; here, likes that say the same explain each other.

    Args:
        num_kernels (int): Kernels of a pair of items, each positive semi-definite.
        processes (int, optional): (default: :obj:`4`)

    Shapes:
        - **input:** kernels of query and support items :math:`(B, Q, S, E)` and of
          support items among themselves :math:`(B, S, S, E)`, by how much labels
          exceed what was expected :math:`(B, S)`, and their mask :math:`(B, S)`
        - **output:** :math:`(B, Q,` :attr:`out_channels` :math:`)`
    """

    def __init__(self, num_kernels: int, processes: int = 4) -> None:
        super().__init__()
        self.out_channels = processes
        # Of the kernels, and of the constant.
        self.weight = nn.Parameter(torch.empty(processes, num_kernels + 1))
        self.noise = nn.Parameter(torch.empty(processes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.5)
        with torch.no_grad():
            self.noise.copy_(torch.linspace(0, 1.5, self.out_channels))

    def forward(
        self, kernel: Tensor, support_kernel: Tensor, surprise: Tensor, mask: Tensor
    ) -> Tensor:
        mix = self.mix()
        value, constant = self.encode(support_kernel, surprise, mask, mix)
        sent = value[:, :, None] * mix.weight.t()
        # size = [B, Q, S E] by [B, S E, P]
        return kernel.flatten(2) @ sent.flatten(1, 2) + constant[:, None]

    def mix(self) -> Mix:
        """What processes make of kernels."""
        weight = F.softplus(self.weight)
        noise = F.softplus(self.noise) + LEAST_NOISE
        return Mix(weight[:, :-1], CONSTANT * weight[:, -1], noise)

    def encode(
        self, support_kernel: Tensor, surprise: Tensor, mask: Tensor, mix: Mix
    ) -> tuple[Tensor, Tensor]:
        """Of a labelled support, all that does not depend on queries.

        Returns:
            What each support item sends along the kernel of each process,
            :obj:`[B, S, P]`, and what all items are sent, :obj:`[B, P]`.
        """
        # size = [B, P, S, S]
        among = F.linear(support_kernel, mix.weight, mix.level).permute(0, 3, 1, 2)
        # Padding is alike to nothing, and has nothing to say.
        among = among * (mask[:, :, None] & mask[:, None])[:, None]
        among.diagonal(dim1=-2, dim2=-1).add_(mix.noise[:, None])
        value = surprise.masked_fill(~mask, 0)[:, None, :, None]
        factor = torch.linalg.cholesky(among)
        value = torch.cholesky_solve(value, factor).squeeze(-1).mT
        return value, value.sum(1) * mix.level

    def extra_repr(self) -> str:
        return f'processes={self.out_channels}'


class Mix(NamedTuple):
    """What P processes make of E kernels.

    Attributes:
        weight: Weights of the kernels, :obj:`[P, E]`.
        level: By how much all items are alike, :obj:`[P]`.
        noise: Variances, :obj:`[P]`.
    """

    weight: Tensor
    level: Tensor
    noise: Tensor
