"""Attribute embeddings, combined by bi-interaction pooling and a linear term."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Dense features, token ids, or a pair of token ids and their weights.
Features = Tensor | tuple[Tensor, Tensor]


def is_dense(x: Tensor) -> bool:
    """Whether features are dense rather than token ids. Booleans are dense."""
    return x.is_floating_point() or x.dtype == torch.bool


def check_features(name: str, x: object) -> None:
    """Raises ``ValueError`` unless features are a tensor :obj:`[N, F]` in memory."""
    is_tensor = isinstance(x, Tensor) and not x.is_complex()
    if not is_tensor or x.layout != torch.strided:
        got = f'{x.dtype}, {x.layout}' if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"'{name}' must be a strided tensor of real numbers (got {got}); convert "
            f'it, such as by .to_dense() or torch.as_tensor(...)'
        )
    if x.dim() != 2:
        raise ValueError(f"'{name}' must be of size [nodes, F] (got {list(x.size())})")


def num_features(name: str, x: Tensor) -> int:
    """Number of dense features, or of tokens including padding (token 0).

    Error texts contain the :obj:`name`.

    Raises:
        ValueError: If the features are no such tensor, a token id is negative, or
            integer features are one-hot rather than token ids.
    """
    check_features(name, x)
    if is_dense(x):
        return x.size(1)
    if not x.numel():
        return 1
    low, high = (int(value) for value in x.aminmax())
    if low < 0:
        raise ValueError(
            f"'{name}' must hold token ids from 1 on, padded with 0 (got {low})"
        )
    if x.size(1) > 1 and high == 1:
        raise ValueError(
            f"'{name}' of {x.dtype} must hold token ids, each once per row (got 0 and "
            f"1 in {x.size(1)} columns); convert one-hot features by '.float()'"
        )
    return high + 1


class BiInteraction(nn.Module):
    r"""Embeds a bag of attributes by pairwise and linear interaction.

    The embeddings :math:`\mathbf{v}_f` of a node's attributes, scaled by their weights,
    are combined as (AGNN, Section 3.2; bi-interaction pooling is from `"Neural
    Factorization Machines" <https://arxiv.org/abs/1708.05027>`_)

    .. math::
        \mathbf{x} = \mathrm{LeakyReLU} \big( \mathbf{W}_2 \sum_{f < g}
        \mathbf{v}_f \odot \mathbf{v}_g + \mathbf{b}_2 \big) +
        \mathrm{LeakyReLU} \big( \mathbf{W}_1 \sum_f \mathbf{v}_f +
        \mathbf{b}_1 \big)

    The sum over pairs takes linear time: it is half of the square of the sum minus the
    sum of the squares.

    Args:
        channels (int): Size of embeddings and output.

    Shapes:
        - **input:** the sums :math:`\sum_f \mathbf{v}_f` and :math:`\sum_f
          \mathbf{v}_f^2`, both :math:`(*, F)`
        - **output:** :math:`(*, F)`
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin_pair = nn.Linear(channels, channels)
        self.lin_sum = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for lin in (self.lin_pair, self.lin_sum):
            nn.init.xavier_uniform_(lin.weight)
            nn.init.zeros_(lin.bias)

    def forward(self, total: Tensor, total_square: Tensor) -> Tensor:
        pairs = 0.5 * (total.square() - total_square)
        return F.leaky_relu(self.lin_pair(pairs)) + F.leaky_relu(self.lin_sum(total))


class AttributeEmbedding(nn.Module):
    r"""Embeds attributes as weighted sums of embeddings and of squared embeddings.

    .. math::
        \sum_f w_f \mathbf{v}_f \quad \text{and} \quad
        \sum_f (w_f \mathbf{v}_f)^2

    Args:
        in_channels (int): Number of dense features, or of tokens including padding
            (token 0).
        channels (int): Size of an embedding.
        std (float, optional): Standard deviation of the initial embeddings.
            (default: :obj:`0.05`)
        dropout (float, optional): Dropout of attribute weights. (default: :obj:`0.0`)

    Shapes:
        - **input:** dense features :math:`(N, F)` of a floating dtype or ``bool``,
          where feature f is a token of weight :math:`x_f`; or token ids :math:`(N, F)`
          of dtype ``int64``, padded with 0; or a pair of ids and weights
        - **output:** the sums and the sums of squares, each :math:`(N, C)`
    """

    def __init__(
        self, in_channels: int, channels: int, std: float = 0.05, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.std = std
        self.weight = nn.Parameter(torch.empty(in_channels, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.std)

    def forward(self, x: Features) -> tuple[Tensor, Tensor]:
        token, weight = x if isinstance(x, tuple) else (x, None)
        if is_dense(token):
            x = self.dropout(token.to(self.weight.dtype))
            return x @ self.weight, x.square() @ self.weight.square()
        # Padding (token 0) is removed rather than given the weight 0.
        is_token = token > 0
        bag, slot = is_token.nonzero(as_tuple=True)
        num_bags = len(token)
        token = token[bag, slot].long()
        weight = is_token if weight is None else weight
        weight = self.dropout(weight[bag, slot].to(self.weight.dtype))
        return _BagSums.apply(self.weight, token, weight, bag, num_bags)

    def extra_repr(self) -> str:
        in_channels, channels = self.weight.size()
        return f'{in_channels}, {channels}'


class _BagSums(torch.autograd.Function):
    """Weighted sums of embeddings, and of their squares, over bags of tokens.

    The gradient of an embedding is a sum over the nodes that have its token. One sort
    of the tokens serves both sums; autograd would sort them twice.
    """

    @staticmethod
    def forward(ctx, embedding, token, weight, bag, num_bags):
        ctx.save_for_backward(embedding, token, weight, bag)
        start = _starts(bag, num_bags)
        return (
            _bag_sum(embedding, token, weight, start),
            _bag_sum(embedding.square(), token, weight.square(), start),
        )

    @staticmethod
    def backward(ctx, grad, grad_square):
        embedding, token, weight, bag = ctx.saved_tensors
        grad_embedding = grad_weight = None
        if ctx.needs_input_grad[0]:
            order = token.int().argsort(stable=True)
            node, by_token = bag.index_select(0, order), weight.index_select(0, order)
            start = _starts(token, len(embedding))
            slope = _bag_sum(grad_square, node, by_token.square(), start)
            total = _bag_sum(grad, node, by_token, start)
            grad_embedding = torch.addcmul(total, embedding, slope, value=2)
        if ctx.needs_input_grad[2]:
            row = embedding.index_select(0, token)
            slope = grad_square.index_select(0, bag) * row * weight[:, None]
            grad_weight = row.mul(grad.index_select(0, bag) + 2 * slope).sum(dim=-1)
        return grad_embedding, None, grad_weight, None, None


def _bag_sum(rows: Tensor, index: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    # With `padding_idx` or non-contiguous rows, this call is ten times slower.
    return F.embedding_bag(
        index, rows.contiguous(), start, mode='sum', per_sample_weights=weight
    )


def _starts(bag: Tensor, num_bags: int) -> Tensor:
    """Start of each bag in a list that is sorted by bag."""
    count = torch.bincount(bag, minlength=num_bags)
    return count.cumsum(0) - count
