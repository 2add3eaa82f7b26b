"""Attribute interaction: bi-interaction pooling plus a linear term."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        sparse (bool, optional): Give embeddings sparse gradients: a step then
            costs what the tokens of its batch do, and not what all tokens do.
            (default: :obj:`False`)

    Shapes:
        - **input:** tokens and weights :math:`(N, F)`, see
          :class:`~agnn_pyg.base.encoder.TokenBags`
        - **output:** sum and sum of squares, each :math:`(N, C)`
    """

    def __init__(
        self, num_tokens: int, channels: int, std: float = 0.05, sparse: bool = False
    ) -> None:
        super().__init__()
        self.std = std
        self.sparse = sparse
        self.weight = nn.Parameter(torch.empty(num_tokens, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.std)

    def forward(self, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        # Padding, token 0, is not a token: it is left out rather than weighted by 0.
        bag, slot = (index > 0).nonzero(as_tuple=True)
        token, weight = index[bag, slot].long(), weight[bag, slot].to(self.weight.dtype)
        table = self.weight
        if self.sparse:
            read, token = _numbered(token, len(table))
            table = F.embedding(read, table, sparse=True)
        return _BagSums.apply(table, token, weight, bag, len(index))

    def extra_repr(self) -> str:
        num_tokens, channels = self.weight.size()
        return f'{num_tokens}, {channels}' + ', sparse=True' * self.sparse


class _BagSums(torch.autograd.Function):
    """Weighted sums of rows of a table, and of their squares, over bags of tokens.

    The gradient of the table is a sum over bags, too: of the nodes that each token is
    given to. It is worked out for both sums at once; autograd would sort the tokens
    twice.
    """

    @staticmethod
    def forward(ctx, table, token, weight, bag, num_bags):
        ctx.save_for_backward(table, token, weight, bag)
        start = _starts(bag, num_bags)
        return (
            _bag_sum(table, token, weight, start),
            _bag_sum(table.square(), token, weight.square(), start),
        )

    @staticmethod
    def backward(ctx, grad, grad_square):
        table, token, weight, bag = ctx.saved_tensors
        grad_table = grad_weight = None
        if ctx.needs_input_grad[0]:
            order = token.int().argsort(stable=True)
            node, by_token = bag.index_select(0, order), weight.index_select(0, order)
            start = _starts(token, len(table))
            slope = _bag_sum(grad_square, node, by_token.square(), start)
            total = _bag_sum(grad, node, by_token, start)
            grad_table = torch.addcmul(total, table, slope, value=2)
        if ctx.needs_input_grad[2]:
            row = table.index_select(0, token)
            slope = grad_square.index_select(0, bag) * row * weight[:, None]
            grad_weight = row.mul(grad.index_select(0, bag) + 2 * slope).sum(dim=-1)
        return grad_table, None, grad_weight, None, None


def _bag_sum(table: Tensor, row: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    # `padding_idx`, or rows that are not contiguous, would make it ten times as slow.
    return F.embedding_bag(
        row, table.contiguous(), start, mode='sum', per_sample_weights=weight
    )


def _starts(bag: Tensor, num_bags: int) -> Tensor:
    """Where each bag starts in a list that is sorted by bag."""
    count = torch.bincount(bag, minlength=num_bags)
    return count.cumsum(0) - count


def _numbered(token: Tensor, num_tokens: int) -> tuple[Tensor, Tensor]:
    """The distinct ones of some tokens, and the number of each among them."""
    is_read = torch.zeros(num_tokens, dtype=torch.bool, device=token.device)
    read = is_read.index_fill_(0, token, True).nonzero().squeeze(-1)
    number = token.new_empty(num_tokens)
    number.index_copy_(0, read, torch.arange(len(read), device=token.device))
    return read, number.index_select(0, token)
