"""The cluster memory: soft assignment of tasks to learned centers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClusterMemory(nn.Module):
    r"""Assigns a task to k centers and adds their weighted mean.

    .. math::
        c_j \propto \Big( 1 + \frac{d_j}{\alpha} \Big)^{-\frac{\alpha + 1}{2}},
        \quad \mathbf{o} = \mathbf{r} + \sum_j c_j \mathbf{a}_j

    the Student-t kernel of temperature :math:`\alpha` over the distances to
    the centers :math:`\mathbf{a}_j` (TaNP, Section 4.3), where :math:`d_j =
    \Vert \mathbf{r} - \mathbf{a}_j \Vert^2`. The published code omits
    the square.

    Args:
        channels (int): Width of a task embedding.
        num_clusters (int): k.
        temperature (float, optional): (default: :obj:`1.0`)
        squared (bool, optional): False omits the square of the distance, as
            the published code does. (default: :obj:`True`)

    Shapes:
        - **input:** task embeddings :math:`(B, F)`
        - **output:** embeddings :math:`(B, F)` and assignments
          :math:`(B, k)`, whose rows sum to one
    """

    def __init__(
        self,
        channels: int,
        num_clusters: int,
        temperature: float = 1.0,
        squared: bool = True,
    ) -> None:
        super().__init__()
        self.temperature, self.squared = temperature, squared
        self.center = nn.Parameter(torch.empty(num_clusters, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.center)

    def forward(self, task: Tensor) -> tuple[Tensor, Tensor]:
        difference, alpha = task[:, None] - self.center, self.temperature
        distance = difference.square().sum(-1)
        if not self.squared:
            distance = torch.linalg.vector_norm(difference, dim=-1)
        # In logarithms, where far centers do not underflow.
        logit = -(alpha + 1) / 2 * (distance / alpha).log1p()
        assignment = logit.softmax(-1)
        return task + assignment @ self.center, assignment
