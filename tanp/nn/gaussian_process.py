"""Gaussian processes over items, conditioned on the labelled support."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The smallest noise variance: kernels are cosines and products, of the size of 1.
MIN_NOISE = 0.02
# Factor of the constant kernel, the level of a task.
CONSTANT = 0.2


class SupportGP(nn.Module):
    r"""Posterior means of several Gaussian processes at the query items.

    .. math::
        f_q = \mathbf{k}_q^\top (\mathbf{K} + \sigma^2 \mathbf{I})^{-1} \mathbf{y},
        \quad k_{ij} = 0.2 \, w_0 + \sum_e w_e \, e_{ij}

    with the residuals :math:`\mathbf{y}` of the support, positive semi-definite item
    kernels :math:`e_{ij}`, and for each process learned :math:`w, \sigma^2 > 0`
    (`"Gaussian Processes for Machine Learning" <https://gaussianprocess.org/gpml/>`_,
    eq. 2.25). Sums of kernels count two similar support items twice; here, they explain
    each other away.

    Args:
        num_kernels (int): Kernels that it mixes, :math:`E`: the last of the
            :math:`E'` that it is given.
        num_gps (int, optional): Processes, :math:`P`. (default: :obj:`4`)

    Shapes:
        - **input:** kernels of support and query items :math:`(B, S, E', Q)` and among
          support items :math:`(B, S, E', S)`, residuals, zero at padding, and mask
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

    def forward(
        self, kernel: Tensor, gram: Tensor, residual: Tensor, mask: Tensor
    ) -> Tensor:
        return self.read(*self.condition(gram, residual, mask), kernel)

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
