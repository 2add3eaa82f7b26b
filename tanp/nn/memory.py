"""The cluster memory: soft assignment of tasks to learnt centres."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClusterMemory(nn.Module):
    r"""Compares a task with k centres and adds what they have in common.

    .. math::
        c_j \propto \Big( 1 + \frac{d_j}{\alpha} \Big)^{-\frac{\alpha + 1}{2}},
        \quad \mathbf{o} = \mathbf{r} + \sum_j c_j \mathbf{a}_j

    the Student-t kernel of temperature :math:`\alpha` over the distances to
    the centres :math:`\mathbf{a}_j` (TaNP, Section 4.3), where :math:`d_j =
    \Vert \mathbf{r} - \mathbf{a}_j \Vert^2`. The published code forgets the
    square.

    Args:
        channels (int): Width of a task embedding.
        num_clusters (int): k.
        temperature (float, optional): (default: :obj:`1.0`)
        squared (bool, optional): False takes the distance unsquared, as the
            published code does. (default: :obj:`True`)

    Shapes:
        - **input:** task embeddings :math:`(B, F)`
        - **output:** modulated embeddings :math:`(B, F)` and assignments
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
        if num_clusters < 1:
            raise ValueError(f"'num_clusters' must be at least 1 (got {num_clusters})")
        if not temperature > 0:
            raise ValueError(f"'temperature' must be positive (got {temperature})")
        self.temperature = temperature
        self.squared = squared
        self.center = nn.Parameter(torch.empty(num_clusters, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.center)

    def assign(self, task: Tensor) -> Tensor:
        """Soft assignments of task embeddings, :obj:`[B, k]`."""
        difference = task[:, None] - self.center
        if self.squared:
            distance = difference.square().sum(-1)
        else:
            distance = torch.linalg.vector_norm(difference, dim=-1)
        alpha = self.temperature
        # In logarithms, where far centres do not vanish.
        return (-(alpha + 1) / 2 * (distance / alpha).log1p()).softmax(-1)

    def forward(self, task: Tensor) -> tuple[Tensor, Tensor]:
        assignment = self.assign(task)
        return task + assignment @ self.center, assignment

    def extra_repr(self) -> str:
        size = ', '.join(str(n) for n in self.center.size())
        return f'{size}, temperature={self.temperature}, squared={self.squared}'
