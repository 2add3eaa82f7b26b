"""Pairs of items that somebody has met both of: all others are alike in vectors only."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tanp.episodes import offsets
from tanp.statistics import Catalogue


class MetPairs:
    """What supports have to do with the items that others have met beside theirs.

    Args:
        told (Catalogue): Of all items.
        pair (Tensor): Zero for pairs that nobody has met, :obj:`[I, I]`.
        mixed (Tensor): What is read of kernels, a column each, :obj:`[E - 1, M]`.
    """

    def __init__(self, told: Catalogue, pair: Tensor, mixed: Tensor) -> None:
        self.ptr, self.other, self.kernel = told.ptr, told.other, told.kernel
        self.pair, self.mixed = pair.flatten(), mixed
        self.num_items = len(told.mean)
        one = torch.repeat_interleave(self.ptr.diff())
        self.key = one * self.num_items + self.other

    def among(self, item: Tensor) -> Tensor:
        """Kernels of items among themselves, :obj:`[B, S, S, E - 1]`."""
        key = (item[..., None] * self.num_items + item[:, None]).flatten()
        # Most are not met, and a look tells sooner than a search.
        met = self.pair.index_select(0, key).nonzero().squeeze(-1)
        place = torch.searchsorted(self.key, key.index_select(0, met))
        kernel = self.kernel.new_zeros(len(key), self.kernel.size(-1))
        kernel.index_copy_(0, met, self.kernel.index_select(0, place))
        return kernel.view(*item.size(), item.size(1), -1)

    def of(self, item: Tensor, mask: Tensor, weight: Tensor, row: Tensor) -> Met:
        """The pairs of support items :obj:`[B, S]`.

        Args:
            item (Tensor): Their rows.
            mask (Tensor): Which are none.
            weight (Tensor): By what an item weighs what is read of its kernels,
                :obj:`[B, S, M]`.
            row (Tensor): For each of several tables, the row of an item,
                :obj:`[B, S, T]`.
        """
        item = item.flatten()
        start = self.ptr[item]
        count = (self.ptr[item + 1] - start) * mask.flatten()
        end = offsets(count)
        slot = torch.repeat_interleave(count, output_size=int(end[-1]))
        # Of an item's first pair: where it is listed, and its place in each table.
        first = torch.cat(
            [(start - end[:-1])[:, None], row.flatten(0, 1) * self.num_items], dim=1
        ).index_select(0, slot)
        listed = first[:, 0] + torch.arange(len(slot), device=slot.device)
        value = self.kernel.index_select(0, listed) @ self.mixed
        value *= weight.flatten(0, 1).index_select(0, slot)
        place = first[:, 1:].t() + self.other.index_select(0, listed)
        return Met(end[:: mask.size(1)], place, value.t())


class Met(NamedTuple):
    """P pairs of a support item and another.

    Attributes:
        ptr: Where the pairs of each task begin, :obj:`[B + 1]`.
        place: In each of T tables of rows and items, :obj:`[T, P]`.
        value: What is read of kernels, :obj:`[M, P]`.
    """

    ptr: Tensor
    place: Tensor
    value: Tensor
