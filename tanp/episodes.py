"""Few-shot tasks as ragged arrays: one user a task, support first, then query."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ['Episodes', 'ragged']


@dataclass(frozen=True, eq=False, repr=False)
class Episodes:
    r"""N tasks with M interactions in all, stored one after the other.

    Task :math:`i` owns the interactions :obj:`ptr[i]` to :obj:`ptr[i + 1] - 1`.
    Its first :obj:`num_support[i]` are the support, and those from the
    :obj:`query_start[i]`-th on are the query. What lies between the two, after
    :meth:`with_support_size`, belongs to neither.

    Args:
        user (Tensor): Row of each task's user in the table of users, :obj:`[N]` of
            dtype ``int64``.
        ptr (Tensor): Where each task's interactions begin, :obj:`[N + 1]`, from 0 to M.
        item (Tensor): Rows in the table of items, :obj:`[M]` of dtype ``int64``.
        label (Tensor): 0 or 1, or ratings, :obj:`[M]` of a floating dtype.
        num_support (Tensor): Interactions in the support of each task, :obj:`[N]`.
        query_start (Tensor): Interactions ahead of each task's query, :obj:`[N]`.

    Raises:
        ValueError: If sizes, offsets or types do not fit together, a row
            number is negative or a label not finite.
    """

    user: Tensor
    ptr: Tensor
    item: Tensor
    label: Tensor
    num_support: Tensor
    query_start: Tensor

    def __post_init__(self) -> None:
        _check(self)

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

    def with_support_size(self, size: int) -> Episodes:
        """The same queries, with only the first :obj:`size` support interactions.

        Raises:
            ValueError: If a task has fewer.
        """
        least = int(self.num_support.min()) if len(self) else size
        if not 0 <= size <= least:
            raise ValueError(
                f"'size' must be from 0 to {least}, the smallest support of these "
                f'tasks (got {size})'
            )
        return dataclasses.replace(
            self, num_support=torch.full_like(self.num_support, size)
        )

    def at_least(self, size: int) -> Episodes:
        """The tasks of :obj:`size` interactions or more."""
        return self.select(self.size >= size)

    def select(self, index: Tensor) -> Episodes:
        """The tasks at the given positions, or where a mask is true."""
        if index.dtype == torch.bool:
            index = index.nonzero().squeeze(-1)
        size = self.size[index]
        position = ragged(self.ptr[index], size)
        return Episodes(
            user=self.user[index],
            ptr=offsets(size),
            item=self.item[position],
            label=self.label[position],
            num_support=self.num_support[index],
            query_start=self.query_start[index],
        )

    def to(self, device: torch.device | str) -> Episodes:
        """The same tasks on another device."""
        return Episodes(**{k: v.to(device) for k, v in vars(self).items()})

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({len(self):,}, support='
            f'{_span(self.num_support)}, query={_span(self.num_query)})'
        )


def offsets(size: Tensor) -> Tensor:
    """Where ragged rows of the given sizes begin, and the last one ends."""
    return torch.cat([size.new_zeros(1), size.cumsum(0)])


def ragged(start: Tensor, size: Tensor) -> Tensor:
    """The numbers ``start, ..., start + size - 1`` of each row, in one tensor."""
    row = torch.repeat_interleave(size)
    first = start - offsets(size)[:-1]
    return torch.arange(row.numel(), device=row.device) + first[row]


def _span(count: Tensor) -> str:
    if not count.numel():
        return 'none'
    low, high = int(count.min()), int(count.max())
    return str(low) if low == high else f'{low}..{high}'


def _check(episodes: Episodes) -> None:
    _check_sizes(episodes)
    size = episodes.ptr.diff()
    support, query = episodes.num_support, episodes.query_start
    inner = ((support >= 0) & (support <= query) & (query <= size)).all()
    if int(episodes.ptr[0]) != 0 or (size < 0).any() or not inner:
        raise ValueError(
            "'ptr' must rise from 0, and in each task 'num_support' must not exceed "
            "'query_start', nor that the task's size"
        )
    for name in ('user', 'item'):
        row = getattr(episodes, name)
        if row.numel() and int(row.min()) < 0:
            raise ValueError(
                f"'{name}' must hold row numbers of a table (got {int(row.min())}); "
                f'an id the table lacks has no row: add it, or drop its interactions'
            )
    bad = (~episodes.label.isfinite()).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"'label' must be finite (got {float(episodes.label[bad[0]])} at position "
            f'{int(bad[0])}, {len(bad):,} in all); drop these interactions'
        )


def _check_sizes(episodes: Episodes) -> None:
    for name, value in vars(episodes).items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"'{name}' must be a tensor (got {type(value).__name__}); convert it "
                f'with torch.as_tensor'
            )
    # The last offset, of which an empty 'ptr' has none.
    tasks, interactions = len(episodes), int(episodes.ptr[-1:].sum())
    expected = {
        'user': tasks,
        'ptr': tasks + 1,
        'item': interactions,
        'label': interactions,
        'num_support': tasks,
        'query_start': tasks,
    }
    for name, count in expected.items():
        value = getattr(episodes, name)
        fits = value.is_floating_point() == (name == 'label')
        if value.dim() != 1 or len(value) != count or not fits:
            kind = 'floating' if name == 'label' else 'whole'
            raise ValueError(
                f"'{name}' must hold {kind} numbers, [{count}] in all (got "
                f'{value.dtype} of size {list(value.size())})'
            )
