"""Batches of episodes: padded tensors and masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.config import NonNegativeInt, PositiveInt, check_argument
from tanp.episodes import Episodes

__all__ = ['EpisodeBatch', 'EpisodeLoader']


class EpisodeBatch(NamedTuple):
    """B tasks, padded to S support and Q query interactions.

    Attributes:
        user: Row of each task's user, :obj:`[B]`.
        support_item: Rows of the support's items, :obj:`[B, S]`.
        support_label: Their labels, :obj:`[B, S]`.
        support_mask: True for interactions, false for padding, :obj:`[B, S]`.
        query_item: The same for the query, :obj:`[B, Q]`, as the next two.
        query_label: Read by losses and metrics, and in training by the
            posterior; never by a prediction.
        query_mask: See :obj:`support_mask`.
    """

    user: Tensor
    support_item: Tensor
    support_label: Tensor
    support_mask: Tensor
    query_item: Tensor
    query_label: Tensor
    query_mask: Tensor

    def to(self, device: torch.device | str) -> EpisodeBatch:
        return EpisodeBatch(*(tensor.to(device) for tensor in self))

    def cleared(self) -> EpisodeBatch:
        """The same batch with rows of items in the support's padding, too."""
        return self._replace(support_item=self.support_item * self.support_mask)


class EpisodeLoader:
    r"""Iterates over episodes in padded batches; the last one may be smaller.

    Without :obj:`context_sizes`, supports and queries are those of the
    episodes: for validation, test and serving. With it, for training, each
    epoch deals the interactions of a task anew into a support (the context) of
    random size and a query, so that training sees the support sizes that
    serving will.

    Iterating twice gives the same batches; call :meth:`set_epoch` for others.

    Args:
        episodes (Episodes): The tasks.
        batch_size (int, optional): Tasks a batch. (default: :obj:`32`)
        context_sizes (tuple, optional): Smallest and largest context; the size
            is uniform between the two, as far as one interaction is left over.
            :obj:`None` for the largest is no bound: the authors' rule is
            :obj:`(20, None)`. (default: :obj:`None`)
        query_sizes (tuple, optional): Likewise the number of query interactions
            next to a random context; :obj:`None` takes all that are left. The
            authors' rule is :obj:`(0, None)`. (default: :obj:`None`)
        shuffle (bool, optional): (default: :obj:`False`)
        allow_empty (bool, optional): Accept tasks without support, whose
            predictions then rest on what all users share.
            (default: :obj:`False`)
        seed (int, optional): (default: :obj:`0`)

    Raises:
        ValueError: If there is no task, a task is too small to be dealt or has
            no support, or an argument lies outside its range.
    """

    def __init__(
        self,
        episodes: Episodes,
        batch_size: int = 32,
        *,
        context_sizes: tuple[int, int | None] | None = None,
        query_sizes: tuple[int, int | None] | None = None,
        shuffle: bool = False,
        allow_empty: bool = False,
        seed: int = 0,
    ) -> None:
        check_argument('batch_size', batch_size, PositiveInt)
        _check_sizes('context_sizes', context_sizes, least=int(not allow_empty))
        _check_sizes('query_sizes', query_sizes, least=0)
        if query_sizes is not None and context_sizes is None:
            raise ValueError("'query_sizes' needs 'context_sizes' to deal by")
        check_tasks(episodes, context_sizes is not None, allow_empty)
        self.episodes = episodes
        self.batch_size = batch_size
        self.context_sizes = context_sizes
        self.query_sizes = query_sizes
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.rank, self.world_size = 0, 1

    def set_epoch(self, epoch: int) -> None:
        """Selects the order of the tasks, and their contexts and queries."""
        self.epoch = epoch

    def shard(self, rank: int, world_size: int) -> None:
        """Iterates over the batches of one of several processes, which take turns.

        What does not fill a round of all is left out: each has as many batches.
        """
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return -(-len(self.episodes) // self.batch_size) // self.world_size

    def __iter__(self) -> Iterator[EpisodeBatch]:
        order, tasks = torch.arange(len(self.episodes)), self.episodes
        # Seeding takes a while, next to a batch of one task.
        if self.shuffle or self.context_sizes is not None:
            generator = self._generator()
        if self.shuffle:
            order = torch.randperm(len(order), generator=generator)
        if self.context_sizes is not None:
            tasks = self._deal(generator)
        batches = order.to(tasks.ptr.device).split(self.batch_size)
        last = len(self) * self.world_size
        for chosen in batches[self.rank : last : self.world_size]:
            yield pad(tasks, chosen)

    def _generator(self) -> torch.Generator:
        """The random numbers of the epoch."""
        words = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, 'u8')
        return torch.Generator().manual_seed(int(words[0]) >> 1)

    def _deal(self, generator: torch.Generator) -> Episodes:
        """The same interactions in random order, with new contexts and queries."""
        tasks, device = self.episodes, self.episodes.ptr.device
        size = tasks.size.cpu()
        position = torch.randperm(len(tasks.item), generator=generator)
        row = torch.repeat_interleave(size)[position]
        position = position[row.argsort(stable=True)].to(device)
        context = _uniform(*self.context_sizes, size - 1, generator)
        low, high = self.query_sizes or (None, None)
        query = size - context
        if low is not None:
            query = _uniform(low, high, query, generator)
        # Interactions that are in neither come last, beyond the task's end.
        return _Dealt(
            tasks.user,
            tasks.ptr,
            tasks.item[position],
            tasks.label[position],
            context.to(device),
            context.to(device),
            query.to(device),
        )


class _Dealt(NamedTuple):
    """Tasks of one epoch; as :class:`Episodes`, but not checked every time."""

    user: Tensor
    ptr: Tensor
    item: Tensor
    label: Tensor
    num_support: Tensor
    query_start: Tensor
    num_query: Tensor


def pad(
    tasks: Episodes | _Dealt, chosen: Tensor, with_query: bool = True
) -> EpisodeBatch:
    """The batch of the chosen tasks, without queries where nobody reads them."""

    def of(value: Tensor) -> Tensor:
        return value.index_select(0, chosen)

    start = of(tasks.ptr)
    support = _side(tasks, start, of(tasks.num_support))
    if with_query:
        query = _side(tasks, start + of(tasks.query_start), of(tasks.num_query))
    else:
        query = (value[:, :0] for value in support)
    return EpisodeBatch(of(tasks.user), *support, *query)


def _side(
    tasks: Episodes | _Dealt, start: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Items, labels and mask of so many interactions of each task."""
    slot = torch.arange(int(count.max()), device=count.device)
    mask = slot < count[:, None]
    # Padding points to the first interaction of all, and is then cleared.
    position = (start[:, None] + slot) * mask
    item, label = tasks.item.take(position), tasks.label.take(position)
    return item * mask, label * mask, mask


def _uniform(
    low: int, high: int | None, most: Tensor, generator: torch.Generator
) -> Tensor:
    """Whole numbers from low to high, both included, and at most :obj:`most`."""
    high = most if high is None else most.clamp(max=high)
    low = high.clamp(max=low)
    share = torch.rand(len(most), generator=generator, dtype=torch.double)
    return low + ((high - low + 1) * share).long()


def _check_sizes(name: str, sizes: tuple[int, int | None] | None, least: int) -> None:
    low_type = PositiveInt if least else NonNegativeInt
    sizes = check_argument(name, sizes, tuple[low_type, NonNegativeInt | None] | None)
    if sizes is not None and sizes[1] is not None and sizes[0] > sizes[1]:
        raise ValueError(
            f"'{name}' must be a smallest and a largest size, in this order (got "
            f'{sizes})'
        )


def check_tasks(
    episodes: Episodes, dealt: bool = False, allow_empty: bool = False
) -> None:
    """Raises ``ValueError`` unless tasks are large enough to be read, or dealt."""
    if not isinstance(episodes, Episodes):
        raise ValueError(
            f"'episodes' must be Episodes, as 'split_episodes' makes them, one of its "
            f'parts (got {type(episodes).__name__})'
        )
    if not len(episodes):
        raise ValueError("'episodes' holds no task; there is nothing to iterate over")
    if dealt:
        small = (episodes.size < 2).nonzero().flatten()
        if len(small):
            raise ValueError(
                f"'episodes' holds {len(small):,} task(s) with fewer than two "
                f'interactions, which cannot be dealt into support and query (first: '
                f'user {int(episodes.user[small[0]])}); leave them out with '
                f"'at_least(2)'"
            )
    elif not allow_empty and not episodes.num_support.all():
        first = int((episodes.num_support == 0).nonzero()[0])
        raise ValueError(
            f"'episodes' holds tasks without support (first: user "
            f'{int(episodes.user[first])}); give each at least one interaction, or '
            f"pass 'allow_empty=True' to predict from what all users share"
        )
