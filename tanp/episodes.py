"""Few-shot tasks as ragged arrays: one user a task, support first, then query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

# Users, items and labels of interactions.
Interactions = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False, repr=False)
class Episodes:
    r"""N tasks with M interactions in all, stored one after the other.

    Task :math:`i` owns the interactions :obj:`ptr[i]` to :obj:`ptr[i + 1] - 1`. Its
    first :obj:`num_support[i]` are the support, and those from the
    :obj:`query_start[i]`-th on the query. Those between belong to neither.

    Args:
        user (Tensor): Row of each task's user, :obj:`[N]` of dtype ``int64``.
        ptr (Tensor): Where each task's interactions begin, :obj:`[N + 1]`, from 0 to M.
        item (Tensor): Rows of items, :obj:`[M]` of dtype ``int64``.
        label (Tensor): 0 or 1, or ratings, :obj:`[M]` of a floating dtype.
        num_support (Tensor): Interactions in the support of each task, :obj:`[N]`.
        query_start (Tensor): Interactions before each task's query, :obj:`[N]`.

    ``ValueError`` names a tensor of another size, type or range.
    """

    user: Tensor
    ptr: Tensor
    item: Tensor
    label: Tensor
    num_support: Tensor
    query_start: Tensor

    def __post_init__(self) -> None:
        ptr, first, start = self.ptr, self.num_support, self.query_start
        size, total = len(self), int(ptr[-1:].sum())
        sizes = {'ptr': size + 1, 'item': total, 'label': total}
        for name, value in vars(self).items():
            count, is_label = sizes.get(name, size), name == 'label'
            if value.size() != (count,) or value.is_floating_point() != is_label:
                raise ValueError(
                    f"'{name}' must hold {count} {'floating' if is_label else 'whole'} "
                    f'numbers (got {value.dtype} of size {list(value.size())})'
                )
        for name, bad, must in (
            ('ptr', torch.cat([ptr[:1].abs(), -ptr.diff()]) > 0, 'rise from 0'),
            ('num_support', (first < 0) | (first > start), 'fit before the query'),
            ('query_start', start > self.size, "not exceed a task's size"),
            ('user', self.user < 0, 'hold row numbers'),
            ('item', self.item < 0, 'hold row numbers'),
            ('label', ~self.label.isfinite(), 'be finite'),
        ):
            if bad.any():
                place = int(bad.nonzero()[0])
                raise ValueError(
                    f"'{name}' must {must} (got {getattr(self, name)[place].item()} at "
                    f'position {place}, {int(bad.sum()):,} such); drop these'
                )

    @classmethod
    def from_histories(
        cls, histories: Interactions, support_size: int, seed: int
    ) -> Episodes:
        """A task of each user, in random order; half of it is support, up to a size."""
        shuffle = np.random.default_rng(seed).permutation(len(histories[0]))
        user, item, label = (value[shuffle] for value in histories)
        order = np.argsort(user, kind='stable')
        task, size = np.unique(user, return_counts=True)
        support = np.minimum(support_size, size // 2)
        return from_numpy(task, size, item[order], label[order], support)

    @classmethod
    def from_parts(
        cls, users: np.ndarray, support: Interactions, query: Interactions
    ) -> Episodes:
        """A task of each of some distinct users, ascending; others are left out."""
        support, query = (
            [value[np.isin(part[0], users)] for value in part]
            for part in (support, query)
        )
        user, item, label = map(np.concatenate, zip(support, query, strict=True))
        order = np.lexsort((np.arange(len(user)) >= len(support[0]), user))
        size, num_support = (
            np.bincount(np.searchsorted(users, value), minlength=len(users))
            for value in (user, support[0])
        )
        return from_numpy(users, size, item[order], label[order], num_support)

    def __len__(self) -> int:
        return self.user.numel()

    @property
    def size(self) -> Tensor:
        """Interactions of each task, :obj:`[N]`."""
        return self.ptr.diff()

    @property
    def num_query(self) -> Tensor:
        """Interactions in the query of each task, :obj:`[N]`."""
        return self.size - self.query_start

    def support_index(self) -> Tensor:
        """Positions of all support interactions, task after task."""
        return ragged(self.ptr[:-1], self.num_support)

    def query_index(self) -> Tensor:
        """Positions of all query interactions, task after task."""
        return ragged(self.ptr[:-1] + self.query_start, self.num_query)

    def at_least(self, size: int) -> Episodes:
        """The tasks of :obj:`size` interactions or more."""
        return self.select(self.size >= size)

    def select(self, index: Tensor) -> Episodes:
        """The tasks at the given positions, or where a mask is true."""
        size = self.size[index]
        position = ragged(self.ptr[:-1][index], size)
        tasks = self.num_support[index], self.query_start[index]
        items = self.item[position], self.label[position]
        return Episodes(self.user[index], offsets(size), *items, *tasks)

    def to_frames(
        self, users: Sequence[Any], items: Sequence[Any]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Support and query as tables of user, item and rating, with ids for rows."""
        import pandas as pd

        frames = []
        for index, count in (
            (self.support_index(), self.num_support),
            (self.query_index(), self.num_query),
        ):
            user = np.asarray(users)[self.user.repeat_interleave(count)]
            columns = {'user': user, 'item': np.asarray(items)[self.item[index]]}
            frames.append(pd.DataFrame(columns | {'rating': self.label[index].numpy()}))
        return tuple(frames)

    def __repr__(self) -> str:
        count = len(self.item)
        return f'{type(self).__name__}({len(self):,} tasks, {count:,} interactions)'


def offsets(size: Tensor) -> Tensor:
    """Where ragged rows of the given sizes begin, and the last one ends."""
    return torch.cat([size.new_zeros(1), size.cumsum(0)])


def ragged(start: Tensor, size: Tensor) -> Tensor:
    """The numbers ``start, ..., start + size - 1`` of each row, in one tensor."""
    row = torch.repeat_interleave(size)
    first = start - offsets(size)[:-1]
    return torch.arange(row.numel(), device=row.device) + first[row]


def from_numpy(*arrays: np.ndarray) -> Episodes:
    """Tasks from their users, sizes, items, labels and numbers of support items."""
    user, size, item, label, support = map(torch.from_numpy, arrays)
    user, size, item, support = (v.long() for v in (user, size, item, support))
    return Episodes(user, offsets(size), item, label.float(), support, support)
