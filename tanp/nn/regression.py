"""Gaussian processes over items, conditioned on a labelled support."""

from __future__ import annotations

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
        weight = self.mix()
        value, constant = self.encode(support_kernel, surprise, mask, weight)
        sent = value[:, :, None] * weight[:, :-1].t()
        # size = [B, Q, S E] by [B, S E, P]
        return kernel.flatten(2) @ sent.flatten(1, 2) + constant[:, None]

    def mix(self) -> Tensor:
        """Weights of the kernels and of the constant, :obj:`[P, E + 1]`."""
        return F.softplus(self.weight)

    def encode(
        self, support_kernel: Tensor, surprise: Tensor, mask: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of a labelled support, all that does not depend on queries.

        Returns:
            What each support item sends along the kernel of each process,
            :obj:`[B, S, P]`, and what all items are sent, :obj:`[B, P]`.
        """
        level = CONSTANT * weight[:, -1]
        # size = [B, P, S, S]
        among = (support_kernel @ weight[:, :-1].t() + level).permute(0, 3, 1, 2)
        # Padding is alike to nothing, and has nothing to say.
        among = among * (mask[:, None, :, None] & mask[:, None, None, :])
        noise = F.softplus(self.noise) + LEAST_NOISE
        noise = torch.where(mask[:, None], noise[:, None], 1)
        value = surprise.masked_fill(~mask, 0)[:, None, :, None]
        factor = torch.linalg.cholesky(among + torch.diag_embed(noise))
        value = value.expand(-1, len(weight), -1, -1)
        value = torch.cholesky_solve(value, factor).squeeze(-1).mT
        return value, value.sum(1) * level

    def extra_repr(self) -> str:
        return f'processes={self.out_channels}'
