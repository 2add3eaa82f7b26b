"""What is told of items, without what their own user has to say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from tanp.nn.rows import Rows, sum_by

if TYPE_CHECKING:
    from tanp.statistics import InteractionStatistics

# Upper bounds of the bins of an item's likes; none at all has a bin of its own.
BINS = (0, 1, 2, 4, 8, 16, 32)
# Ratings that an item's mean, or a user's, is worth before it has any.
MEAN_DAMPING = 5.0


class Evidence(NamedTuple):
    """What other users say of R interactions: those of supports, then of queries.

    Attributes:
        vector: Item vectors, :obj:`[R, rank]`.
        counts: Popularity, :obj:`[R, num_counts]`.
        base: Labels to expect, :obj:`[R]`.
        kernel: Likeness of query to support items, zero in the padding,
            :obj:`[B, Q, S, num_kernels]`.
        support_kernel: Likeness of support items among themselves, likewise, by the
            :attr:`InteractionStatistics.positive` ones, :obj:`[B, S, S, E]`.
    """

    vector: Tensor
    counts: Tensor
    base: Tensor
    kernel: Tensor
    support_kernel: Tensor


class Catalogue(NamedTuple):
    """All I items, as a user without a share in the statistics is told of them.

    Likenesses but the last, which vectors make, are zero unless somebody has met
    both items. Those P pairs are listed, item after item.

    Attributes:
        vector: Item vectors, :obj:`[I, rank]`.
        counts: Popularity, :obj:`[I, num_counts]`.
        mean: Damped mean labels, :obj:`[I]`.
        ptr: Where each item's pairs begin, :obj:`[I + 1]`.
        other: The other items, :obj:`[P]`.
        kernel: Likeness of the others to it, :obj:`[P, num_kernels - 1]`.
    """

    vector: Tensor
    counts: Tensor
    mean: Tensor
    ptr: Tensor
    other: Tensor
    kernel: Tensor


class Told:
    """Items as other users see them: R users and items, one by one."""

    def __init__(self, table: InteractionStatistics, user: Tensor, item: Tensor):
        known, place = table.own(user, item)
        tally, label = table.tally, table.label[place]
        self.item = item
        # What the user itself has contributed ...
        liked = label > table.relevant
        self.likes = (known & liked).to(label.dtype)
        self.dislikes = (known & ~liked).to(label.dtype)
        self.rating = tally.centred[place] * known
        # ... and what is left without it.
        self.like = tally.like[item] - self.likes
        self.dislike = tally.dislike[item] - self.dislikes
        self.square = (tally.square[item] - self.rating.square()).clamp(min=0)
        mean = table.mean(user)
        count = self.like + self.dislike
        total = tally.total[item] - label * known
        self.deviation = (total - count * mean) / (count + MEAN_DAMPING)
        self.mean = mean + self.deviation
        self.vector = table.vector[table.fold[user.clamp(max=table.num_users)], item]

    def counts(self) -> Tensor:
        """Popularity: an indicator of the bin, logarithms, the mean label."""
        bins = torch.tensor(BINS, dtype=self.like.dtype, device=self.like.device)
        # As one-hots, without the checks that those come with.
        every = torch.arange(len(BINS) + 1, device=bins.device)
        indicator = torch.bucketize(self.like, bins)[..., None] == every
        numbers = [self.like.log1p(), self.dislike.log1p(), self.deviation]
        return torch.cat([indicator, torch.stack(numbers, dim=-1)], dim=-1)


def surplus(excess: Tensor, support: Rows) -> Tensor:
    """Damped means of by how much supports exceed others' labels, :obj:`[B]`."""
    count = torch.bincount(support.task, minlength=support.num_tasks)
    total = sum_by(excess, support.task, support.num_tasks)
    return total / (count + MEAN_DAMPING)
