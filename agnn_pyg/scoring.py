"""Deterministic predictions of a trained AGNN: of pairs, and of all items by users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import RandomSampler
from torch_geometric.typing import NodeType

from agnn_pyg.base.randomness import set_epoch
from agnn_pyg.model import AGNN
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.loader import RatingLoader
from agnn_pyg.sampling.nodes import NodeSource

# Hidden units are computed in blocks of so many numbers, which fit into a cache.
BLOCK_NUMEL = 2**17


@torch.no_grad()
def predict(
    model: AGNN,
    loader: Iterable,
    num_neighbor_samples: int = 8,
    rating_range: tuple[float, float] | None = None,
) -> Tensor:
    r"""Predicts the ratings of the pairs of a loader, in their order.

    The extended VAE decodes the mean of its latent code, and predictions are
    averaged over a fixed number of draws of neighbours, so that the same
    inputs give the same numbers.

    Args:
        model (AGNN): The model; it keeps its mode.
        loader (RatingLoader or LinkNeighborLoader): Pairs to rate, not shuffled. It is
            left at the epoch of the last draw.
        num_neighbor_samples (int, optional): Draws of neighbours to average over:
            epochs 0, 1, ... of the loader. (default: :obj:`8`)
        rating_range (tuple, optional): Lowest and highest rating; predictions
            are clamped to it. (default: :obj:`None`)

    Returns:
        Predicted ratings, one per pair, float64, on the CPU.

    Raises:
        ValueError: If the loader shuffles or :obj:`num_neighbor_samples` is not
            positive.
    """
    if getattr(loader, 'shuffle', False) or isinstance(
        getattr(loader, 'sampler', None), RandomSampler
    ):
        raise ValueError(
            "'loader' must not shuffle, or predictions are out of order (got "
            "shuffle=True); build it with 'shuffle=False'"
        )
    if num_neighbor_samples < 1:
        raise ValueError(
            f"'num_neighbor_samples' must be at least 1 (got {num_neighbor_samples})"
        )
    device, training, total = model.bias.device, model.training, 0
    try:
        model.eval()
        for draw in range(num_neighbor_samples):
            set_epoch(loader, draw)
            batches = (RatingBatch.from_data(batch).to(device) for batch in loader)
            parts = [model(*batch[:-1]).cpu().double() for batch in batches]
            total = total + torch.cat(parts)
    finally:
        model.train(training)
    mean = total / num_neighbor_samples
    return mean if rating_range is None else mean.clamp(*rating_range)


class EmbeddedNodes(NamedTuple):
    """Embeddings :obj:`[D, N, C]` and biases :obj:`[D, N]` under D draws."""

    x: Tensor
    bias: Tensor


@torch.no_grad()
def embed_nodes(
    model: AGNN,
    nodes: dict[NodeType, NodeSource],
    users: Tensor,
    items: Tensor,
    *,
    num_neighbor_samples: int = 8,
    **kwargs,
) -> tuple[EmbeddedNodes, EmbeddedNodes]:
    """Embeds nodes of both ends once, under the draws of :func:`predict`.

    The model is in evaluation mode; :obj:`kwargs` are those of
    :class:`~agnn_pyg.RatingLoader`.
    """
    # Pairs that name every node; the shorter end is repeated.
    place = torch.arange(max(len(users), len(items)))
    asked = users[place % len(users)], items[place % len(items)]
    loader = RatingLoader(nodes, torch.stack(asked), **kwargs)
    found = {end: ([], []) for end in model.ends}
    for draw in range(num_neighbor_samples):
        loader.set_epoch(draw)
        rows = {end: [] for end in model.ends}
        for batch in loader:
            x, edges, pairs, *rest, _ = batch.to(model.bias.device)
            states = model.encode(x, edges, *rest)
            for end, position in zip(model.ends, pairs, strict=True):
                state = states[end]
                rows[end].append((state.x[position], state.bias[position]))
        for end, ids in zip(model.ends, (users, items), strict=True):
            for parts, new in zip(
                found[end], zip(*rows[end], strict=True), strict=True
            ):
                parts.append(torch.cat(new)[: len(ids)])
    return tuple(EmbeddedNodes(*map(torch.stack, found[end])) for end in model.ends)


@torch.no_grad()
def score_all(
    model: AGNN, users: EmbeddedNodes, items: EmbeddedNodes, block_size: int = 64
) -> Iterator[Tensor]:
    r"""Rates every item for every user, some users at a time.

    The same numbers as of :func:`predict`. The first layer of the MLP is applied to
    nodes, :math:`\mathbf{W} [\mathbf{p} \, \Vert \, \mathbf{q}] = \mathbf{W}_p
    \mathbf{p} + \mathbf{W}_q \mathbf{q}`, so that a pair costs one addition, one ReLU
    and one product per hidden unit.

    Yields:
        Ratings, :obj:`[users of the block, items]`, not clamped.
    """
    draws, num_users, channels = users.x.size()
    lin, out = model.lin_hidden, model.lin_out
    first = out if lin is None else lin
    weight_p, weight_q = first.weight.split(channels, dim=1)
    left = users.x @ weight_p.t()
    right = F.linear(items.x, weight_q, first.bias)
    for start in range(0, num_users, block_size):
        block = slice(start, start + block_size)
        total = 0
        for d in range(draws):
            rating = users.x[d, block] @ items.x[d].t()
            rating += users.bias[d, block, None] + items.bias[d]
            if lin is None:
                rating += left[d, block] + right[d].t()
            else:
                _add_hidden(rating, left[d, block], right[d], out.weight[0])
                rating += out.bias
            total = total + rating
        yield total / draws + model.bias


def _add_hidden(rating: Tensor, left: Tensor, right: Tensor, weight: Tensor) -> None:
    """Adds the output of the hidden layer for each pair to ratings, in place."""
    width = max(1, BLOCK_NUMEL // weight.numel())
    num_items = min(width, len(right))
    num_users = max(1, width // num_items)
    # One buffer for all blocks: memory fresh from the system costs as much again.
    buffer = left.new_empty(num_users * num_items, weight.numel())
    for i in range(0, len(left), num_users):
        p = left[i : i + num_users, None]
        for j in range(0, len(right), num_items):
            q = right[None, j : j + num_items]
            size = len(p), q.size(1)
            hidden = buffer[: size[0] * size[1]]
            torch.add(p, q, out=hidden.view(*size, -1))
            part = hidden.relu_().mv(weight).view(size)
            rating[i : i + num_users, j : j + num_items] += part
