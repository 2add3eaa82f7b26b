"""Attribute interaction: bi-interaction pooling plus a linear term."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Up to so many tokens, bags are summed by a matrix product.
DENSE_TOKENS = 512


class BiInteraction(nn.Module):
    r"""Embeds a bag of attributes by pairwise and linear interaction.

    With the embeddings :math:`\mathbf{v}_f` of a node's attributes, scaled by
    their weights, (AGNN, Section 3.2; bi-interaction pooling is from `"Neural
    Factorization Machines" <https://arxiv.org/abs/1708.05027>`_)

    .. math::
        \mathbf{x} = \mathrm{LeakyReLU} \big( \mathbf{W}_2 \sum_{f < g}
        \mathbf{v}_f \odot \mathbf{v}_g + \mathbf{b}_2 \big) +
        \mathrm{LeakyReLU} \big( \mathbf{W}_1 \sum_f \mathbf{v}_f +
        \mathbf{b}_1 \big)

    where the pairs are summed in linear time, as half of (square of the sum
    minus sum of the squares).

    Args:
        channels (int): Size of embeddings and output.
        negative_slope (float, optional): (default: :obj:`0.01`)

    Shapes:
        - **input:** the sums :math:`\sum_f \mathbf{v}_f` and :math:`\sum_f
          \mathbf{v}_f^2`, both :math:`(*, F)`
        - **output:** :math:`(*, F)`
    """

    def __init__(self, channels: int, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.lin_pair = nn.Linear(channels, channels)
        self.lin_sum = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for lin in (self.lin_pair, self.lin_sum):
            nn.init.xavier_uniform_(lin.weight)
            nn.init.zeros_(lin.bias)

    def forward(self, total: Tensor, total_square: Tensor) -> Tensor:
        pairs = 0.5 * (total.square() - total_square)
        pairs = F.leaky_relu(self.lin_pair(pairs), self.negative_slope)
        return pairs + F.leaky_relu(self.lin_sum(total), self.negative_slope)


class AttributeEmbedding(nn.Module):
    r"""Embeds bags of tokens as their weighted sum and sum of squares.

    Args:
        num_tokens (int): Tokens, padding (token 0) included.
        channels (int): Size of an embedding.
        std (float, optional): Embeddings start from a normal distribution of
            this deviation. (default: :obj:`0.05`)

    Shapes:
        - **input:** tokens and weights :math:`(N, F)`, see
          :class:`~agnn_pyg.features.Attributes`
        - **output:** sum and sum of squares, each :math:`(N, C)`
    """

    def __init__(self, num_tokens: int, channels: int, std: float = 0.05) -> None:
        super().__init__()
        self.std = std
        self.weight = nn.Parameter(torch.empty(num_tokens, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.std)

    def forward(self, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        weight = weight.to(self.weight.dtype)
        tables = torch.stack([self.weight, self.weight.square()])
        weights = torch.stack([weight, weight.square()])
        if self.weight.size(0) <= DENSE_TOKENS:
            return _dense_bags(index, weights, tables)
        # Padding has token 0 and weight 0; skipping it saves the reads.
        total, total_square = (
            F.embedding_bag(
                index, table, mode='sum', per_sample_weights=w, padding_idx=0
            )
            for table, w in zip(tables, weights, strict=True)
        )
        return total, total_square


def _dense_bags(index: Tensor, weights: Tensor, tables: Tensor) -> tuple[Tensor, ...]:
    """Bags as a matrix product, the faster way where tokens are few."""
    hot = weights.new_zeros(len(weights), index.size(0), tables.size(1))
    hot.scatter_add_(2, index.expand_as(weights), weights)
    # Padding, token 0, is not a token: its row is not read.
    return torch.bmm(hot[..., 1:], tables[:, 1:]).unbind()
