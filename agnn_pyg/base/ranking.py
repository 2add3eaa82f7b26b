"""The items of the highest scores, and pairs that are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def highest(score: Tensor, k: int) -> Tensor:
    """Positions of the k highest scores of each row, best first, :obj:`[R, k]`.

    Among equal scores the first comes first. Of shorter rows all are taken.
    """
    value, order = score.topk(min(k + 1, score.size(1)))
    is_tied = (value[:, 1:] == value[:, :-1]).any(dim=1)
    value, order = value[:, :k], order[:, :k]
    # Of the scores that equal the last one, `topk` takes any.
    score, least = score[is_tied], value[is_tied, -1:]
    above, equal = score > least, score == least
    left = value.size(1) - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= left))
    place = chosen.nonzero()[:, 1].view(len(score), value.size(1))
    first = score.gather(1, place).argsort(dim=1, descending=True, stable=True)
    order[is_tied] = place.gather(1, first)
    return order


def positions(nodes: Tensor, size: int) -> Tensor:
    """The position of each node of a side among some nodes, or -1, :obj:`[size]`."""
    place = nodes.new_full((size,), -1)
    place[nodes] = torch.arange(len(nodes), device=nodes.device)
    return place


def pairs_among(
    pairs: Tensor, users: Tensor, items: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of pairs, :obj:`[2, R]`, among distinct users and among distinct items.

    That of a node that is not among them is -1; a mask says where both are.
    """
    row, column = (
        positions(nodes, 1 + max(int(x.max()) for x in (nodes, index) if len(x)))[index]
        for nodes, index in zip((users, items), pairs, strict=True)
    )
    return row, column, (row >= 0) & (column >= 0)


def excluded(
    blocks: Iterable[Tensor], pairs: Tensor, users: Tensor, items: Tensor
) -> Iterator[Tensor]:
    """Scores of some users at a time, in order, with -inf for some pairs.

    The last two dimensions of a block are those of its users and of all items.
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
