"""Batches of episodes as padded tensors with masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from agnn_pyg.base.config import PositiveInt, check_argument
from agnn_pyg.base.randomness import EpochLoader
from tanp.config import QuerySizes, SupportSizes
from tanp.episodes import Episodes


class EpisodeBatch(NamedTuple):
    """B tasks, padded to S support and Q query interactions."""

    user: Tensor  # rows, [B]
    support_item: Tensor  # rows, [B, S]
    support_label: Tensor
    support_mask: Tensor  # true for interactions, false for padding
    query_item: Tensor  # rows, [B, Q]
    query_label: Tensor  # not read for predictions
    query_mask: Tensor

    def to(self, device: torch.device | str) -> EpisodeBatch:
        return EpisodeBatch(*(tensor.to(device) for tensor in self))

    def cleared(self, dtype: torch.dtype) -> EpisodeBatch:
        """This batch with zeros as padding and with labels of the given dtype."""
        parts = []
        for item, label, mask in (self[1:4], self[4:]):
            label = label.masked_fill(~mask, 0).to(dtype)
            parts += [item.masked_fill(~mask, 0), label, mask]
        return EpisodeBatch(self.user, *parts)


@dataclass(eq=False, repr=False)
class EpisodeLoader(EpochLoader):
    """Iterates over episodes in padded batches; the last one may be smaller.

    Without :obj:`support_sizes`, supports and queries are those of the episodes. With
    it, each epoch splits the interactions of a task again into a support of random size
    and a query, so that training covers the support sizes of predictions.

    Args:
        episodes (Episodes): The tasks.
        batch_size (int, optional): Tasks per batch. (default: :obj:`32`)
        support_sizes (tuple, optional): Smallest and largest support, drawn uniformly;
            None means no upper bound. At least one interaction remains for the query.
        query_sizes (tuple, optional): The same for queries. (default: all that remain)
        shuffle (bool, optional): Shuffle the tasks. (default: :obj:`False`)
        seed (int, optional): Seed of all random numbers. (default: :obj:`0`)
        negatives (int, optional): Items with label 0 to draw per query interaction,
            uniformly from items that are not in the task. (default: :obj:`0`)
        num_items (int, optional): Number of all items. (default: :obj:`0`)
    """

    episodes: Episodes
    batch_size: int = 32
    _: KW_ONLY
    support_sizes: tuple[int, int | None] | None = None
    query_sizes: tuple[int, int | None] | None = None
    shuffle: bool = False
    seed: int = 0
    negatives: int = 0
    num_items: int = 0

    def __post_init__(self) -> None:
        episodes = self.episodes
        check_argument('batch_size', self.batch_size, PositiveInt)
        check_argument('support_sizes', self.support_sizes, SupportSizes | None)
        check_argument('query_sizes', self.query_sizes, QuerySizes | None)
        if not isinstance(episodes, Episodes) or not len(episodes):
            raise ValueError(
                f"'episodes' must be Episodes with at least one task (got "
                f"{episodes!r}); see 'Episodes.from_histories'"
            )
        if self.support_sizes is not None and (episodes.size < 2).any():
            user = int(episodes.user[episodes.size < 2][0])
            raise ValueError(
                f"'episodes' must have two interactions in each task to resample (got "
                f'fewer for user {user}); use episodes.at_least(2)'
            )

    def __len__(self) -> int:
        return -(-len(self.episodes) // self.batch_size) // self.world_size

    def __iter__(self) -> Iterator[EpisodeBatch]:
        order = torch.arange(len(self.episodes))
        tasks = self.episodes
        words = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, 'u8')
        generator = Generator().manual_seed(int(words[0]) >> 1)
        if self.shuffle:
            order = torch.randperm(len(order), generator=generator)
        if self.support_sizes is not None:
            tasks = self._resample(generator)
        if self.negatives:
            tasks = self._with_negatives(tasks, generator)
        mine = slice(self.rank, len(self) * self.world_size, self.world_size)
        for chosen in order.split(self.batch_size)[mine]:
            yield pad(tasks, chosen)

    def _resample(self, generator: Generator) -> Episodes:
        """The same tasks with newly drawn supports and queries."""
        tasks, size = self.episodes, self.episodes.size
        position = torch.randperm(len(tasks.item), generator=generator)
        row = torch.repeat_interleave(size)[position]
        row, order = row.sort(stable=True)
        position = position[order]
        support = _uniform(*self.support_sizes, size - 1, generator)
        if self.query_sizes is not None:
            query = _uniform(*self.query_sizes, size - support, generator)
            # The first interactions are the support, and the last ones the query.
            place = torch.arange(len(row)) - tasks.ptr[row]
            is_kept = (place < support[row]) | (place >= (size - query)[row])
            position, size = position[is_kept], support + query
        item, label = tasks.item[position], tasks.label[position]
        return Episodes(tasks.user, size, item, label, support)

    def _with_negatives(self, tasks: Episodes, generator: Generator) -> Episodes:
        """The same tasks, with drawn items at the end of their queries."""
        known = self.episodes
        unseen = self.num_items - known.size
        count = self.negatives * tasks.num_query * (unseen > 0)
        draw = torch.repeat_interleave(count)
        fraction = torch.rand(len(draw), generator=generator, dtype=torch.double)
        # The n-th item outside a task is n plus the number of task items before it.
        number = (fraction * unseen[draw]).long()
        width = self.num_items + 1
        row = torch.repeat_interleave(known.size)
        rank = torch.arange(len(row)) - known.ptr[row]
        lacked = (row * width + known.item).sort().values - rank
        place = torch.searchsorted(lacked, draw * width + number, right=True)
        item = torch.cat([tasks.item, number + place - known.ptr[draw]])
        label = torch.cat([tasks.label, tasks.label.new_zeros(len(draw))])
        row = torch.cat([torch.repeat_interleave(tasks.size), draw])
        order = row.argsort(stable=True)
        parts = tasks.size + count, item[order], label[order], tasks.num_support
        return Episodes(tasks.user, *parts)


def pad(tasks: Episodes, chosen: Tensor) -> EpisodeBatch:
    """The batch of the chosen tasks."""
    sizes = (tasks.ptr, tasks.num_support, tasks.num_query)
    parts = []
    start, support, query = (size.index_select(0, chosen) for size in sizes)
    for begin, count in ((start, support), (start + support, query)):
        slot = torch.arange(int(count.max()), device=count.device)
        mask = slot < count[:, None]
        # Padding points to interaction 0 and is then set to zero.
        position = (begin[:, None] + slot) * mask
        parts += [value.take(position) * mask for value in (tasks.item, tasks.label)]
        parts.append(mask)
    return EpisodeBatch(tasks.user.index_select(0, chosen), *parts)


def _uniform(low: int, high: int | None, most: Tensor, generator: Generator) -> Tensor:
    """Random integers from low to high (inclusive), at most :obj:`most`."""
    high = most if high is None else most.clamp(max=high)
    low = high.clamp(max=low)
    fraction = torch.rand(len(most), generator=generator, dtype=torch.double)
    return low + ((high - low + 1) * fraction).long()
