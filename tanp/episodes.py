"""Few-shot tasks as ragged arrays: one task per user, support before query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

# Users, items and labels of interactions.
Interactions = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False, repr=False)
class Episodes:
    r"""N tasks with a total of M interactions, stored one after the other.

    The first :obj:`num_support` interactions of a task are its support; the others are
    its query.

    Args:
        user (Tensor): Row of each task's user, :obj:`[N]` of dtype ``int64``.
        size (Tensor): Interactions of each task, :obj:`[N]`, with sum M.
        item (Tensor): Rows of items, :obj:`[M]` of dtype ``int64``.
        label (Tensor): 0 or 1, or ratings, :obj:`[M]` of a floating dtype.
        num_support (Tensor): Support size of each task, :obj:`[N]`. ``ValueError``
            names a tensor that has another size, type or range.
    """

    user: Tensor
    size: Tensor
    item: Tensor
    label: Tensor
    num_support: Tensor

    def __post_init__(self) -> None:
        musts = {'label': 'be finite', 'num_support': "be at most its task's size"}
        for name, value in vars(self).items():
            is_label = name == 'label'
            count = int(self.size.sum()) if name in ('item', 'label') else len(self)
            if value.size() != (count,) or value.is_floating_point() != is_label:
                raise ValueError(
                    f"'{name}' must hold {count} {'floating' if is_label else 'whole'} "
                    f'numbers (got {value.dtype} of size {list(value.size())})'
                )
            bad = ~value.isfinite() if is_label else value < 0
            if name == 'num_support':
                bad |= value > self.size
            if bad.any():
                place = int(bad.nonzero()[0])
                raise ValueError(
                    f"'{name}' must {musts.get(name, 'not be negative')} (got "
                    f'{value[place].item()} at position {place}, the first of '
                    f'{int(bad.sum()):,}); drop these entries'
                )

    @classmethod
    def from_histories(
        cls, histories: Interactions, support_size: int, seed: int
    ) -> Episodes:
        """One task per user, shuffled; half of it is support, up to support_size."""
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
        """One task for each of some distinct ascending users; others are left out."""
        user, item, label = map(np.concatenate, zip(support, query, strict=True))
        is_query = np.arange(len(user)) >= len(support[0])
        order = np.lexsort((is_query, user))
        order = order[np.isin(user[order], users)]
        row, is_query = np.searchsorted(users, user[order]), is_query[order]
        parts = row, row[is_query]
        size, num_query = (np.bincount(p, minlength=len(users)) for p in parts)
        return from_numpy(users, size, item[order], label[order], size - num_query)

    def __len__(self) -> int:
        return self.user.numel()

    @cached_property
    def ptr(self) -> Tensor:
        """Offsets of the tasks' interactions, :obj:`[N + 1]`."""
        return F.pad(self.size.cumsum(0), (1, 0))

    @property
    def num_query(self) -> Tensor:
        """Number of query interactions of each task, :obj:`[N]`."""
        return self.size - self.num_support

    def support_index(self) -> Tensor:
        """Positions of all support interactions, task after task."""
        return ragged(self.ptr[:-1], self.num_support)

    def query_index(self) -> Tensor:
        """Positions of all query interactions, task after task."""
        return ragged(self.ptr[:-1] + self.num_support, self.num_query)

    def at_least(self, size: int) -> Episodes:
        """The tasks with at least :obj:`size` interactions."""
        return self.select(self.size >= size)

    def select(self, index: Tensor) -> Episodes:
        """The tasks at the given positions, or where a mask is true."""
        size = self.size[index]
        position = ragged(self.ptr[:-1][index], size)
        parts = size, self.item[position], self.label[position]
        return Episodes(self.user[index], *parts, self.num_support[index])

    def to_frames(
        self, users: Sequence[Any], items: Sequence[Any]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Support and query as tables of user, item and rating, with their ids."""
        user = torch.repeat_interleave(self.user, self.size)
        user, item = np.asarray(users)[user], np.asarray(items)[self.item]
        frame = pd.DataFrame({'user': user, 'item': item, 'rating': self.label.numpy()})
        parts = self.support_index().numpy(), self.query_index().numpy()
        return tuple(frame.iloc[part].reset_index(drop=True) for part in parts)

    def __repr__(self) -> str:
        return f'Episodes({len(self):,} tasks, {len(self.item):,} interactions)'


def ragged(start: Tensor, size: Tensor) -> Tensor:
    """Concatenated ranges ``start, ..., start + size - 1`` of all rows."""
    row = torch.repeat_interleave(size)
    first = start + size - size.cumsum(0)
    return torch.arange(row.numel(), device=row.device) + first[row]


def from_numpy(*arrays: np.ndarray) -> Episodes:
    """Builds tasks from arrays of users, sizes, items, labels and support sizes."""
    user, size, item, label, support = map(torch.from_numpy, arrays)
    rows = user.long(), size.long(), item.long()
    return Episodes(*rows, label.float(), support.long())
