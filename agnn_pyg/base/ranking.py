"""Top-k selection with stable ties, and exclusion of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def highest(score: Tensor, k: int) -> Tensor:
    """Positions of the k highest scores of each row, best first, :obj:`[R, k]`.

    Ties keep the order of the row. If a row is shorter than k, all are returned.
    """
    value, order = score.topk(min(k + 1, score.size(1)))
    # `topk` orders ties, and chooses among them, arbitrarily.
    is_tied = (value[:, 1:] == value[:, :-1]).any(dim=1)
    tied = score[is_tied].sort(dim=1, descending=True, stable=True).indices
    order[is_tied] = tied[:, : order.size(1)]
    return order[:, :k]


def positions(nodes: Tensor, size: int) -> Tensor:
    """The position of nodes 0 to :obj:`size` - 1 in :obj:`nodes`, or -1."""
    place = nodes.new_full((size,), -1)
    place[nodes] = torch.arange(len(nodes), device=nodes.device)
    return place


def pairs_among(
    pairs: Tensor, users: Tensor, items: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of pairs :obj:`[2, R]` in distinct users and in distinct items.

    A position is -1 if the node is not there. The mask is true if both nodes are.
    """
    row, column = (
        positions(nodes, 1 + max(int(x.max()) for x in (nodes, index) if len(x)))[index]
        for nodes, index in zip((users, items), pairs, strict=True)
    )
    return row, column, (row >= 0) & (column >= 0)


def excluded(
    blocks: Iterable[Tensor], pairs: Tensor, users: Tensor, items: Tensor
) -> Iterator[Tensor]:
    """Sets the scores of pairs to -inf in blocks :obj:`[..., B, num_items]` of users.

    The blocks are consecutive parts of :obj:`users`.
    """
    row, column, found = pairs_among(pairs, users, items)
    row, order = row[found].sort()
    column = column[found][order]
    start = 0
    for score in blocks:
        stop = start + score.size(-2)
        low, high = torch.searchsorted(row, row.new_tensor([start, stop]))
        score[..., row[low:high] - start, column[low:high]] = -torch.inf
        start = stop
        yield score
