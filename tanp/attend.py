"""What supports say of every item, some users at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from tanp.loader import EpisodeBatch
from tanp.pairs import Met
from tanp.reading import Reading, SupportReader

# Blocks of users whose sums are made together.
GROUP = 8
# Largest power of two an attention weight can have beside its sink.
MOST_BITS = 100.0


def sizes_of(total: int, step: int) -> list[int]:
    """Sizes of the blocks of some users, of which the last may be smaller.

    For `split_with_sizes`, which takes a fraction of the time of `split`.
    """
    return [min(step, total - start) for start in range(0, total, step)]


class Attention:
    """Makes the rows that the decoder reads, block by block.

    All blocks take turns in the same memory, as fresh memory is slow.

    Args:
        reader (SupportReader): Of a model.
        reading (Reading): Of a batch.
        batch (EpisodeBatch): The batch.
        step (int): Users of a block.
    """

    def __init__(
        self, reader: SupportReader, reading: Reading, batch: EpisodeBatch, step: int
    ) -> None:
        self.reader, self.reading, self.batch = reader, reading, batch
        self.step = step
        self.heads, num_tasks, self.size, _ = reading.key.size()
        self.width, self.num_items = reading.value.size(2) - 1, reader.known.size(-1)
        # Rows of means, of kernels for good and bad, and of what vectors make.
        *_, sums, expected = reader.readers
        self.rows = [self.heads * self.width, 2 * sums, 2 + expected]
        self.told = self._empty(sum(self.rows), min(GROUP * step, num_tasks))
        self.blocks: dict[int, _Block] = {}

    def _empty(self, *size: int) -> Tensor:
        return self.reading.key.new_empty(*size, self.num_items)

    def __iter__(self) -> Iterator[Tensor]:
        """Rows of each block of users, :obj:`[K, b, I]`; the next overwrites them."""
        num_tasks, group = len(self.reading.bad), self.told.size(1)
        for start in range(0, num_tasks, group):
            count = min(group, num_tasks - start)
            users = slice(start, start + count)
            told = self.told
            if count < group:
                told = self._empty(len(told), count)
            met = self._met(users, count)
            good, bad, *values = met.value.split_with_sizes(self.reader.readers)
            pooled = self.reading.pooled[users]
            size = sizes_of(count, self.step)
            means = self._sum(told, pooled, met.place[1:], values)
            key, value = (self.reading[n][:, users] for n in range(2))
            parts = zip(
                key.split_with_sizes(size, 1),
                value.split_with_sizes(size, 1),
                self._split(met, good + bad),
                means.split_with_sizes(size, 1),
                told.split_with_sizes(size, 1),
                strict=True,
            )
            for key, value, likeness, means, rows in parts:
                self._attend(key, value, *likeness, means)
                yield rows

    def _met(self, users: slice, count: int) -> Met:
        """Pairs of users: places among slots of blocks, sums and users."""
        item, mask = self.batch.support_item[users], self.batch.support_mask[users]
        slot = torch.arange(item.numel(), device=item.device)
        task = slot // self.size
        signed = task + count * self.reading.bad[users].flatten()
        row = slot % (self.step * self.size), signed, task
        return self.reader.pairs.of(item, mask, self.reading.weight[:, users], row)

    def _split(self, met: Met, likeness: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Where and what pairs add to the logits of each block."""
        ptr = [*met.ptr[: -1 : self.step].tolist(), met.value.size(1)]
        size = [end - start for start, end in pairwise(ptr)]
        place = met.place[0].expand(self.heads, -1)
        parts = (part.split_with_sizes(size, 1) for part in (place, likeness))
        return zip(*parts, strict=True)

    def _sum(
        self, told: Tensor, pooled: Tensor, places: list[Tensor], values: list[Tensor]
    ) -> Tensor:
        """Fills the rows that sum up kernels; returns those that are left."""
        means, kernels, products = told.split_with_sizes(self.rows)
        sums, expected = values
        # What vectors make of kernels, and then what pairs add.
        pooled = pooled.transpose(0, 1).flatten(0, 1)
        torch.mm(pooled, self.reader.vector, out=products.flatten(0, 1))
        place = places[1].expand(len(expected), -1)
        products[2:].flatten(1).scatter_add_(1, place, expected)
        place = places[0].expand(len(sums), -1)
        kernels.zero_().view(len(sums), -1).scatter_add_(1, place, sums)
        return means.unflatten(0, (self.heads, -1)).transpose(1, 2)

    def _attend(
        self, key: Tensor, value: Tensor, place: Tensor, likeness: Tensor, out: Tensor
    ) -> None:
        """The heads' means of what supports say, :obj:`[heads, b, D, I]`."""
        count = key.size(1)
        if count not in self.blocks:
            self.blocks[count] = self._block(count)
        room = self.blocks[count]
        torch.mm(key.flatten(0, 2), self.reader.known, out=room.logit)
        room.flat.scatter_add_(1, place, likeness)
        # Relative to the sink, which counts as 1.
        room.flat.clamp_(max=MOST_BITS).exp2_()
        torch.bmm(value.flatten(0, 1), room.attention, out=room.read)
        torch.mul(room.value, room.total.add_(1).reciprocal_(), out=out)

    def _block(self, count: int) -> _Block:
        """Memory for so many users."""
        logit = self._empty(self.heads * count * self.size)
        read = self._empty(self.heads, count, self.width + 1)
        flat = logit.view(self.heads, -1)
        attention = logit.view(self.heads * count, self.size, -1)
        parts = read.split_with_sizes([self.width, 1], dim=2)
        return _Block(logit, flat, attention, read.flatten(0, 1), *parts)


class _Block(NamedTuple):
    """Memory of a block of users: logits, then attention, and what is read by it.

    Attributes:
        logit: Logits, :obj:`[heads b S, I]`.
        flat: The same, :obj:`[heads, b S I]`.
        attention: The same, :obj:`[heads b, S, I]`.
        read: Sums by attention, and of it, :obj:`[heads b, D + 1, I]`.
        value: The former, :obj:`[heads, b, D, I]`.
        total: The latter, :obj:`[heads, b, 1, I]`.
    """

    logit: Tensor
    flat: Tensor
    attention: Tensor
    read: Tensor
    value: Tensor
    total: Tensor
