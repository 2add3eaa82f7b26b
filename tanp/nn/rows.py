"""The interactions of a padded batch, without the padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """R interactions of B tasks.

    Layers that read single interactions work on these rows, so that padding
    costs nothing and cannot leak.

    Attributes:
        task: The task each belongs to, :obj:`[R]`.
        slot: Where it lies in its padded task, :obj:`[R]`.
        place: Where it lies among the slots of all tasks, :obj:`[R]`.
        num_tasks: B.
        num_slots: Slots of a padded task.
    """

    task: Tensor
    slot: Tensor
    place: Tensor
    num_tasks: int
    num_slots: int

    def take(self, padded: Tensor) -> Tensor:
        """The rows of a padded tensor :obj:`[B, L, *]`, as :obj:`[R, *]`."""
        flat = padded.reshape(self.num_tasks * self.num_slots, *padded.size()[2:])
        return flat.index_select(0, self.place)

    def pad(self, value: Tensor) -> Tensor:
        """Rows :obj:`[R, *]` in their slots, zeros elsewhere, :obj:`[B, L, *]`."""
        size = self.num_tasks * self.num_slots, *value.size()[1:]
        flat = value.new_zeros(size).index_copy_(0, self.place, value)
        return flat.view(self.num_tasks, self.num_slots, *value.size()[1:])


def rows_of(mask: Tensor) -> Rows:
    """The rows of the interactions where a mask :obj:`[B, L]` is true."""
    task, slot = mask.nonzero(as_tuple=True)
    return Rows(task, slot, task * mask.size(1) + slot, *mask.size())


def sum_by(value: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Sums of the rows of each group, :obj:`[num_groups, *]`."""
    total = value.new_zeros(num_groups, *value.size()[1:])
    return total.index_add(0, group, value)


def mean_by(value: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Means of the rows of each group; zero for a group without any."""
    count = torch.bincount(group, minlength=num_groups).clamp(min=1)
    total = sum_by(value, group, num_groups)
    return total / count.view(-1, *[1] * (value.dim() - 1)).to(value.dtype)
