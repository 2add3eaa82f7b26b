"""Pairs of items that somebody has met: all others are alike in vectors only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tanp.episodes import offsets
from tanp.evidence import Catalogue


class MetPairs:
    """What supports have to do with the items that others have met beside theirs.

    Args:
        told (Catalogue): Of all items.
        pair (Tensor): Zero for pairs that nobody has met, :obj:`[I, I]`.
        mix (Tensor): What M readers make of the kernels, :obj:`[M, E - 1]`.
        columns (sequence): Kernels that are asked for among items.
    """

    def __init__(
        self, told: Catalogue, pair: Tensor, mix: Tensor, columns: Sequence[int]
    ) -> None:
        self.start, self.count, self.other = told.ptr[:-1], told.ptr.diff(), told.other
        self.num_items, self.pair, self.mix = len(told.mean), pair.flatten(), mix
        # A row a kernel, which is faster to gather from and to multiply.
        self.kernel, self.some = told.kernel.t().contiguous(), told.kernel[:, columns]
        one = torch.repeat_interleave(self.count)
        self.key = one * self.num_items + self.other

    def among(self, item: Tensor) -> Tensor:
        """Some kernels of items among themselves, :obj:`[B, S, S, len(columns)]`."""
        key = (item[..., None] * self.num_items + item[:, None]).flatten()
        # Most are not met, which a look tells sooner than a search.
        met = self.pair.index_select(0, key).nonzero().squeeze(-1)
        place = torch.searchsorted(self.key, key.index_select(0, met))
        kernel = self.some.new_zeros(len(key), self.some.size(-1))
        kernel.index_copy_(0, met, self.some.index_select(0, place))
        return kernel.view(*item.size(), item.size(1), -1)

    def of(
        self, item: Tensor, mask: Tensor, weight: Tensor, row: Sequence[Tensor]
    ) -> Met:
        """The pairs of support items :obj:`[B, S]`.

        Args:
            item (Tensor): Their rows.
            mask (Tensor): Which are none.
            weight (Tensor): By what readers weigh what they make of an item's kernels,
                :obj:`[M, B, S]`.
            row (sequence): For each of T tables, the row of an item, :obj:`[B S]`.
        """
        item = item.flatten()
        count = self.count.index_select(0, item) * mask.flatten()
        end = offsets(count)
        slot = torch.repeat_interleave(count, output_size=int(end[-1]))
        first = self.start.index_select(0, item) - end[:-1]
        listed = torch.arange(len(slot), device=slot.device)
        listed += first.index_select(0, slot)
        value = self.mix @ self.kernel.index_select(1, listed)
        value *= weight.flatten(1).index_select(1, slot)
        other = self.other.index_select(0, listed)
        place = [(one * self.num_items).index_select(0, slot) + other for one in row]
        return Met(end[:: mask.size(1)], place, value)


class Met(NamedTuple):
    """P pairs of a support item and another.

    Attributes:
        ptr: Where the pairs of each task begin, :obj:`[B + 1]`.
        place: In each of T tables of rows and items, :obj:`[P]`.
        value: What readers make of kernels, by their weights, :obj:`[M, P]`.
    """

    ptr: Tensor
    place: list[Tensor]
    value: Tensor
